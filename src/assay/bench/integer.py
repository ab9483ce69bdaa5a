"""Jobs about the integer network: what rounding costs in accuracy, how fast it runs, and SafetyNets' own networks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import msgspec
import numpy as np
import torch

from assay.bench.zoo import ZooModel, obtain
from assay.data import Dataset, normalisation
from assay.data import load as load_data
from assay.integer import CompileSettings, compile_measured
from assay.integer.classic_training import RECIPES, ClassicTraining, train_safetynet
from assay.models import ModelSpec, Rate, as_float, predict, rate

REPEATS = 9


def fidelity(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: a model of the zoo in integers, compiled with the defender's share and measured on the test part.

    Settings: those of a `ZooModel`; `bits` (8) of activations; `batch` (64) pictures a timed run.
    """
    more = {"bits": 8, "batch": 64} | {k: settings[k] for k in ("bits", "batch") if k in settings}
    wanted = msgspec.convert({k: v for k, v in settings.items() if k not in more}, ZooModel)
    model, test = obtain(wanted), load_data(wanted.data, "test")
    compiled = compile_measured(model, load_data(wanted.data, "clean"), CompileSettings(more["bits"]))
    network = compiled.network
    expected, given = predict(model, test.x), network.predict(test.x, torch.get_num_threads())
    x = test.x[: more["batch"]]
    images = as_float(x)
    with torch.inference_mode():
        seconds = interleaved(lambda: model(images), lambda: network.run(x, torch.get_num_threads()))
    return {
        "float": _counts(rate(expected == test.y)),
        "integer": _counts(rate(given == test.y)),
        "agreement": _counts(rate(given == expected)),
        "lost_on_clean": compiled.float_accuracy.value - compiled.integer_accuracy.value,
        "ring_bits": network.ring_bits,
        "nodes": len(network.nodes),
        "digest": network.digest,
        "threads": torch.get_num_threads(),
        "torch_ms_a_picture": [1000 * s / len(x) for s in seconds[0]],
        "integer_ms_a_picture": [1000 * s / len(x) for s in seconds[1]],
        "ratio": median(seconds[1]) / median(seconds[0]),
    }


def interleaved(*runs: Callable[[], object]) -> list[list[float]]:
    """Seconds of each run, one after the other in turn so that what else the machine does meets all of them."""
    seconds: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    for _ in range(REPEATS):
        for run, kept in zip(runs, seconds, strict=True):
            begun = time.perf_counter()
            run()
            kept.append(time.perf_counter() - begun)
    return seconds


def _counts(measured: Rate) -> list[int]:
    return [measured.hits, measured.n]


def classic(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: SafetyNets' network on a data set, with squares and in integers mod p, beside its ReLU twin.

    Settings: `data` (a named set, or `frames`), `architecture`, `seed`; `arguments` of the architecture, `margin_bits`;
    `epochs` and `rounded_epochs` in place of those of the recipe. CPU time: 2 minutes for MNIST, 4 for spoken digits.
    """
    train, clean, test = _parts(settings["data"])
    arguments = settings.get("arguments", {})
    found: dict[str, Any] = {}
    for activation in ("square", "relu"):
        mean, std = normalisation(train)
        spec = ModelSpec(
            settings["architecture"],
            train.image_shape,
            train.class_names,
            mean,
            std,
            {**arguments, "activation": activation},
        )
        model = train_safetynet(spec, train, _as_asked(RECIPES[settings["architecture"]], settings))
        compiled = compile_measured(model, clean, CompileSettings(margin_bits=settings.get("margin_bits", 2.0)))
        given = compiled.network.run(test.x, torch.get_num_threads()).argmax(1)
        found[activation] = {
            "float": _counts(rate(predict(model, test.x) == test.y)),
            "integer": _counts(rate(given == test.y)),
            "classic": compiled.network.classic,
            "wrapped_on_clean": compiled.wrapped,
            "bits": [bound.bits for bound in compiled.network.bounds],
        }
    return found


def _as_asked(how: ClassicTraining, settings: dict[str, Any]) -> ClassicTraining:
    real = replace(how.real, seed=settings["seed"], epochs=settings.get("epochs", how.real.epochs))
    last = how.rounded
    if last:
        last = replace(last, seed=settings["seed"], epochs=settings.get("rounded_epochs", last.epochs))
    return replace(how, real=real, rounded=last)


def _parts(name: str) -> tuple[Dataset, Dataset, Dataset]:
    """Training part, defender's share and test part, as contiguous arrays."""
    if name == "frames":
        return frames()
    train, clean, test = (load_data(name, part) for part in ("train", "clean", "test"))
    return replace(train, x=np.ascontiguousarray(train.x)), clean, test


FRAMES, BANDS = 15, 123
"""As in TIMIT's usual features: 15 frames of 123 values are the 1845 inputs of the paper's network."""


def frames() -> tuple[Dataset, Dataset, Dataset]:
    """Real speech in the shape of the paper's: 1845 inputs a frame in its context, 183 classes.

    Frames of the Free Spoken Digit Dataset; a class is a digit, its speaker, and the first, middle or last third of
    the word (180 of the 183 classes). The recordings that are test in the official split are test here.
    """
    from assay.data.places import find

    (file,) = find("fsdd")
    with np.load(file, allow_pickle=False) as archive:
        wave, offsets = archive["waveform"], archive["offsets"].astype(np.int64)
        digits, speakers, is_test = (archive[key].astype(np.int64) for key in ("labels", "speakers", "is_test"))
    x, y, test = [], [], []
    for i, (digit, speaker) in enumerate(zip(digits, speakers, strict=True)):
        bands = _bands(wave[offsets[i] : offsets[i + 1]])
        for third in range(3):
            for centre in np.linspace(third / 3, (third + 1) / 3, 5)[1:-1] * (len(bands) - FRAMES):
                x.append(bands[int(centre) : int(centre) + FRAMES])
                y.append((digit * 6 + speaker) * 3 + third)
                test.append(bool(is_test[i]))
    names = tuple(str(k) for k in range(183))
    data = Dataset(np.stack(x)[:, None], np.array(y), names, "frames")
    held = np.array(test)
    clean, train = data.subset(~held).halves(0.1, seed=0)
    return train, clean, data.subset(held)


def _bands(waveform: np.ndarray[Any, np.dtype[np.int16]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Log power in 123 bands below 4 kHz, a frame every 5 ms, 0..255; at least 15 frames."""
    wave = np.asarray(waveform, np.float64)
    wave = np.pad(wave, (0, max(0, 256 + 40 * FRAMES - len(wave))))
    starts = np.arange(0, len(wave) - 256, 40)
    power = np.abs(np.fft.rfft(wave[starts[:, None] + np.arange(256)] * np.hanning(256), axis=1)) ** 2
    decibel = 10 * np.log10(power[:, 3 : 3 + BANDS] + 1e-12)
    levels: np.ndarray[Any, np.dtype[np.uint8]] = np.rint(
        np.clip((decibel - decibel.max() + 80) / 80, 0, 1) * 255
    ).astype(np.uint8)
    return levels
