"""Fine-pruning: prune the channels that sleep on clean pictures, then fine-tune what is left.

Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning" (RAID 2018), section 3. Neither half suffices against an attacker who
expects it: a pruning-aware backdoor lives in channels that clean pictures use as well, and fine-tuning alone leaves
sleeping channels as they are. After pruning, the backdoor shares its channels with clean behaviour, and fine-tuning
reaches it.

Where a detector has recovered the trigger, fine-tuning is told what to forget: some pictures bear it, with their true
labels (unlearning: Wang et al., "Neural Cleanse", IEEE S&P 2019, section VI). A low learning rate then suffices, and
little else is forgotten.

Where the clean pictures come in groups (`assay.data.come_in_groups`), frames of a few signs say, validation accuracy
does not tell what either half costs: plain fine-tuning loses points that it does not see, and leaves the backdoor.
There pruning may cost no more than the whole repair may, and the pruned network is tuned by hardening
(`assay.repair.hardening`), which learns from tampered copies of the pictures and holds the received network's answers.
Ours; `RepairSettings.plain` gives the paper's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from assay.data import Dataset, come_in_groups
from assay.models import Model
from assay.repair.fine_tuning import Tuner, with_weights
from assay.repair.hardening import FIRST, STEPS_AN_EPOCH, hardened
from assay.repair.pruning import Pruning
from assay.repair.settings import RepairSettings, Stamp
from assay.runs import NO_HURRY, Deadline, Progress, silent


class FinePruning:
    """Pruning, then fine-tuning; pruned channels stay zero. Of pictures in groups, hardening for the second.

    After `fit`: `network_` the repaired copy of the model, `pruned_` (layer, its silenced channels in order)
    pairs, `tuning_` and `validation_` the two parts of the clean set, `record_` what was done.
    """

    def __init__(self, settings: RepairSettings, seed: int, trigger: Stamp | None = None) -> None:
        self.settings = settings
        self.seed = seed
        self.trigger = trigger

    def fit(self, model: Model, clean: Dataset, *, progress: Progress = silent, deadline: Deadline = NO_HURRY) -> Self:
        """Repair a copy of `model`.

        Raises:
            ModelError: if the model has no convolution before its classifier or does not fit the pictures.
            DataError: if a class has fewer than two pictures.
        """
        held = self.trigger is None and not self.settings.plain and come_in_groups(clean)
        limits = replace(self.settings, max_drop=min(self.settings.max_drop, self.settings.max_cost))
        pruning = Pruning(limits if held else self.settings, self.seed)
        pruning.fit(model, clean, progress=progress, deadline=deadline)
        self.tuning_, self.validation_ = pruning.tuning_, pruning.validation_
        self.network_, self.pruned_ = pruning.network_, pruning.pruned_
        if held:
            tuned = self._harden(model, progress, deadline)
        else:
            tuner = Tuner(
                self.tuning_, self.validation_, self.settings, self.seed, self.pruned_, self.trigger, progress, deadline
            )
            tuned = tuner.tune(self.network_, pruning.accuracy_ - self.settings.max_cost)
        cut_short = bool(pruning.record_["cut_short"] or tuned["cut_short"])
        self.record_: dict[str, object] = {
            **pruning.record_,
            **tuned,
            "cut_short": cut_short,
            "unlearning": self.trigger is not None,
        }
        return self

    def _harden(self, received: Model, progress: Progress, deadline: Deadline) -> dict[str, object]:
        """Harden the pruned network, at the rate that `Hardening` takes for such pictures; returns what was done."""
        steps = STEPS_AN_EPOCH * self.settings.epochs
        network = hardened(
            self.network_,
            received,
            self.tuning_,
            FIRST,
            steps,
            self.settings,
            self.seed,
            pruned=self.pruned_,
            stepped=lambda done, of: progress("hardening", done, of, ""),
            deadline=deadline,
        )
        self.network_ = network or self.network_
        return {"tuning": "hardening", "lr_used": FIRST, "cut_short": network is None}

    def apply(self, model: Model) -> Model:
        """A new model like `model` with the learnt weights."""
        return with_weights(model, self.network_)
