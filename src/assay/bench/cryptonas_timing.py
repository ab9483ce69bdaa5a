"""Seconds online of the networks of CryptoNAS's table, all in one run, so that their ratios can be trusted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from assay.bench.cryptonas_networks import BASELINES, BUDGETS, SMALLER, WHOLE, network
from assay.data import Dataset
from assay.data import load as load_data
from assay.integer import compile_measured
from assay.integer import save as save_network
from assay.models import Model
from assay.search.from_scratch import untrained
from assay.search.latency import measured

ROUNDS = 3
"""Over all networks in turn: what else the machine does then slows all of them, not one."""

CALIBRATION = 512
"""Clean pictures that norms and integers are fitted to."""


def which() -> list[tuple[str, int]]:
    """Networks and budgets that are timed: all but the searched one, whose layers are known only after a search."""
    ours = [(name, budget) for name in SMALLER for budget in sorted({*BUDGETS, *SMALLER[name]})]
    return ours + [(name, budget) for name in BASELINES for budget in BUDGETS] + [(name, 0) for name in WHOLE]


def timed_in_turn(settings: dict[str, Any]) -> dict[str, Any]:
    """A job: each network between two processes of this machine, round after round.

    What it takes depends on shapes, not on weights, so that these are fresh ones; batch norms are fitted to pictures.

    Settings: `dataset`, `networks` (pairs of name and budget).
    """
    data = load_data(settings["dataset"], "clean").take(CALIBRATION)
    seconds: list[list[float]] = [[] for _ in settings["networks"]]
    with TemporaryDirectory(prefix="assay-cryptonas-") as folder:
        files = [Path(folder) / f"{i}.assay" for i in range(len(seconds))]
        for file, (name, budget) in zip(files, settings["networks"], strict=True):
            save_network(compile_measured(_settled(name, budget, data), data).network, file)
        for _ in range(ROUNDS):
            for file, mine in zip(files, seconds, strict=True):
                if took := measured(file, data.x):
                    mine.append(took["online_s"])
    named = zip(settings["networks"], seconds, strict=True)
    return {"online_s": [{"network": n, "budget": b, "seconds": s} for (n, b), s in named if s]}


def _settled(name: str, budget: int, data: Dataset) -> Model:
    """With fresh weights, and batch norms that know the pictures."""
    scaled = network(name, budget, data)
    model = untrained(scaled.architecture, scaled.arguments, data, seed=1).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all that it has seen
    with torch.no_grad():
        model(torch.from_numpy(data.x).float() / 255)
    return model.eval()
