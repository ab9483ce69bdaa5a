"""`search`: from a budget of ReLUs and some hours to a model file, an integer network and the frontier so far.

In four phases, each of which is gone on with by the same call: the supernet, the trials of every sampler on it, the
finals of the best skeletons and of what they are changed into, and for each budget the training of the first of these
at the width that the budget allows. All but the last take about a fifth of the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import torch

from assay.data import Dataset, load
from assay.errors import BudgetError, InputError
from assay.models import Model, clean_accuracy, recipe, save, train
from assay.models import load as load_model
from assay.models.training import Epoch
from assay.runs import Deadline, Progress, silent, to_json, write_atomically
from assay.search.controller import SAMPLERS
from assay.search.count import count, count_architecture
from assay.search.finals import Finalist, Finals
from assay.search.from_scratch import Length, length_of, rules, step_seconds, untrained
from assay.search.frontier import Frontier, Point, add_point, read_frontier
from assay.search.latency import measured, predicted
from assay.search.scale import MOST_MACS, Scaled, scale
from assay.search.space import Space
from assay.search.study import Study, Trying, run_study
from assay.search.supernet import build_supernet, load_supernet, skeleton_accuracy, train_supernet

SUPERNET_SHARE, TRIALS_SHARE, FINALS_SHARE = 0.08, 0.04, 0.1
"""Of the time: the overhead of searching. The rest trains and measures, with reserves: some of it is left over."""

MEASURING_S, MEASURING_SHARE = 40.0, 0.2
"""Seconds that measuring one network may take, and at most this share of what is left; the rest trains."""

STEP_MACS = 5_000_000
"""What a training step takes for a picture beside its multiplications, about, in multiplications."""

SUPERNET_STEPS = 12_000
"""At most, of 128 pictures each: on CIFAR-10 54 % with shared weights where 3,000 had 41 %, and ranks that agree better
with those of networks trained alone."""

VALIDATION = 1000
"""Training pictures on which skeletons are compared; the supernet never sees them."""

TIMING_S = 20.0
"""Seconds that two processes may take to start, prepare and answer; with less left, a network is not timed."""

STATED = {"width": 8, "stem": 2}
"""The size at which the comparisons of a skeleton are counted."""


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
    trials: int = 60
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
    """What a search has come to: the frontier of its folder, its best network, and what was found on the way."""

    best: Path
    point: Point
    frontier: Frontier
    study: Study
    finals: list[Finalist]
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
    data = training.name  # however a folder was written
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
    held = Finals(training, min(settings.budgets), settings.most_macs, settings.seed, out / "finals.json")
    missing = _missing(settings, out, data)
    overhead = settings.seconds * (SUPERNET_SHARE + TRIALS_SHARE + FINALS_SHARE)
    over = not missing or any(out.glob(f"budget-*/{PLAN}"))  # a network was begun by what they came to
    finals = held.held(study, 0.0 if over else overhead - (time.monotonic() - begun), progress=progress)
    searched = time.monotonic() - begun
    order = [(one.skeleton, one.found_by) for one in finals] + [(t.skeleton, t.sampler) for t in study.ranked()]
    _points(missing, training, test, clean, order, settings, out, begun, progress)
    frontier = read_frontier(out, data)
    point = frontier.best(settings.budgets)
    best = out / "best.safetensors"
    write_atomically(best, (out / point.model).read_bytes())
    return Found(best, point, frontier, study, finals, searched, time.monotonic() - begun - searched)


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
    kind = recipe(training.name)[1].augment
    progress("supernet", 0, SUPERNET_STEPS, "")
    steps = train_supernet(
        supernet, space, rest, SUPERNET_STEPS, settings.seed, file, settings.seconds * SUPERNET_SHARE, kind,
        lambda step, of: progress("supernet", step, of, ""),
    )  # fmt: skip
    write_atomically(done, str(steps).encode())
    return file


def _trying(data: str, space: Space, file: Path, settings: SearchSettings, training: Dataset) -> Trying:
    common = {"data": data, "depth": space.depth, "supernet": str(file), "seed": settings.seed}
    return Trying(try_skeleton, lambda skeleton: {**common, "skeleton": skeleton})


def try_skeleton(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: accuracy of a skeleton on validation pictures with the shared weights, and its comparisons for each ReLU.

    Settings: `data`, `seed`, `depth`, `supernet` (a file), `skeleton`.
    """
    pictures, space = _validation(settings["data"], settings["seed"]), Space(settings["depth"])
    supernet = _loaded(Path(settings["supernet"]), space, pictures.image_shape, pictures.classes)
    accuracy = skeleton_accuracy(supernet, settings["skeleton"], pictures)
    counted = count_architecture("cnet", pictures.image_shape, layers=settings["skeleton"], **STATED)
    return {"accuracy": accuracy, "cost": 1 + counted.total("maxima") / counted.relus}


@lru_cache(maxsize=1)
def _validation(data: str, seed: int) -> Dataset:
    """Kept by a worker between trials."""
    return validation(_parts(data)[0], seed)[0]


_loaded = lru_cache(maxsize=1)(load_supernet)


_Skeleton = tuple[str, str]
"""One that may be trained for a budget, and who found it."""


PLAN = "plan.json"


class _Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a budget's training was begun with, so that it is gone on with as it was planned."""

    skeleton: str
    found_by: str
    architecture: str
    arguments: dict[str, int | float | str | bool]
    epochs: int
    pictures: int


def _missing(settings: SearchSettings, out: Path, data: str) -> list[int]:
    have = {p.budget for p in read_frontier(out, data).points if (p.seed, p.data) == (settings.seed, data)}
    return [b for b in settings.budgets if b not in have]


def _points(
    budgets: Sequence[int],
    training: Dataset,
    test: Dataset,
    clean: Dataset,
    order: Sequence[_Skeleton],
    settings: SearchSettings,
    out: Path,
    begun: float,
    progress: Progress,
) -> None:
    """A network for each of these budgets; each has as much of the time left as it has of their multiplications."""
    weights = [STEP_MACS + _fitting(training, order, settings, budget)[1].macs for budget in budgets]
    for i, budget in enumerate(budgets):
        left = settings.seconds - (time.monotonic() - begun)
        share = max(left, 1.0) * weights[i] / sum(weights[i:])
        share -= min(MEASURING_S, MEASURING_SHARE * share)
        maker = _Maker(training, order, settings, out / f"budget-{budget}", Deadline.after(share), progress)
        model, plan, history, cut, seconds = maker.make(budget)
        whole = Deadline(begun + settings.seconds)
        point = _measured(model, plan, history, cut, seconds, budget, test, clean, settings, out, progress, whole)
        add_point(out, point)


@dataclass(frozen=True)
class _Maker:
    """The training of one budget's network."""

    training: Dataset
    order: Sequence[_Skeleton]
    settings: SearchSettings
    folder: Path
    deadline: Deadline
    progress: Progress

    def make(self, budget: int) -> tuple[Model, _Plan, list[Epoch], bool, float]:
        """The trained network, its plan and epochs, whether time ran out, and the seconds of this call."""
        file, started = self.folder / PLAN, time.monotonic()
        plan = _read_plan(file) if file.exists() else self._planned(budget)
        write_atomically(file, to_json(plan))
        model = untrained(plan.architecture, plan.arguments, self.training, self.settings.seed)
        settings, pictures = rules(self.training, plan.epochs, self.settings.seed), self.training.take(plan.pictures)
        history: list[Epoch] = []
        cut = False
        try:
            train(
                model, pictures, settings, checkpoint=self.folder / "checkpoint.pt",
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

    def _planned(self, budget: int) -> _Plan:
        """The first skeleton that fits, and as many epochs as the time allows; of fewer pictures if not even one."""
        (skeleton, found_by), scaled = _fitting(self.training, self.order, self.settings, budget)
        data, seed = self.training, self.settings.seed
        length = Length(self.settings.epochs or 0, len(data))
        if self.settings.epochs is None:
            steps = 0.9 * self.deadline.left / step_seconds(scaled, data, seed)
            length = length_of(steps, data, seed)
        return _Plan(skeleton, found_by, scaled.architecture, scaled.arguments, length.epochs, length.pictures)


def _fitting(
    training: Dataset, order: Sequence[_Skeleton], settings: SearchSettings, budget: int
) -> tuple[_Skeleton, Scaled]:
    """The first skeleton that meets the budget, and what it becomes."""
    last: InputError | None = None
    for one in order:
        try:
            return one, scale(one[0], budget, training.image_shape, training.classes, settings.most_macs)
        except InputError as error:
            last = error
    raise last or InputError("no skeleton was tried")


def _read_plan(file: Path) -> _Plan:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Plan)
    except msgspec.DecodeError as error:
        raise InputError(f"{file} is no plan of a training: {error}; delete {file.parent}") from error


class _TimeUp(Exception):
    """The deadline of a training has passed; what is learnt so far is kept."""


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
        maxima=counted.total("maxima"),
    )
