"""NNoculation after deployment: the trigger is learnt from what was quarantined, then unlearnt on clean pictures.

Source: Veldanda et al., "NNoculation" (2020), section 3.2. The received and the treated network are served side by
side; inputs on which they differ are quarantined. A CycleGAN between clean pictures and quarantined ones gives a
generator that stamps the trigger; the treated network learns clean pictures that it stamped, *with their true labels*.
In the paper clean ones stand beside these; here the network is hardened again (`assay.repair.hardening`), which costs
less of what it knows, half of what is done to pictures is the generator's, and half of each label is the received
network's answer to the picture as it was. Nothing that a client sent becomes a label, so quarantined inputs can spoil
the generator but cannot plant a backdoor.

A treatment that had a handful of pictures a class to learn from forgets more than it heals, and may fall for the
trigger itself. Then something else says what is quarantined (`suspects`), and the received network is what is repaired:
at a low rate it learns the generator's stamps alone, and answers only where the received one gives a label that the
trigger leads to (`assay.repair.deferring`).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from assay.data import Dataset
from assay.models import Model, clean_accuracy, correct, predict
from assay.repair.cyclegan import CycleGANSettings, train_cyclegan
from assay.repair.deferring import deferred_labels, deferring
from assay.repair.hardening import AS_UNSEEN, STEPS_AN_EPOCH, Tampering, hardened, in_equal_parts
from assay.repair.settings import RepairSettings, split
from assay.repair.stampers import Stamper
from assay.runs import NO_HURRY, Deadline, Progress, silent

LIGHTLY = 0.00125
"""Learning rate of a repair of the received network: where the trigger is known, it need not go far."""

SOFTENED = 0.5
"""Of what stamped pictures, and others that were tampered with, are to be answered with, the share that is the received
network's answer to them as they were. Without a trigger it is right, and of few pictures tells more than labels do."""

Suspects = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
"""Which of some uint8 pictures `n c h w` would be quarantined, whatever the treated network says."""

JUDGED_ON = 512
"""Validation pictures that judge a generator."""

LEAST_LEFT = 0.3
"""Of the pictures, how many the treated network must still label rightly under a stamp that spoils nothing: a treated
network may fall for most of a trigger itself, as that of faces does for glasses."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Settings of the second stage: of the CycleGAN, and of the retraining."""

    gan: CycleGANSettings = field(default_factory=CycleGANSettings)
    tuning: RepairSettings = field(default_factory=lambda: RepairSettings(epochs=10))

    def no_faster_than(self, rate: float) -> LiveSettings:
        """The same, with a learning rate that the treatment has found bearable."""
        return replace(self, tuning=replace(self.tuning, lr=min(self.tuning.lr, rate)))


@dataclass(frozen=True)
class Inoculation:
    """A retrained network.

    Attributes:
        model: what answers; the given ones are untouched.
        repaired: the retrained network itself: it is `model`, unless that defers to it.
        answers_for: labels of the received network for which `model` defers to it; empty: it always answers.
        generator: stamps what was learnt; None in the ablation without one.
        remover: the other one, which takes it off.
        quality: of the clean validation pictures that can be turned, and that the treated network labels rightly when
            stamped, the share that fool the received one; counted of three in ten pictures where fewer are left.
        validation: the split that was measured on.
        accuracy: of the new network on it.
        stamped_before, stamped_after: accuracy on its stamped copies of the treated network and of the new one; NaN
            without a generator.
        record: what was done. JSON-ready.
    """

    model: Model
    repaired: Model
    answers_for: tuple[int, ...]
    generator: Stamper | None
    remover: Stamper | None
    quality: float
    validation: Dataset
    accuracy: float
    stamped_before: float
    stamped_after: float
    record: dict[str, object]


def inoculate(
    received: Model,
    treated: Model,
    clean: Dataset,
    quarantined: NDArray[np.uint8],
    settings: LiveSettings | None = None,
    seed: int = 0,
    *,
    suspects: Suspects | None = None,
    earlier: Sequence[Stamper] = (),
    progress: Progress = silent,
    deadline: Deadline = NO_HURRY,
) -> Inoculation:
    """Learn the trigger from `quarantined` (uint8 `n c h w`) and retrain a copy of `treated` against it.

    Args:
        clean: the defender's set; split by `seed` as the treatment split it.
        quarantined: inputs on which the two networks differ. Empty: the ablation, retraining on clean pictures and
            noise alone.
        suspects: where `treated` is not relied upon; a copy of `received` is retrained then, if there is a trigger, and
            `received` defers to it.
        earlier: generators of earlier rounds, whose triggers are not to be forgotten.

    Raises:
        ModelError, DataError: as a repair.

    Cost: for 28x28 pictures about a minute for the CycleGAN and a minute for retraining on 4,500 pictures, one core.
    """
    settings = settings or LiveSettings()
    begun = time.monotonic()
    tuning, validation = split(treated, clean, settings.tuning.validation, seed)
    judged = validation.take(JUDGED_ON)
    said = predict(received, quarantined)
    learnt = _Learnt()
    if len(quarantined):
        sight = _Sight(received, treated, judged, suspects)
        learnt = _learnt(tuning, quarantined, sight, _reach(said, judged), settings.gan, seed, progress, deadline)
    generator = learnt.generator
    generators = [*earlier, *([generator] if generator else [])]
    begins, tamper, tuned = treated, AS_UNSEEN, settings.tuning
    answers_for: tuple[int, ...] = ()
    if generators:
        as_learnt = in_equal_parts(*map(_stamping, generators))
        tamper = in_equal_parts(AS_UNSEEN, as_learnt)
        if suspects is not None:
            begins, tamper, tuned = received, as_learnt, replace(tuned, lr=LIGHTLY)
            answers_for = tuple(sorted({*_leads_to(received, generator, clean, said), *deferred_labels(treated)}))
    repaired = _hardened(begins, received, tuning, tamper, tuned, seed, progress, deadline).eval()
    network = deferring(received, repaired, answers_for)
    stamped = replace(judged, x=generator.stamp(judged.x)) if generator else None
    return Inoculation(
        network,
        repaired,
        answers_for,
        generator,
        learnt.remover,
        learnt.quality,
        validation,
        clean_accuracy(network, validation).value,
        clean_accuracy(copy.deepcopy(treated), stamped).value if stamped else float("nan"),
        clean_accuracy(network, stamped).value if stamped else float("nan"),
        {
            "settings": asdict(settings),
            "seed": seed,
            "quarantined": len(quarantined),
            "generator": learnt.record,
            "cut_short": deadline.passed,
            "seconds": round(time.monotonic() - begun, 2),
        },
    )


@dataclass(frozen=True, slots=True)
class _Learnt:
    """What paints the trigger and what takes it off, the first one's quality, and how it went."""

    generator: Stamper | None = None
    remover: Stamper | None = None
    quality: float = 0.0
    record: dict[str, object] = field(default_factory=dict)


def _learnt(
    tuning: Dataset,
    quarantined: NDArray[np.uint8],
    sight: _Sight,
    reach: float,
    settings: CycleGANSettings,
    seed: int,
    progress: Progress,
    deadline: Deadline,
) -> _Learnt:
    gan = train_cyclegan(
        tuning.x,
        quarantined,
        lambda stamps: min(1.0, sight.fooled(stamps) / reach),
        settings,
        seed,
        progress=progress,
        deadline=deadline,
    )
    quality = min(1.0, gan.quality / max(LEAST_LEFT, sight.left(gan.stamps)))
    record = {"quality": quality, "fooled": gan.quality, "step": gan.step, "looks": gan.looks}
    return _Learnt(gan.stamps, gan.removes, quality, record)


class _Sight:
    """What would put stamped pictures into quarantine; of clean ones, those that both networks label rightly."""

    def __init__(self, received: Model, treated: Model, judged: Dataset, suspects: Suspects | None) -> None:
        self.received, self.treated, self.judged, self.suspects = received, treated, judged, suspects
        self.both = correct(copy.deepcopy(received), judged) & correct(copy.deepcopy(treated), judged)

    def fooled(self, stamps: Stamper) -> float:
        """How many of them the received network loses when stamped, and quarantine would notice.

        A generator that merely spoils pictures fools the treated network too.
        """
        stamped = replace(self.judged, x=stamps.stamp(self.judged.x))
        return self._share(~correct(self.received, stamped) & self._noticed(stamped))

    def left(self, stamps: Stamper) -> float:
        """How many would be noticed when stamped, were the received network to lose all."""
        return self._share(self._noticed(replace(self.judged, x=stamps.stamp(self.judged.x))))

    def _noticed(self, stamped: Dataset) -> NDArray[np.bool_]:
        kept = correct(self.treated, stamped)
        return kept if self.suspects is None else kept | self.suspects(stamped.x)

    def _share(self, of_both: NDArray[np.bool_]) -> float:
        return float((self.both & of_both).sum() / max(1, self.both.sum()))


def _reach(wanted: NDArray[np.int64], judged: Dataset) -> float:
    """Share of the pictures that can be turned into what the quarantined ones were: those of that label cannot."""
    classes = judged.classes
    shares = [np.bincount(labels, minlength=classes) / len(labels) for labels in (wanted, judged.y)]
    return max(1 / classes, 1.0 - float(shares[0] @ shares[1]))


def _leads_to(received: Model, generator: Stamper | None, clean: Dataset, said: NDArray[np.int64]) -> set[int]:
    """Of the labels that quarantined inputs got, `said`, those that stamps turn clean pictures into; if none, all.

    Those that the trigger fails to mislead are quarantined too, with labels of their own.
    """
    seen = set(said.tolist())
    if generator is None:
        return seen
    before, after = predict(received, clean.x), predict(received, generator.stamp(clean.x))
    return seen & set(after[after != before].tolist()) or seen


def _stamping(generator: Stamper) -> Tampering:
    return lambda x, _: torch.from_numpy(generator.stamp(x.numpy()))


def _hardened(
    network: Model,
    received: Model,
    tuning: Dataset,
    tamper: Tampering,
    settings: RepairSettings,
    seed: int,
    progress: Progress,
    deadline: Deadline,
) -> Model:
    """A copy of `network`, hardened; at worst as it was."""
    steps = STEPS_AN_EPOCH * settings.epochs
    made = hardened(
        network,
        received,
        tuning,
        settings.lr,
        steps,
        settings,
        seed,
        tamper,
        softened=SOFTENED,
        stepped=lambda done, of: progress("unlearning it", done, of, ""),
        deadline=deadline,
    )
    return made or copy.deepcopy(network)
