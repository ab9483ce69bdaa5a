"""`search`: from a budget of ReLUs and some hours to a model file, an integer network and the frontier so far.

In three phases, each of which is gone on with by the same call: the supernet, the trials of every sampler on it, and
for each budget the training of the best skeleton at the width that the budget allows. The first two take at most a
third of the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import torch

from assay.data import Dataset, load, normalisation
from assay.errors import BudgetError, InputError
from assay.models import (
    Model,
    ModelSpec,
    TrainSettings,
    build,
    clean_accuracy,
    fresh_weights,
    recipe,
    save,
    train,
)
from assay.models import load as load_model
from assay.models.recipes import by_muon
from assay.models.training import Epoch, steps_an_epoch
from assay.runs import Deadline, Progress, silent, to_json, write_atomically
from assay.search.controller import SAMPLERS
from assay.search.count import count, count_architecture
from assay.search.frontier import Frontier, Point, add_point, read_frontier
from assay.search.latency import measured, predicted
from assay.search.scale import MOST_MACS, Scaled, scale
from assay.search.space import Space
from assay.search.study import Study, Trying, run_study
from assay.search.supernet import build_supernet, load_supernet, skeleton_accuracy, train_supernet

SUPERNET_SHARE, TRIALS_SHARE = 0.15, 0.08
"""Of the time: the overhead of searching. The rest trains and measures."""

MEASURING_S, MEASURING_SHARE = 40.0, 0.2
"""Seconds that measuring one network may take, and at most this share of what is left; the rest trains."""

SUPERNET_STEPS = 3000
"""At most, of 128 pictures each."""

VALIDATION = 1000
"""Training pictures on which skeletons are compared; the supernet never sees them."""

TIMING_S = 20.0
"""Seconds that two processes may take to start, prepare and answer; with less left, a network is not timed."""

STATED = {"width": 8, "stem": 2}
"""The size at which the multiplications of a skeleton are stated, so that they are comparable."""

MOST_EPOCHS = 60

WARMING = 2
"""Training steps before one is timed."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What to look for.

    Attributes:
        budgets: of ReLUs, one network each.
        seconds: for everything.
        depth: layers of a skeleton.
        trials: of each sampler, random search included.
        workers: trials at once.
        most_macs: multiplications of one picture that a network may have.
        epochs: of the final training; by default as many as the time allows.
    """

    budgets: tuple[int, ...]
    seconds: float
    depth: int = 6
    trials: int = 24
    workers: int = 1
    most_macs: int = MOST_MACS
    epochs: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        rules = {
            "at least one --budget": len(self.budgets) >= 1,
            "budgets of at least 1 ReLU": all(b >= 1 for b in self.budgets),
            "time above 0": 0 < self.seconds < math.inf,
            "3 to 24 layers, one a stage at least": 3 <= self.depth <= 24,
            "at least 1 trial": self.trials >= 1,
            "at least 1 worker": self.workers >= 1,
            "at least 1 epoch": self.epochs is None or self.epochs >= 1,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise InputError(f"a search needs {broken[0]}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has come to: the frontier of its folder, its best network, and what the samplers found."""

    best: Path
    point: Point
    frontier: Frontier
    study: Study
    search_s: float
    train_s: float


def search(
    data: str,
    settings: SearchSettings,
    out: Path,
    executor: Callable[[], Executor],
    progress: Progress = silent,
) -> Found:
    """Search, train, measure; everything finished is kept in `out` and not done again.

    Args:
        data: a data set's name, or a user's own pictures, half of which are then for testing.
        executor: makes a pool of `settings.workers` workers.

    Raises:
        InputError: if a budget cannot be met, or `out` holds a search of something else.
        BudgetError: if the time is spent before the first network could be trained.
    """
    begun = time.monotonic()
    training, test, clean = _parts(data)
    _check_budgets(settings, training)
    space = Space(settings.depth)
    subject = f"{data} {training.image_shape} seed {settings.seed}"
    study = Study(space, out / "journal.jsonl", subject)
    supernet_file = _supernet(space, training, settings, out, progress)
    trying = _trying(data, space, supernet_file, settings, training)
    samplers = [make(space, settings.seed) for make in SAMPLERS.values()]
    left = Deadline.after(max(settings.seconds * (SUPERNET_SHARE + TRIALS_SHARE) - (time.monotonic() - begun), 1.0))
    run_study(study, samplers, settings.trials, trying, executor, settings.workers, left, progress)
    if study.best() is None:
        raise BudgetError("the time allowed was spent before one skeleton could be tried; allow more")
    searched = time.monotonic() - begun
    _points(data, training, test, clean, study, settings, out, begun, progress)
    frontier = read_frontier(out, data)
    point = frontier.best(settings.budgets)
    best = out / "best.safetensors"
    write_atomically(best, (out / point.model).read_bytes())
    return Found(best, point, frontier, study, searched, time.monotonic() - begun - searched)


@lru_cache(maxsize=1)
def _parts(data: str) -> tuple[Dataset, Dataset, Dataset]:
    """To train on, to test on, and to calibrate the integer network on."""
    from assay.data import NAMED

    if data in NAMED:
        return load(data, "train"), load(data, "test"), load(data, "clean")
    own = load(data)
    training, test = own.halves(0.7, seed=0)
    return training, test, training.take(1000)


def _check_budgets(settings: SearchSettings, training: Dataset) -> None:
    """Before anything is trained: the plainest skeleton must fit every budget."""
    plain = Space(settings.depth)
    skeleton = plain.skeleton((0,) * len(plain.choices))
    for budget in settings.budgets:
        scale(skeleton, budget, training.image_shape, training.classes, settings.most_macs)


def validation(training: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """What compares skeletons, and what the supernet is trained on."""
    return training.halves(min(VALIDATION / len(training), 0.2), seed)


def _supernet(space: Space, training: Dataset, settings: SearchSettings, out: Path, progress: Progress) -> Path:
    file, done = out / "supernet.pt", out / "supernet.done"
    if done.exists() and file.exists():
        return file
    _, rest = validation(training, settings.seed)
    supernet = build_supernet(space, rest, settings.seed)
    deadline = Deadline.after(settings.seconds * SUPERNET_SHARE)
    kind = recipe(training.name)[1].augment
    progress("supernet", 0, SUPERNET_STEPS, "")
    steps = train_supernet(
        supernet, space, rest, SUPERNET_STEPS, settings.seed, file, deadline, kind,
        lambda step, of: progress("supernet", step, of, ""),
    )  # fmt: skip
    write_atomically(done, str(steps).encode())
    return file


def _trying(data: str, space: Space, file: Path, settings: SearchSettings, training: Dataset) -> Trying:
    common = {"data": data, "depth": space.depth, "supernet": str(file), "seed": settings.seed}
    return Trying(try_skeleton, lambda skeleton: {**common, "skeleton": skeleton})


def try_skeleton(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: accuracy of a skeleton on validation pictures with the shared weights, and its multiplications.

    Settings: `data`, `seed`, `depth`, `supernet` (a file), `skeleton`.
    """
    pictures, space = _validation(settings["data"], settings["seed"]), Space(settings["depth"])
    supernet = _loaded(Path(settings["supernet"]), space, pictures.image_shape, pictures.classes)
    accuracy = skeleton_accuracy(supernet, settings["skeleton"], pictures)
    counted = count_architecture("cnet", pictures.image_shape, layers=settings["skeleton"], **STATED)
    return {"accuracy": accuracy, "cost": float(counted.macs)}


@lru_cache(maxsize=1)
def _validation(data: str, seed: int) -> Dataset:
    """Kept by a worker between trials."""
    return validation(_parts(data)[0], seed)[0]


_loaded = lru_cache(maxsize=1)(load_supernet)


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a budget's training was begun with, so that it is gone on with as it was planned."""

    skeleton: str
    found_by: str
    architecture: str
    arguments: dict[str, int | float | str | bool]
    epochs: int
    pictures: int


def _points(
    data: str,
    training: Dataset,
    test: Dataset,
    clean: Dataset,
    study: Study,
    settings: SearchSettings,
    out: Path,
    begun: float,
    progress: Progress,
) -> None:
    """A network for each budget that has none yet; the time left is shared among them."""
    have = {p.budget for p in read_frontier(out, data).points if (p.seed, p.data) == (settings.seed, data)}
    missing = [b for b in settings.budgets if b not in have]
    for i, budget in enumerate(missing):
        left = settings.seconds - (time.monotonic() - begun)
        share = max(left, 1.0) / (len(missing) - i)
        share -= min(MEASURING_S, MEASURING_SHARE * share)
        maker = _Maker(data, training, study, settings, out / f"budget-{budget}", Deadline.after(share), progress)
        model, plan, history, cut, seconds = maker.make(budget)
        whole = Deadline(begun + settings.seconds)
        point = _measured(model, plan, history, cut, seconds, budget, test, clean, settings, out, progress, whole)
        add_point(out, point)


@dataclass(frozen=True)
class _Maker:
    """The training of one budget's network."""

    data: str
    training: Dataset
    study: Study
    settings: SearchSettings
    folder: Path
    deadline: Deadline
    progress: Progress

    def make(self, budget: int) -> tuple[Model, _Plan, list[Epoch], bool, float]:
        """The trained network, its plan and epochs, whether time ran out, and the seconds of this call."""
        file, started = self.folder / "plan.json", time.monotonic()
        plan = msgspec.json.decode(file.read_bytes(), type=_Plan) if file.exists() else self._planned(budget)
        write_atomically(file, to_json(plan))
        model = fresh_weights(self.settings.seed, lambda: build(self._spec(plan.architecture, plan.arguments)))
        pictures = self.training.take(plan.pictures)
        history: list[Epoch] = []
        cut = False
        try:
            train(
                model, pictures, self._recipe(plan.epochs), checkpoint=self.folder / "checkpoint.pt",
                tick=self._tick(budget), record=history.append,
            )  # fmt: skip
        except _TimeUp:
            cut = True
            model.to(memory_format=torch.contiguous_format)
        return model.eval(), plan, history, cut, time.monotonic() - started

    def _tick(self, budget: int) -> Callable[[int, int, dict[str, float]], None]:
        def tick(step: int, steps: int, values: dict[str, float]) -> None:
            self.progress(f"training for {budget:,} ReLUs", step, steps, f"accuracy {100 * values['accuracy']:.1f} %")
            if self.deadline.passed and step < steps:
                raise _TimeUp

        return tick

    def _spec(self, architecture: str, arguments: dict[str, Any]) -> ModelSpec:
        mean, std = normalisation(self.training)
        return ModelSpec(architecture, self.training.image_shape, self.training.class_names, mean, std, arguments)

    def _recipe(self, epochs: int) -> TrainSettings:
        usual = recipe(self.training.name)[1]
        smoothing = 0.1 if usual.augment == "shift-flip" else 0.0
        return replace(
            by_muon(usual), epochs=epochs, batch_size=256, label_smoothing=smoothing, seed=self.settings.seed
        )

    def _planned(self, budget: int) -> _Plan:
        """The best skeleton that fits, and as many epochs as the time allows; of fewer pictures if not even one."""
        trial, scaled = self._fitting(budget)
        epochs, pictures = self.settings.epochs, len(self.training)
        if epochs is None:
            rules = self._recipe(1)
            model = fresh_weights(self.settings.seed, lambda: build(self._spec(scaled.architecture, scaled.arguments)))
            step_s = _step_seconds(model, self.training, rules)
            steps = 0.9 * self.deadline.left / step_s
            epoch = steps_an_epoch(pictures, rules)
            epochs = max(1, min(MOST_EPOCHS, int(steps / epoch)))
            if steps < epoch:
                pictures = max(int(steps) * rules.batch_size, min(2 * rules.batch_size, pictures))
        return _Plan(trial.skeleton, trial.sampler, scaled.architecture, scaled.arguments, epochs, pictures)

    def _fitting(self, budget: int) -> tuple[Any, Scaled]:
        """The most accurate trial whose skeleton meets the budget."""
        ended = [t for t in self.study.trials if t.accuracy is not None]
        last: InputError | None = None
        for trial in sorted(ended, key=lambda t: (-(t.accuracy or 0.0), t.cost)):
            try:
                limits = (self.training.image_shape, self.training.classes, self.settings.most_macs)
                return trial, scale(trial.skeleton, budget, *limits)
            except InputError as error:
                last = error
        raise last or InputError("no skeleton was tried")


class _TimeUp(Exception):
    """The deadline of a training has passed; what is learnt so far is kept."""


def _step_seconds(model: Model, data: Dataset, settings: TrainSettings) -> float:
    """Of one training step; the model is thrown away.

    The first steps also make the kernels, so they are not counted: a training of few epochs would be planned too short.
    """
    moments: list[float] = []
    batch = data.take(settings.batch_size)  # a step is an epoch of it
    train(model, batch, replace(settings, epochs=WARMING + 5), tick=lambda *_: moments.append(time.monotonic()))
    return median(after - before for before, after in pairwise(moments[WARMING - 1 :]))


def _measured(
    model: Model,
    plan: _Plan,
    history: Sequence[Epoch],
    cut: bool,
    seconds: float,
    budget: int,
    test: Dataset,
    clean: Dataset,
    settings: SearchSettings,
    out: Path,
    progress: Progress,
    whole: Deadline,
) -> Point:
    """Files, accuracies and costs of a trained network; costs are left out once the time for everything is spent."""
    from assay.integer import compile_measured
    from assay.integer import save as save_network

    name = f"cnet-{budget}-seed{settings.seed}"
    save(model, out / f"{name}.safetensors")
    reopened = load_model(out / f"{name}.safetensors")
    counted = count(reopened.network, reopened.spec.input_shape)
    accuracy = clean_accuracy(reopened, test)
    progress("measuring", 0, 1, f"{budget:,} ReLUs")
    compiled = compile_measured(reopened, clean.take(512))
    file = save_network(compiled.network, out / f"{name}.assay")
    some = test.take(2000)
    integer = float((compiled.network.predict(some.x, torch.get_num_threads()) == some.y).mean())
    foretold = None if whole.passed else predicted(compiled.network)
    timed = measured(file, test.x) if whole.left >= TIMING_S else None
    progress("measuring", 1, 1, "")
    return Point(
        budget=budget,
        data=test.name,
        seed=settings.seed,
        model=f"{name}.safetensors",
        network=f"{name}.assay",
        relus=counted.relus,
        macs=counted.macs,
        parameters=counted.parameters,
        accuracy=accuracy.value,
        accuracy_interval=accuracy.interval,
        accuracy_n=accuracy.n,
        integer_accuracy=integer,
        architecture=plan.architecture,
        arguments=plan.arguments,
        found_by=plan.found_by,
        epochs=plan.epochs,
        cut_short=cut,
        train_s=round(seconds, 1),
        predicted=foretold,
        measured=timed,
        history=[{k: float(v) for k, v in asdict(epoch).items()} for epoch in history],
    )
