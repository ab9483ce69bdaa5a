"""Fine-pruning: prune the channels that sleep on clean pictures, then fine-tune what is left.

Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning" (RAID 2018), section 3. Neither half suffices against an attacker who
expects it: a pruning-aware backdoor lives in channels that clean pictures use as well, and fine-tuning alone leaves
sleeping channels as they are. After pruning, the backdoor shares its channels with clean behaviour, and fine-tuning
reaches it.

Where a detector has recovered the trigger, fine-tuning is told what to forget: some pictures bear it, with their true
labels (unlearning: Wang et al., "Neural Cleanse", IEEE S&P 2019, section VI). A low learning rate then suffices, and
little else is forgotten.
"""

from __future__ import annotations

from typing import Self

from assay.data import Dataset
from assay.models import Model
from assay.repair.fine_tuning import Tuner, with_weights
from assay.repair.pruning import Pruning
from assay.repair.settings import RepairSettings, Stamp
from assay.runs import NO_HURRY, Deadline, Progress, silent


class FinePruning:
    """Pruning, then fine-tuning; pruned channels stay zero.

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
        pruning = Pruning(self.settings, self.seed).fit(model, clean, progress=progress, deadline=deadline)
        self.tuning_, self.validation_ = pruning.tuning_, pruning.validation_
        self.network_, self.pruned_ = pruning.network_, pruning.pruned_
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

    def apply(self, model: Model) -> Model:
        """A new model like `model` with the learnt weights."""
        return with_weights(model, self.network_)
