"""Real speech in the shape of SafetyNets' inputs, made from the Free Spoken Digit Dataset."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.data import Dataset
from assay.data.places import find

FRAMES, BANDS = 15, 123
"""As in TIMIT's usual features: 15 frames of 123 values are the 1845 inputs of the paper's network."""

LEVELS = 3
"""Of the power in a band."""


def frames() -> tuple[Dataset, Dataset, Dataset]:
    """Real speech in the shape of the paper's: 1845 inputs a frame in its context, 183 classes.

    Frames of the Free Spoken Digit Dataset; a class is a digit, its speaker, and the first, middle or last third of
    the word (180 of the 183 classes). The recordings that are test in the official split are test here.
    """
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
    """Log power in 123 bands below 4 kHz, a frame every 5 ms; at least 15 frames.

    In three levels from 60 to 20 dB below the loudest: a network of three squares over F_p has room for no more, and
    bytes would have to be rounded under proof.
    """
    wave = np.asarray(waveform, np.float64)
    wave = np.pad(wave, (0, max(0, 256 + 40 * FRAMES - len(wave))))
    starts = np.arange(0, len(wave) - 256, 40)
    power = np.abs(np.fft.rfft(wave[starts[:, None] + np.arange(256)] * np.hanning(256), axis=1)) ** 2
    decibel = 10 * np.log10(power[:, 3 : 3 + BANDS] + 1e-12)
    height = np.clip((decibel - decibel.max() + 60) / 40, 0, 1)
    levels: np.ndarray[Any, np.dtype[np.uint8]] = np.rint(height * (LEVELS - 1)).astype(np.uint8)
    return levels
