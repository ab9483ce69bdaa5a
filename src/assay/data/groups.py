"""Whether pictures come in groups: frames of the same few objects, recordings of the same few speakers.

Accuracy on one half of such pictures tells nothing about what was learnt on the other half: near-copies stand in both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.data.dataset import Dataset

NEIGHBOURS = 3

LEAST, MOST = 12, 1000
"""Pictures of a class that are looked at; classes with fewer do not count."""

SIDE = 32
"""Pixels a side that are compared; of larger pictures every second, third, …"""

APART = 0.2
"""Share of the classes. Of independent pictures (MNIST, CIFAR-10, 12 to 300 a class) one class in forty falls apart by
chance; of frames of traffic signs, a third to a half."""


def come_in_groups(data: Dataset) -> bool:
    """Whether most likely the pictures of a class are many of few things.

    Joined each to its three nearest, independent pictures of a class hang together; frames of one object are nearest to
    one another, and the class falls apart. Pictures are compared by the correlation of their pixels.

    Cost: n² products of pictures a class, of at most 1,000; 0.1 s of one core for 6,000 pictures of 28x28.
    """
    counts = np.bincount(data.y, minlength=data.classes)
    step = max(1, max(data.image_shape[1:]) // SIDE)
    small = data.x[:, :, ::step, ::step]
    looked_at = [_falls_apart(small[data.y == c][:MOST]) for c in np.flatnonzero(counts >= LEAST)]
    return bool(looked_at) and float(np.mean(looked_at)) > APART


def _falls_apart(x: NDArray[np.uint8]) -> bool:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    flat = x.reshape(len(x), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6  # a uniform picture is like no other
    likeness = flat @ flat.T
    np.fill_diagonal(likeness, -np.inf)
    nearest = np.argpartition(-likeness, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    ends = np.repeat(np.arange(len(x)), NEIGHBOURS), nearest.ravel()
    joined = coo_array((np.ones(nearest.size), ends), shape=likeness.shape)
    return int(connected_components(joined, directed=False)[0]) > 1
