"""The table about CryptoNAS's claim: searched and balanced networks against narrowed ones, trained alike.

Each training is a job that goes on from its last epoch when it is interrupted; `assay bench cryptonas --so-far` shows
what has been done, with its n.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import msgspec

from assay.bench.cryptonas_networks import BASELINES, BUDGETS, LINEARISED, MOST_MACS, OURS, SMALLER, WHOLE, network
from assay.bench.cryptonas_timing import timed_in_turn, which
from assay.bench.table import Job, Results, Row, Table, spread
from assay.bench.zoo import cache_folder
from assay.data import Dataset
from assay.data import load as load_data
from assay.models import Model, Rate, TrainSettings, clean_accuracy, save, train
from assay.models import load as load_model
from assay.models.recipes import by_muon
from assay.models.training import Optimiser
from assay.search import count
from assay.search.from_scratch import untrained
from assay.search.linearising import linearise

SEEDS = (1, 2)
EPOCHS, TUNING = 16, 6

LONGER = 32_000, 40
"""A budget and its epochs: a smaller network than of 50,000 ReLUs, for about as long as that one takes for 16."""

MUON_EPOCHS = 14
"""A step of Muon takes a fifth longer than one of SGD: these epochs of the network of 50,000 ReLUs take as long as 16
of SGD."""

RECIPE = TrainSettings(EPOCHS, 128, 0.2, augment="shift-flip", label_smoothing=0.1, bfloat16=True)
"""Of every network in the table that is trained by SGD."""

MUON = replace(by_muon(RECIPE), epochs=MUON_EPOCHS, batch_size=256)
"""Of those that show what Muon brings."""


AS_TRAINED = (*LINEARISED, "searched")
"""Networks whose layers are known only once they have been trained: they are timed by themselves."""


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training: which network, for how many ReLUs, from which seed; of fewer `pictures` where that is said.

    `budget` 0 means the network at its usual width, as it is or to be linearised.
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
        # 3: since finals change what is best
        how = b"cryptonas/3" if self.network == "searched" else b"cryptonas/1"
        digest = hashlib.sha256(how + msgspec.json.encode(self)).hexdigest()[:16]
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
    made = network(wanted.network, wanted.budget, load_data(wanted.dataset, "train"))
    model = untrained(made.architecture, made.arguments, data, wanted.seed)
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
        "maxima": counted.total("maxima"),
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
    rows += [Wanted(name, budget, seed) for seed in SEEDS for name in SMALLER for budget in SMALLER[name]]
    rows += [Wanted(name, budget, seed) for seed in SEEDS for budget in BUDGETS[:2] for name in LINEARISED]
    rows += [Wanted(name, 0, seed) for seed in SEEDS for name in WHOLE]
    budget, epochs = LONGER
    rows.append(Wanted(OURS[0], budget, SEEDS[0], epochs))
    rows += [Wanted(name, BUDGETS[1], SEEDS[0], MUON_EPOCHS, optimiser="muon") for name in (OURS[0], *BASELINES)]
    rows += [Wanted(OURS[0], BUDGETS[1], seed, MUON_EPOCHS, optimiser="muon") for seed in SEEDS[1:]]
    return [*rows, *few]


def jobs(quick: bool) -> list[Job]:
    """Every training, the headline pairs of the first seed first; then every timing."""
    wanted = _wanted(quick)
    trainings = [Job(trained, msgspec.to_builtins(w)) for w in wanted]
    if quick:
        return trainings
    own = [Job(online, msgspec.to_builtins(w)) for w in wanted if w.network in AS_TRAINED and not w.pictures]
    together = Job(timed_in_turn, {"dataset": "cifar10", "networks": [list(pair) for pair in which()]})
    return [*trainings, together, *own]


Key = tuple[str, int, int, int, Optimiser]
"""Network, budget, epochs, pictures (0: all), optimiser."""

Found = dict[Key, dict[int, dict[str, Any]]]
"""Results of trainings by seed."""

Timed = dict[tuple[str, int], float]
"""Median seconds online, by network and budget."""


def rows(results: Results) -> list[Row]:
    """A row a network, budget and training: means over the seeds that have been run, beside ours trained alike."""
    found: Found = defaultdict(dict)
    timed: Timed = {}
    for job, result in results:
        if job.function is timed_in_turn:
            timed |= {(r["network"], r["budget"]): median(r["seconds"]) for r in result["online_s"]}
            continue
        w = msgspec.convert(job.settings, Wanted)
        if job.function is trained:
            found[w.network, w.budget, w.epochs, w.pictures, w.optimiser][w.seed] = result
        elif result["measured"]:
            timed[w.network, w.budget] = result["measured"]["online_s"]
    return [_row(key, found, timed) for key in found]


def _row(key: Key, found: Found, timed: Timed) -> Row:
    name, budget, epochs, pictures, optimiser = key
    by_seed = found[key]
    first = next(iter(by_seed.values()))
    row: Row = {
        "network": name,
        "budget": budget or "usual width",
        "relus": first["relus"],
        "macs": first["macs"],
        "parameters": first["parameters"],
        "arguments": first["arguments"],
        "training": f"{epochs} x {pictures or 45_000:,}" + (", Muon" if optimiser == "muon" else ""),
        "seed": sorted(by_seed),
        "n": len(by_seed),
        "accuracy": _accuracy(by_seed),
        "accuracy_interval": spread(Rate(*r["clean"]) for r in by_seed.values()),
        "online_s": timed.get((name, budget)),
    }
    if name not in OURS:
        ours = [k for k in found if k[0] in OURS and k[2:] == key[2:]]
        fast = [k for k in ours if timed.get(k[:2], math.inf) <= (row["online_s"] or 0)]
        enough = [k for k in ours if _accuracy(found[k]) >= row["accuracy"]]
        sizes = [_comparisons(next(iter(found[k].values()))) for k in enough]
        seconds = [timed[k[:2]] for k in enough if k[:2] in timed]
        row["accuracy_lead_by_points"] = _lead(found[key], [found[k] for k in ours if k[1] == budget])
        row["no_slower_lead_by_points"] = _lead(found[key], [found[k] for k in fast])
        row["relus_ratio"] = _comparisons(first) / min(sizes) if sizes else None
        row["online_ratio"] = row["online_s"] / min(seconds) if seconds and row["online_s"] else None
    if name in LINEARISED and (narrowed := found.get((name.partition("-")[0], *key[1:]))):
        row["over_narrowed_by_points"] = _lead(narrowed, [found[key]])
    return row


def _comparisons(result: dict[str, Any]) -> int:
    """ReLUs, and what max pools compare, which older results do not say: none of them has any."""
    return int(result["relus"] + result.get("maxima", 0))


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

    shown: Sequence[Row] = [row for row in rows(results) if row["training"] == f"{EPOCHS} x 45,000"]
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
    f"trained alike, {EPOCHS} epochs of 45,000 pictures, one-cycle SGD, label smoothing; a row whose training differs "
    f"is compared only with rows of that training. Of a linearised one, the last {TUNING} of these tune it after ReLUs "
    "were taken from a ResNet-20 of usual width. Ours: `searched` is the skeleton that won the finals of a search, in "
    "which CNet1's took part, `cnet1-balanced` the released CNet1's, `three-layers` the shallowest skeleton (two 5x5 "
    "layers and one 3x3), `two-layers` the same without its last layer, all at the width that "
    f"the budget and {MOST_MACS // 10**6} M multiplications allow. Narrowed networks have all layers narrowed alike; "
    "squares stand for MiniONN's first activations as in Delphi. Means over the seeds that have been run, in brackets "
    "the outer ends of their 95 % intervals; every pair is shown, also where ours loses. Multiplications are those of "
    "the network as trained. Online: all networks in one run, in turn, as `compile` makes them, between two processes "
    "of one machine; the median of three rounds, each the median of three inferences. What an inference takes depends "
    "on shapes, so the weights in that run are fresh ones; linearised and searched networks are timed by "
    "themselves, as trained.",
    figures,
    timed=(online, timed_in_turn),
)


def _brief_jobs(quick: bool) -> list[Job]:
    """Those of the whole table that are of ours and of networks at their usual width, and the timing of all."""
    alike = [w for w in _wanted(quick) if w.pictures or (w.epochs, w.optimiser) == (EPOCHS, "sgd")]
    ours = [w for w in alike if w.network in OURS and w.network not in AS_TRAINED]
    usual = [w for w in alike if w.network in WHOLE and not w.budget]
    together = [job for job in jobs(quick) if job.function is timed_in_turn]
    return [Job(trained, msgspec.to_builtins(w)) for w in (*usual, *ours)] + together


def brief_rows(results: Results) -> list[Row]:
    """Whole networks, then those of ours that no other of ours beats in both, the most accurate first."""
    found = rows(results)
    alike = [row for row in found if row["training"] == f"{EPOCHS} x 45,000"] or found
    whole = [row for row in alike if row["network"] in WHOLE]
    ours = [row for row in alike if row["network"] in OURS]
    front = [row for row in ours if not any(_wait(o) <= _wait(row) and o["accuracy"] > row["accuracy"] for o in ours)]
    begun = next((row["online_s"] for row in whole if row["network"] == WHOLE[-1]), None)
    shown = [*sorted(whole, key=lambda row: -row["relus"]), *sorted(front, key=lambda row: -row["accuracy"])]
    return [{**row, "sooner": begun / row["online_s"] if begun and row["online_s"] else None} for row in shown]


def _wait(row: Row) -> float:
    """Seconds online, the longest where they were not measured."""
    seconds: float | None = row["online_s"]
    return math.inf if seconds is None else seconds


BRIEF = Table(
    "From a ResNet to a network that answers sooner",
    _brief_jobs,
    brief_rows,
    {
        "network": "network",
        "relus": "ReLUs",
        "n": "seeds",
        "accuracy": "accuracy",
        "online_s": "online, s",
        "sooner": "times sooner than ResNet-32",
    },
    "CIFAR-10 as JPEG of quality 75: accuracies are not comparable with published ones. All are trained alike, "
    f"{EPOCHS} epochs by SGD, and timed in one run between two processes of one machine. Of ours those are shown that "
    "no other of ours beats in both. More, and how it was measured, in the table `cryptonas`.",
    timed=(timed_in_turn,),
)
