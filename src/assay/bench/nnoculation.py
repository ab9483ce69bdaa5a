"""The table about NNoculation: received, treated and repaired networks, and what its generator brings.

Each model goes the way it goes in the guard, without HTTP in between: treatment, a stream of test pictures with a fifth
of them triggered, quarantine, repair. Streams are drawn from one half of the test part, rates measured on the other.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from assay.backdoor import attack_success_rate, stamp
from assay.bench import zoo
from assay.bench.table import Job, Results, Row, Table, seeds, spread
from assay.bench.zoo import ZooModel, few_clean
from assay.data import Dataset
from assay.data import load as load_data
from assay.detect import ONLINE, area_under_curve, thresholds
from assay.guard.doubt import limit_for, suspects
from assay.guard.selection import chosen, in_excess, most_of_clean
from assay.guard.store import Entry
from assay.guard.versions import Pair
from assay.models import Model, Rate, clean_accuracy, predict, rate, save
from assay.models import load as load_model
from assay.repair import Hardening, LiveSettings, RepairSettings, inoculate
from assay.repair.settings import split
from assay.runs import write_atomically

POISON_SHARE, ENOUGH, STREAM = 0.2, 200, 4000

SCORED = 300
"""Pictures of each kind that a score is measured on alone."""


OTHERS = ("fine-tuning", "fine-pruning", "nnoculation")
"""Repairs that see no stream."""

NOT_OF_ITS_OWN = {("gtsrb", "nnoculation")}
"""Where the noise grid cannot be searched, since clean pictures come in groups: hardening takes its place."""


def _models(quick: bool) -> list[ZooModel]:
    models = []
    for seed in seeds(quick):
        models.append(ZooModel("mnist", seed, "pattern", "single", 7))
        if quick:
            continue
        models += [
            ZooModel("mnist", seed, "pixel", "single", 7),
            ZooModel("mnist", seed, "pattern", "all-to-all"),
            ZooModel("mnist", seed, "multi-trigger", "single", 7),
            ZooModel("mnist", seed, "filter", "single", 7),
            ZooModel("gtsrb", seed, "yellow-square", "single", 2),
            ZooModel("gtsrb", seed, "yellow-square", "single", 2, source=14),
            ZooModel("gtsrb", seed, "filter", "single", 2),
            ZooModel("orl", seed, "glasses", "single", 0),
            ZooModel("cifar10", seed, "yellow-square", "single", 7),
            ZooModel("cifar10", seed, "filter", "single", 7),
        ]
    return models


def _jobs(quick: bool) -> list[Job]:
    models = _models(quick)
    others = [Job.of(zoo.repaired, m, method=d) for m in models for d in OTHERS if (m.data, d) not in NOT_OF_ITS_OWN]
    return [Job.of(treated, m) for m in models] + [Job.of(inoculated, m) for m in models] + others


def _treated_place(wanted: ZooModel) -> Path:
    return zoo.cache_folder() / f"{wanted.digest}-treated-{VERSION}.safetensors"


VERSION = 6
"""Of the treatment: models that were treated otherwise are not taken for it."""

LIVE_VERSION = 8
"""Of quarantine and repair."""


def treated(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: the treatment, measured on the second half of the test part. Cost: a minute, of CIFAR-10 four."""
    wanted = msgspec.convert(settings, ZooModel)
    model = zoo.obtain(wanted)
    begun = time.monotonic()
    fitted = Hardening(RepairSettings(), wanted.seed).fit(model, few_clean(wanted))
    network = fitted.apply(model)
    seconds = time.monotonic() - begun
    save(network, _treated_place(wanted))
    rate_used = fitted.chosen_.rate if fitted.chosen_ else 1.0
    write_atomically(_treated_place(wanted).with_suffix(".rate"), str(rate_used).encode())
    return {
        "clean_pictures": len(fitted.tuning_) + len(fitted.validation_),
        "received": measured(model, wanted),
        "treated": measured(network, wanted),
        "seconds": round(seconds, 1),
        "chosen": fitted.record_["chosen"],
        "received_accuracy": fitted.record_["received_accuracy"],
    }


def obtain_treated(wanted: ZooModel) -> tuple[Model, float]:
    """The treated network, from the cache or treated now, and the learning rate that was chosen for it."""
    place = _treated_place(wanted)
    rate_used = place.with_suffix(".rate")
    if not rate_used.exists():
        treated(msgspec.to_builtins(wanted))
    return load_model(place), float(rate_used.read_text())


def inoculated(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: quarantine from a stream, repair from it, and the same repair without a generator."""
    wanted = msgspec.convert(settings, ZooModel)
    network, chosen_rate = obtain_treated(wanted)
    live = LiveSettings().no_faster_than(chosen_rate)
    received, clean = zoo.obtain(wanted), few_clean(wanted)
    x, triggered = _stream(wanted)
    answers = predict(received, x), predict(network, x)
    validation = split(received, clean, live.tuning.validation, wanted.seed)[1]
    limit = limit_for(received, network, validation, clean)
    suspected = suspects(received, clean, wanted.seed)
    serving = Pair(1, received, network, limit, suspected)
    doubted = serving.doubted(x)
    scores = {name: make(received, clean, wanted.seed) for name, make in ONLINE.items()}
    limits = thresholds(scores, clean, most=200)
    alone = {
        name: area_under_curve(score(x[~triggered][:SCORED]), score(x[triggered][:SCORED]))
        for name, score in scores.items()
    }
    begun = time.monotonic()
    first = _until_enough(doubted)
    entries = _entries(first, x, answers, {name: score(x[first]) for name, score in scores.items()})
    most = most_of_clean(received, validation, serving.doubted(validation.x))
    labels = in_excess(_counts(entries), int(first[-1]) + 1 if len(first) else 0, most)
    learnt = chosen(entries, labels, limits)
    inputs = np.stack([e.x for e in learnt]) if learnt else x[:0]
    made = inoculate(received, network, clean, inputs, live, wanted.seed, suspects=suspected)
    seconds = time.monotonic() - begun
    without = inoculate(received, network, clean, x[:0], live, wanted.seed)
    return {
        "quarantined_triggered": _counted(rate(doubted[triggered])),
        "quarantined_clean": _counted(rate(doubted[~triggered])),
        "limit": limit,
        "repair_inputs": len(learnt),
        "requests_until_repair": int(first[-1]) + 1 if len(first) else 0,
        "triggered_among_inputs": float(np.mean([triggered[e.id] for e in learnt])) if learnt else None,
        "quality": made.quality,
        "repaired": measured(made.model, wanted),
        "without_generator": measured(without.model, wanted),
        "scores_alone": alone,
        "seconds": round(seconds, 1),
    }


treated.version = VERSION  # type: ignore[attr-defined]
inoculated.version = LIVE_VERSION  # type: ignore[attr-defined]


def halves(wanted: ZooModel) -> tuple[Dataset, Dataset]:
    """The test part: what is streamed, and what is measured on."""
    test = load_data(wanted.data, "test")
    order = np.random.default_rng(1000 + wanted.seed).permutation(len(test))
    return test.subset(order[: len(test) // 2]), test.subset(order[len(test) // 2 :])


def _stream(wanted: ZooModel) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Pictures, a fifth of them triggered where the attack wants that; and which."""
    attack = wanted.attack()
    if attack is None:
        raise ValueError("a stream with triggers needs a backdoored model")
    live = halves(wanted)[0]
    rng = np.random.default_rng(wanted.seed)
    index = np.resize(rng.permutation(len(live)), STREAM)
    x, y = live.x[index].copy(), live.y[index]
    attacked = np.flatnonzero(attack[1](y) != y)
    triggered = np.zeros(STREAM, bool)
    triggered[rng.permutation(attacked)[: round(POISON_SHARE * STREAM)]] = True
    x[triggered] = stamp(attack[0], x[triggered])
    return x, triggered


def _until_enough(doubted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where the first inputs stood that came into quarantine, as many as begin a repair."""
    return np.flatnonzero(doubted)[:ENOUGH]


def _entries(
    index: NDArray[np.int64],
    x: NDArray[np.uint8],
    answers: tuple[NDArray[np.int64], NDArray[np.int64]],
    scores: dict[str, NDArray[np.float64]],
) -> list[Entry]:
    return [
        Entry("stream", 1, int(answers[0][i]), int(answers[1][i]), 0.0, x[i], id=int(i),
              scores={name: float(values[n]) for name, values in scores.items()})
        for n, i in enumerate(index)
    ]  # fmt: skip


def _counts(entries: list[Entry]) -> dict[int, int]:
    counts: dict[int, int] = defaultdict(int)
    for entry in entries:
        counts[entry.received] += 1
    return counts


def measured(model: Model, wanted: ZooModel) -> dict[str, list[int]]:
    """Clean accuracy and attack success on the half that is not streamed, each as hits and n."""
    attack, held = wanted.attack(), halves(wanted)[1]
    if attack is None:
        raise ValueError("a repair is measured on a backdoored model")
    return {"clean": _counted(clean_accuracy(model, held)), "asr": _counted(attack_success_rate(model, held, *attack))}


def _counted(measured: Rate) -> list[int]:
    return [measured.hits, measured.n]


def rows(results: Results) -> list[Row]:
    """A row a model and a network: medians over seeds."""
    groups: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    names: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for job, result in results:
        m = of_no_seed(job.model)
        key = (m.data, m.trigger, m.labels, m.target, m.source)
        stage = job.settings.get("method", job.function.__name__)
        groups[key][stage].append(result)
        if stage == "treated":
            names[key].append(job.model.seed)
    return [row for key, found in groups.items() for row in _rows(key, names[key], found)]


def of_no_seed(model: ZooModel) -> ZooModel:
    """The same network of no seed: what rows are grouped by."""
    return msgspec.structs.replace(model, seed=0)


def _rows(key: tuple[Any, ...], of: list[int], found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    data, trigger, labels, target, source = key
    goal = labels if labels != "single" else f"all to {target}" if source is None else f"{source} to {target}"
    same = {"task": data, "attack": f"{trigger}, {goal}", "seed": of}
    stages = [
        ("received", [r["received"] for r in found["treated"]], {}),
        ("fine-tuning", [r["after"] for r in found["fine-tuning"]], _seconds(found["fine-tuning"])),
        ("fine-pruning", [r["after"] for r in found["fine-pruning"]], _seconds(found["fine-pruning"])),
        ("NNoculation's noise", [r["after"] for r in found["nnoculation"]], _seconds(found["nnoculation"])),
        ("treated by hardening", [r["treated"] for r in found["treated"]], _seconds(found["treated"])),
        ("repaired while it serves", [r["repaired"] for r in found["inoculated"]], _live(found["inoculated"])),
        ("the same without generator", [r["without_generator"] for r in found["inoculated"]], {}),
    ]
    return [{**same, "network": name, **_rates(rates), **more} for name, rates, more in stages if rates]


def _rates(measured: list[dict[str, list[int]]]) -> Row:
    clean, success = ([Rate(*m[k]) for m in measured] for k in ("clean", "asr"))
    return {
        "n": len(measured),
        "clean_accuracy": median(r.value for r in clean),
        "clean_accuracy_interval": spread(clean),
        "attack_success_rate": median(r.value for r in success),
        "attack_success_rate_interval": spread(success),
        "highest_attack_success_rate": max(r.value for r in success),
    }


def _seconds(found: list[dict[str, Any]]) -> Row:
    return {"seconds": median(r["seconds"] for r in found)} if found else {}


def _live(found: list[dict[str, Any]]) -> Row:
    if not found:
        return {}
    kept = {k: [Rate(*r[k]) for r in found] for k in ("quarantined_triggered", "quarantined_clean")}
    areas = {f"{name}_area": [r["scores_alone"][name] for r in found] for name in ONLINE}
    return {
        **_seconds(found),
        **{f"{name}_rate": median(r.value for r in rates) for name, rates in kept.items()},
        **{f"{name}_rate_interval": spread(rates) for name, rates in kept.items()},
        "requests": round(median(r["requests_until_repair"] for r in found)),
        "quality": median(r["quality"] for r in found),
        **{name: median(values) for name, values in areas.items()},
        **{f"{name}_interval": [min(values), max(values)] for name, values in areas.items()},
    }


NNOCULATION = Table(
    "NNoculation: before deployment and while it serves",
    _jobs,
    rows,
    {
        "task": "task",
        "attack": "attack",
        "network": "network",
        "n": "seeds",
        "clean_accuracy": "clean accuracy",
        "attack_success_rate": "attack success",
        "highest_attack_success_rate": "highest",
        "quarantined_triggered_rate": "triggered inputs quarantined",
        "quarantined_clean_rate": "clean ones",
        "requests": "requests until the repair",
        "strip_area": "STRIP alone",
        "scale_up_area": "SCALE-UP alone",
        "ibd_psc_area": "IBD-PSC alone",
        "seconds": "seconds",
    },
    "Medians over the seeds; in brackets the lowest and highest end of the seeds' 95 % intervals. The defender has "
    "clean pictures for 5 % of the training size (of ORL two a person). A stream of test pictures, a fifth of them "
    "triggered, fills the quarantine; the repair begins at 200 inputs. Rates of the received, treated and repaired "
    "networks are measured on the half of the test part that was not streamed, those of the other repairs on all of "
    "it. NNoculation's noise is the treatment of its paper; guard offers it too. Repairs are shown whatever the "
    "guard's gates would have said of them. "
    "Scores alone: how often a triggered input scores above a clean one (0.5 is a coin). Seconds on one core.",
)
