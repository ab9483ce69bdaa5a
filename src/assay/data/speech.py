"""Spoken digits as pictures: log spectrograms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.streams import Images, checked_offsets

SIDE = 64
"""Frequency bands and time steps of a picture."""

WINDOW = 256
"""Samples a window: 32 ms at 8 kHz."""


def spectrograms(path: Path, waveform: NDArray[Any], offsets: NDArray[Any]) -> Callable[[NDArray[np.int64]], Images]:
    """A function from indices to pictures, `n 1 64 64`, of the recordings `waveform[offsets[i]:offsets[i + 1]]`.

    Cost: 0.2 ms a recording.

    Raises:
        DataError: if the offsets are not those of the waveform, or that is not int16.
    """
    places = checked_offsets(path, waveform, offsets, np.int16)
    return lambda index: np.stack([spectrogram(waveform[places[i] : places[i + 1]]) for i in index])[:, None]


def spectrogram(waveform: NDArray[np.int16]) -> NDArray[np.uint8]:
    """A recording (int16, 8 kHz) as a 64x64 picture, low frequencies at the bottom.

    64 Hann windows, evenly spaced over the recording, so that every digit fills the picture; power from 0 to 4 kHz in
    64 bands of equal width; the loudest 80 dB are spread over 0..255.
    """
    wave = np.asarray(waveform, dtype=np.float64)
    wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    starts = np.linspace(0, len(wave) - WINDOW, SIDE).round().astype(int)
    windows = wave[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows, axis=1)[:, :-1]) ** 2  # 64 times, 128 bins
    bands = power.reshape(SIDE, SIDE, 2).sum(2).T[::-1]
    decibel = 10 * np.log10(bands + 1e-12)
    picture: NDArray[np.uint8] = np.rint(np.clip((decibel - decibel.max() + 80) / 80, 0, 1) * 255).astype(np.uint8)
    return picture
