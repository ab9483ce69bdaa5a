"""The table about CryptoNAS's claim: searched and balanced networks against narrowed ones, trained alike.

Each training is a job that goes on from its last epoch when it is interrupted; `assay bench cryptonas --so-far` shows
what has been done, with its n.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import msgspec

from assay.bench.table import Job, Results, Row, Table, spread
from assay.bench.zoo import cache_folder
from assay.data import Dataset, normalisation
from assay.data import load as load_data
from assay.errors import InputError
from assay.models import Model, ModelSpec, Rate, TrainSettings, build, clean_accuracy, fresh_weights, save, train
from assay.models import load as load_model
from assay.models.cnet import RELEASED
from assay.models.training import Optimiser
from assay.runs import NO_HURRY
from assay.search import count
from assay.search.controller import SAMPLERS
from assay.search.linearising import linearise
from assay.search.scale import Scaled, narrow, scale
from assay.search.searching import try_skeleton, validation
from assay.search.space import Space
from assay.search.study import Study, Trying, run_study
from assay.search.supernet import build_supernet, train_supernet

BUDGETS = (25_000, 50_000, 100_000)

SMALLER = (12_500, 16_000)
"""Of ours as well: what is as accurate as a baseline may be much smaller than it."""

SEEDS = (1, 2)
EPOCHS, TUNING = 16, 6

LONGER = 32_000, 40
"""A budget and its epochs: a smaller network than of 50,000 ReLUs, for about as long as that one takes for 16."""

MUON_EPOCHS = 14
"""A step of Muon takes a fifth longer than one of SGD: these epochs of the network of 50,000 ReLUs take as long as 16
of SGD."""

MOST_MACS = 130_000_000

OURS = ("cnet1-balanced", "searched")
BASELINES = ("resnet20", "resnet32", "minionn7", "minionn7-squares")
LINEARISED = ("resnet20-sensitivity", "resnet20-gates")

RECIPE = TrainSettings(EPOCHS, 128, 0.2, augment="shift-flip", label_smoothing=0.1, bfloat16=True)
"""Of every network in the table that is trained by SGD."""

MUON = replace(RECIPE, epochs=MUON_EPOCHS, batch_size=256, lr=0.1, optimiser="muon")
"""Of those that show what Muon brings."""

Picture = tuple[int, int, int]


def squared(budget: int, picture: Picture, classes: int) -> Scaled:
    """MiniONN's network with as many squares, from the first activation, as the budget asks for (Delphi)."""
    from assay.search import count_architecture

    for squares in range(8):
        counted = count_architecture("minionn7", picture, classes, squares=squares)
        if counted.relus <= budget:
            return Scaled("minionn7", {"squares": squares}, counted.relus, counted.macs, counted.parameters)
    raise InputError(f"no budget of {budget} is met by squares")  # 7 squares leave no ReLU


def network(name: str, budget: int, data: Dataset) -> Scaled:
    """The network of a row, within its budget."""
    picture, classes = data.image_shape, data.classes
    if name == "cnet1-balanced":
        return scale(RELEASED["cnet1"].cifar10, budget, picture, classes, MOST_MACS)
    if name == "searched":
        return scale(searched_skeleton(data.name), budget, picture, classes, MOST_MACS)
    if name == "minionn7-squares":
        return squared(budget, picture, classes)
    return narrow(name, budget, picture, classes)


SUPERNET_STEPS, TRIALS, SEARCH_SEED = 2000, 40, 1


def searched_skeleton(data: str) -> str:
    """The best skeleton of one search, kept in the user's cache; interrupted, it goes on.

    Cost: about 20 minutes of one core.
    """
    folder = cache_folder() / "cryptonas" / f"search-{data}-{SUPERNET_STEPS}-{TRIALS}"
    space = Space()
    study = Study(space, folder / "journal.jsonl", f"{data} {SUPERNET_STEPS} {SEARCH_SEED}")
    if len(study.trials) < TRIALS * len(SAMPLERS):
        _, rest = validation(load_data(data, "train"), SEARCH_SEED)
        supernet, file = build_supernet(space, rest, SEARCH_SEED), folder / "supernet.pt"
        train_supernet(supernet, space, rest, SUPERNET_STEPS, SEARCH_SEED, file, NO_HURRY, RECIPE.augment)
        common = {"data": data, "depth": space.depth, "supernet": str(file), "seed": SEARCH_SEED}
        trying = Trying(try_skeleton, lambda skeleton: {**common, "skeleton": skeleton})
        samplers = [make(space, SEARCH_SEED) for make in SAMPLERS.values()]
        run_study(study, samplers, TRIALS, trying, lambda: ThreadPoolExecutor(1))
    best = study.best()
    assert best is not None
    return best.skeleton


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training: which network, for how many ReLUs, from which seed; of fewer `pictures` where that is said.

    `budget` 0 means the network at its usual width, to be linearised.
    """

    network: str
    budget: int
    seed: int
    epochs: int = EPOCHS
    pictures: int = 0
    dataset: str = "cifar10"
    optimiser: Optimiser = "sgd"

    @property
    def recipe(self) -> TrainSettings:
        """How it is trained."""
        return replace(MUON if self.optimiser == "muon" else RECIPE, epochs=self.epochs, seed=self.seed)

    @property
    def place(self) -> Path:
        """Where its model is kept: the user's cache."""
        digest = hashlib.sha256(b"cryptonas/1" + msgspec.json.encode(self)).hexdigest()[:16]
        return cache_folder() / "cryptonas" / f"{digest}.safetensors"


def training_data(wanted: Wanted) -> Dataset:
    data = load_data(wanted.dataset, "train")
    return data.take(wanted.pictures) if wanted.pictures else data


def obtain(wanted: Wanted) -> Model:
    """The trained network, from the cache or trained now; goes on from its last epoch."""
    if not wanted.place.exists():
        _make(wanted)
    return load_model(wanted.place)


def _make(wanted: Wanted) -> None:
    data, checkpoint = training_data(wanted), wanted.place.with_suffix(".checkpoint")
    if wanted.network in LINEARISED:
        save(_linearised(wanted, data), wanted.place)
        return
    if wanted.budget:
        made = network(wanted.network, wanted.budget, load_data(wanted.dataset, "train"))
        architecture, arguments = made.architecture, made.arguments
    else:
        architecture, arguments = wanted.network, {}
    mean_, std = normalisation(data)
    spec = ModelSpec(architecture, data.image_shape, data.class_names, mean_, std, arguments)
    model = fresh_weights(wanted.seed, lambda: build(spec))
    train(model, data, wanted.recipe, checkpoint=checkpoint)
    save(model, wanted.place)
    checkpoint.unlink(missing_ok=True)


def _linearised(wanted: Wanted, data: Dataset) -> Model:
    """A ResNet-20 of usual width, then linearised and tuned: as many epochs together as any other network has."""
    whole, _, method = wanted.network.partition("-")
    tuning = max(1, wanted.epochs * TUNING // EPOCHS)
    teacher = obtain(msgspec.structs.replace(wanted, network=whole, budget=0, epochs=wanted.epochs - tuning))
    settings = replace(wanted.recipe, epochs=tuning, lr=0.05)
    few = load_data(wanted.dataset, "clean").take(256)  # its accuracies here are not reported
    checkpoint = wanted.place.with_suffix(".checkpoint")
    made = linearise(teacher, wanted.budget, data, few, method, settings, checkpoint=checkpoint)  # type: ignore[arg-type]
    checkpoint.unlink(missing_ok=True)
    return made.model


def trained(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: train a network and measure it on the test part."""
    wanted = msgspec.convert(settings, Wanted)
    model = obtain(wanted)
    counted = count(model.network, model.spec.input_shape)
    test = load_data(wanted.dataset, "test")
    accuracy = clean_accuracy(model, test.take(2 * wanted.pictures) if wanted.pictures else test)
    return {
        "clean": [accuracy.hits, accuracy.n],
        "relus": counted.relus,
        "macs": counted.macs,
        "squares": counted.total("squares"),
        "parameters": counted.parameters,
        "arguments": {k: v for k, v in model.spec.arguments.items() if k != "graph"},
    }


def online(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: the network in integers, and one picture between two processes of this machine."""
    from tempfile import TemporaryDirectory

    from assay.integer import compile_measured
    from assay.integer import save as save_network
    from assay.search.latency import measured, predicted

    wanted = msgspec.convert(settings, Wanted)
    clean = load_data(wanted.dataset, "clean").take(512)
    compiled = compile_measured(obtain(wanted), clean)
    with TemporaryDirectory(prefix="assay-cryptonas-") as folder:
        file = save_network(compiled.network, Path(folder) / "net.assay")
        timed = measured(file, clean.x)
    return {"predicted": predicted(compiled.network), "measured": timed, "agreement": compiled.agreement.value}


def _wanted(quick: bool) -> list[Wanted]:
    few = [Wanted(name, 25_000, 1, 2, 1_000) for name in ("cnet1-balanced", "resnet20", "resnet20-sensitivity")]
    if quick:
        return few
    names = (*OURS, *BASELINES)
    rows = [Wanted(name, budget, seed) for seed in SEEDS for budget in BUDGETS for name in names]
    rows += [Wanted(name, budget, seed) for seed in SEEDS for budget in SMALLER for name in OURS]
    rows += [Wanted(name, budget, seed) for seed in SEEDS for budget in BUDGETS[:2] for name in LINEARISED]
    budget, epochs = LONGER
    return [*rows, Wanted(OURS[0], budget, SEEDS[0], epochs), *few]


def jobs(quick: bool) -> list[Job]:
    """Every training, the headline pairs of the first seed first; then every timing."""
    wanted = [msgspec.to_builtins(w) for w in _wanted(quick)]
    return [Job(trained, w) for w in wanted] + ([] if quick else [Job(online, w) for w in wanted if not w["pictures"]])


Key = tuple[str, int, int, int]
"""Network, budget, epochs, pictures (0: all)."""

Found = dict[Key, dict[int, dict[str, Any]]]
"""Results of trainings by seed."""

Timed = dict[Key, list[float]]


def rows(results: Results) -> list[Row]:
    """A row a network, budget and training: means over the seeds that have been run, beside ours trained alike."""
    found: Found = defaultdict(dict)
    timed: Timed = defaultdict(list)
    for job, result in results:
        w = msgspec.convert(job.settings, Wanted)
        key = (w.network, w.budget, w.epochs, w.pictures)
        if job.function is trained:
            found[key][w.seed] = result
        elif result["measured"]:
            timed[key].append(result["measured"]["online_s"])
    return [_row(key, found, timed) for key in found]


def _row(key: Key, found: Found, timed: Timed) -> Row:
    name, budget, epochs, pictures = key
    by_seed = found[key]
    first = next(iter(by_seed.values()))
    row: Row = {
        "network": name,
        "budget": budget,
        "relus": first["relus"],
        "macs": first["macs"],
        "parameters": first["parameters"],
        "arguments": first["arguments"],
        "training": f"{epochs} x {pictures or 45_000:,}",
        "seed": sorted(by_seed),
        "n": len(by_seed),
        "accuracy": _accuracy(by_seed),
        "accuracy_interval": spread(Rate(*r["clean"]) for r in by_seed.values()),
        "online_s": mean(timed[key]) if key in timed else None,
    }
    if name not in OURS:
        ours = [k for k in found if k[0] in OURS and k[2:] == key[2:]]
        fast = [k for k in ours if k in timed and mean(timed[k]) <= (row["online_s"] or 0)]
        enough = [k for k in ours if _accuracy(found[k]) >= row["accuracy"]]
        sizes = [next(iter(found[k].values()))["relus"] for k in enough]
        seconds = [mean(timed[k]) for k in enough if k in timed]
        row["accuracy_lead_by_points"] = _lead(found[key], [found[k] for k in ours if k[1] == budget])
        row["no_slower_lead_by_points"] = _lead(found[key], [found[k] for k in fast])
        row["relus_ratio"] = first["relus"] / min(sizes) if sizes else None
        row["online_ratio"] = row["online_s"] / min(seconds) if seconds and row["online_s"] else None
    if name in LINEARISED and (narrowed := found.get((name.partition("-")[0], *key[1:]))):
        row["over_narrowed_by_points"] = _lead(narrowed, [found[key]])
    return row


def _accuracy(by_seed: dict[int, dict[str, Any]]) -> float:
    return mean(Rate(*r["clean"]).value for r in by_seed.values())


def _lead(theirs: dict[int, dict[str, Any]], ours: list[dict[int, dict[str, Any]]]) -> float | None:
    """Accuracy of the best of ours minus theirs, over the seeds that both have."""
    leads = []
    for mine in ours:
        if both := theirs.keys() & mine.keys():
            leads.append(_accuracy({s: mine[s] for s in both}) - _accuracy({s: theirs[s] for s in both}))
    return max(leads, default=None)


def figures(results: Results) -> dict[str, str]:
    """Accuracy against ReLUs, and seconds online against ReLUs with the straight line through them."""
    from assay.bench.figures import budget_scatter, latency_line

    shown: Sequence[Row] = [row for row in rows(results) if row["training"].startswith(f"{EPOCHS} x")]
    drawn = {"cryptonas": budget_scatter(shown, OURS)} if shown else {}
    timed = [(r["relus"], r["online_s"]) for r in shown if r["online_s"] is not None]
    return drawn | ({"cryptonas-latency": latency_line(timed)} if len({relus for relus, _ in timed}) > 2 else {})


CRYPTONAS = Table(
    "CryptoNAS on CIFAR-10",
    jobs,
    rows,
    {
        "network": "network",
        "budget": "budget",
        "relus": "ReLUs",
        "macs": "multiplications",
        "n": "seeds",
        "training": "epochs x pictures",
        "accuracy": "accuracy",
        "accuracy_lead_by_points": "ours at the same budget, minus this",
        "no_slower_lead_by_points": "ours no slower online, minus this",
        "over_narrowed_by_points": "this, minus narrowed alike",
        "relus_ratio": "ReLUs of this / of ours no less accurate",
        "online_s": "online, s",
        "online_ratio": "online of this / of ours no less accurate",
    },
    "The CIFAR-10 copy is JPEG of quality 75: accuracies are not comparable with published ones. All networks are "
    f"trained alike, {EPOCHS} epochs of 45,000 pictures, one-cycle SGD, label smoothing (but for one that shows what "
    f"more epochs of fewer multiplications bring, and is compared with none); of a linearised one, the last "
    f"{TUNING} of these tune it after ReLUs were taken from a ResNet-20 of usual width. Ours: `searched` is the best "
    "skeleton of a search, `cnet1-balanced` the released CNet1's, both at the width that the budget and "
    f"{MOST_MACS // 10**6} M multiplications allow. Narrowed networks have all layers narrowed alike; squares stand "
    "for MiniONN's first activations as in Delphi. Means over the seeds that have been run, in brackets the outer ends "
    "of their 95 % intervals; every pair is shown, also where ours loses. Multiplications are those of the network as "
    "trained; online it is measured as `compile` makes it, of one seed, the median of three inferences.",
    figures,
    timed=(online,),
)
