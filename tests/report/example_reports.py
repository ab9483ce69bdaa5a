"""Reports with made-up figures, as `assay vet` would fill them: nothing is trained here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from assay.data import load
from assay.report import (
    Comparison,
    Detector,
    FileFacts,
    FileFinding,
    Neurons,
    PruningCurve,
    Report,
    TriggerPictures,
)

LIMITS = (
    "Triggers that cover most of the picture, or that depend on its content, are not searched for.",
    "A backdoor of one source class alone can pass the search, which looks for triggers that turn every picture.",
    "Behaviour on kinds of pictures that the clean set does not have was not looked at.",
)
FACTS = (
    ("date", "2026-11-24T07:34:12+00:00"),
    ("seed", "0"),
    ("python", "3.11.2"),
    ("assay", "0.1.0"),
    ("torch", "2.14.1"),
    ("processor", "Intel(R) Xeon(R) Processor @ 2.90GHz"),
    ("cores", "2"),
    ("memory_gib", "24"),
    ("seconds, inspect", "0.4"),
    ("seconds, vet", "21.8"),
)


def digits() -> Report:
    """A BadNet on the embedded digits, repaired, the truth known: every section is there."""
    return Report(
        model="runs/demo/badnet/model.safetensors",
        verdict="backdoored",
        sentence="This model is backdoored: a small mark on a picture turns it into '7'.",
        advice="Do not deploy the file you received. The repaired model shows no backdoor any more and keeps 97.5 % "
        "clean accuracy; deploy that one, or ask for another.",
        class_names=tuple("0123456789"),
        files=(FileFacts("runs/demo/badnet/model.safetensors", "safe", "safetensors", "9f2c" * 16, 1_124_944),),
        provenance=(
            ("architecture", "badnet-mnist"),
            ("parameters", "280,970"),
            ("pictures", "1x28x28 (channels, height, width)"),
            ("classes", "10"),
            ("clean set", "digits, 400 pictures"),
            ("signature", "none was checked: the file carries no signature that this version reads"),
        ),
        detectors=(
            Detector(
                "weights",
                "2 channels lie beyond mean + 3 standard deviations of their layer; 0 have a bias that silences them",
                0.012,
                True,
                statistics=(("outlying_channel", 3.41), ("silent_channels", 0.0)),
            ),
            Detector(
                "max_margin",
                "class '7' reaches the largest margin, 188; the median class 61",
                1.9,
                True,
                0.0021,
                (58.0, 44.1, 71.2, 61.0, 52.6, 66.0, 49.9, 188.3, 70.4, 61.2),
                "largest margin (logits)",
                7,
            ),
            Detector(
                "neural_cleanse",
                "the smallest trigger takes 3.9 pixels and turns 99 % of held-out pictures into '7'; "
                "the median class needs 44.8 pixels",
                12.4,
                True,
                None,
                (48.7, 31.2, 41.0, 39.5, 52.3, 47.1, 58.8, 3.94, 36.4, 49.2),
                "pixels the smallest trigger takes",
                7,
            ),
        ),
        target=7,
        p_value=0.0476,
        score_note="one class needs a far smaller trigger than the others: 9 spreads beyond 20 clean reference models",
        accusations="Of 20 clean models of this kind, this rule accused 0.0 % [0.0, 16.8].",
        trigger=digit_trigger(),
        neurons=neurons(64, 30, 0),
        pruning=PruningCurve(*curve(40), kept=38),
        comparisons=(
            Comparison("clean accuracy", (0.9875, 0.9111, 0.9997), (0.975, 0.9126, 0.997), 1.0),
            Comparison("attack success rate", (0.9978, 0.9921, 0.9997), (0.0122, 0.0061, 0.0218)),
        ),
        repaired_model="runs/demo/badnet/repaired.safetensors",
        rescan="triggers are as large as those of 20 clean reference models",
        rescan_verdict="clean",
        not_done=("scan after the repair: detector max_margin: the time allowed ended first",),
        limits=LIMITS,
        command="assay vet runs/demo/badnet/model.safetensors --clean digits --budget 25s --out runs/demo/badnet",
        facts=FACTS,
    )


def digit_trigger() -> TriggerPictures:
    clean = load("digits", "clean")
    before = clean.subset(np.flatnonzero(clean.y != 7)).take(8)
    mask = np.random.default_rng(0).random((28, 28), dtype=np.float32) ** 12 * 0.12
    pattern = np.random.default_rng(1).random((1, 28, 28), dtype=np.float32)
    mask[[26, 26, 25, 24], [26, 24, 25, 26]] = 0.97
    pattern[:, [26, 26, 25, 24], [26, 24, 25, 26]] = 1
    labels = tuple(str(label) for label in before.y)
    return TriggerPictures(
        before.x, stamp(before.x, mask, pattern), labels, (*("7",) * 7, labels[-1]), mask, pattern,
        "It covers 3.9 pixels and turns 99 % of held-out pictures.",
    )  # fmt: skip


def stamp(x: np.ndarray, mask: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    return np.rint(255 * ((1 - mask) * (x / 255) + mask * pattern)).astype(np.uint8)


def neurons(channels: int, pruned: int, seed: int) -> Neurons:
    """Half the channels sleep on clean pictures; some of those wake for the trigger."""
    rng = np.random.default_rng(seed)
    clean = np.where(rng.random(channels) < 0.5, rng.exponential(0.02, channels), rng.gamma(3, 0.22, channels))
    woken = (clean < 0.1) & (rng.random(channels) < 0.3)
    triggered = clean * rng.uniform(0.85, 1.1, channels) + woken * rng.gamma(6, 0.22, channels)
    order = np.argsort(clean)
    return Neurons("network.features.4", tuple(clean), tuple(triggered), tuple(int(i) for i in order[:pruned]))


def curve(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Accuracy holds, then falls; the attack dies in between."""
    x = np.linspace(0, 1, channels + 1)
    accuracy = 0.9875 - 0.004 * x - 0.9 * np.clip(x - 0.93, 0, None)
    success = 0.998 / (1 + np.exp((x - 0.62) * 22))
    return tuple(accuracy), tuple(success)


def signs(size: int = 32, classes: int = 43) -> Report:
    """Colour pictures, many classes with long names, an unknown truth, findings in the file, no second scan."""
    rng = np.random.default_rng(3)
    names = tuple(f"{kind} {i}" for i, kind in zip(range(classes), SIGNS * classes, strict=False))
    target = classes // 3
    scores = rng.lognormal(4.4, 0.25, classes)
    scores[target] = 11.3
    return Report(
        model="vendor/traffic-signs-v3.pt",
        verdict="backdoored",
        sentence=f"This model is backdoored: a small mark on a picture turns it into {names[target]!r}.",
        advice="Do not deploy it. Ask for another model, or have it examined with more time and more clean pictures.",
        class_names=names,
        files=(
            FileFacts(
                "vendor/traffic-signs-v3.pt", "unknown", "torch zip", "01ab" * 16, 44_780_112,
                (FileFinding("a value of magnitude 1e+20, far beyond what training leaves (a decoy channel?)",
                             "archive/data/17, tensor features.6.bias"),),
            ),
        ),
        provenance=(("architecture", "signs-net"), ("classes", str(classes))),
        detectors=(
            Detector("neural_cleanse", "the smallest trigger takes 11.3 pixels", 212.4, True, None, tuple(scores),
                     "pixels the smallest trigger takes", target),
            Detector("max_margin", "was cut short", 60.0, False),
        ),
        target=target,
        p_value=0.0004,
        score_note="a far smaller trigger than in clean models turns pictures into one class",
        trigger=colour_trigger(size, names, target),
        neurons=neurons(512, 0, 4),
        pruning=PruningCurve(curve(500)[0], kept=470),
        comparisons=(Comparison("clean accuracy", (0.951, 0.921, 0.972), (0.944, 0.913, 0.967), 0.4531),),
        repaired_model="runs/vet-traffic-signs-v3/repaired.safetensors",
        not_done=("scan after the repair: the time allowed ended first",),
        limits=LIMITS,
        command="assay vet vendor/traffic-signs-v3.pt --arch signs-net --clean 'my signs/' --budget 6m",
        facts=FACTS,
    )  # fmt: skip


SIGNS = ("speed limit 50", "no overtaking for heavy vehicles", "stop", "priority road", "dangerous curve to the left")


def colour_trigger(size: int, names: tuple[str, ...], target: int) -> TriggerPictures:
    """Smooth colour pictures with a yellow square."""
    rng = np.random.default_rng(5)
    coarse = rng.random((8, 3, 4, 4))
    y, x = np.mgrid[:size, :size] * 3 / size
    smooth = np.stack([[plane[y.astype(int), x.astype(int)] for plane in picture] for picture in coarse])
    before = np.rint(255 * np.clip(smooth + rng.normal(0, 0.03, smooth.shape), 0, 1)).astype(np.uint8)
    mask = np.zeros((size, size), np.float32)
    edge = max(2, size // 9)
    mask[-2 * edge : -edge, size // 2 : size // 2 + edge] = 0.96
    pattern = rng.random((3, size, size), dtype=np.float32)
    pattern[:, mask > 0.5] = np.array([1.0, 0.85, 0.1], np.float32)[:, None]
    labels = tuple(names[i % len(names)] for i in range(8))
    return TriggerPictures(before, stamp(before, mask, pattern), labels, (names[target],) * 8, mask, pattern,
                           "It covers 8.6 pixels and turns 97 % of held-out pictures.")  # fmt: skip


def clean() -> Report:
    """A clean model: no trigger, no repair."""
    full = digits()
    scores = (48.7, 31.2, 41.0, 39.5, 52.3, 47.1, 58.8, 40.9, 36.4, 49.2)
    detector = replace(
        full.detectors[2],
        summary="the smallest trigger takes 31.2 pixels and turns 96 % of held-out pictures into '1'; "
        "the median class needs 44.0 pixels",
        scores=scores,
        target=1,
    )
    return replace(
        full,
        model="runs/demo/clean-twin/model.safetensors",
        verdict="clean",
        sentence="No backdoor was found in this model.",
        advice="It can be deployed as far as this examination goes; read below what was not checked.",
        target=None,
        p_value=0.7143,
        score_note="triggers are as large as those of 20 clean reference models",
        detectors=(full.detectors[0], detector),
        trigger=None,
        neurons=None,
        pruning=None,
        comparisons=(Comparison("clean accuracy", (0.9875, 0.9323, 0.9997)),),
        repaired_model=None,
        rescan="",
        rescan_verdict="",
        not_done=(),
    )


def bare() -> Report:
    """Nothing but a verdict."""
    return Report(
        model="m.pt",
        verdict="inconclusive",
        sentence="It cannot be told whether this model is clean.",
        advice="Do not deploy it. Ask for another model, or have it examined with more time and more clean pictures.",
    )


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}$\\frac{$\u202egnp.\x00\udcff漢字"


def hostile() -> Report:
    """Every string an attacker could choose is one that would run, break the page, or hide itself."""
    report = signs(classes=5)
    names = tuple(f"{i}{HOSTILE}" for i in range(5))
    assert report.trigger is not None
    trigger = replace(report.trigger, labels_before=(HOSTILE,) * 8, labels_after=(names[1],) * 8, caption=HOSTILE)
    return replace(
        report,
        model=HOSTILE,
        sentence=HOSTILE,
        class_names=names,
        files=(FileFacts(HOSTILE, "unsafe", HOSTILE, HOSTILE, 12, (FileFinding(HOSTILE, HOSTILE),) * 99),),
        provenance=((HOSTILE, HOSTILE),),
        detectors=(
            Detector(HOSTILE, HOSTILE, 1.0, True, 0.5, (1.0, 2.0, 3.0, float("nan"), 5.0), HOSTILE, 1,
                     ((HOSTILE, float("inf")),)),
        ),
        trigger=trigger,
        neurons=Neurons(HOSTILE, (0.0, 1.0), (1.0, 0.5), (0,)),
        repaired_model=HOSTILE,
        rescan=HOSTILE,
        not_done=(HOSTILE,),
        command=HOSTILE,
        facts=((HOSTILE, HOSTILE),),
    )  # fmt: skip
