"""Muon on convolutions: torch's on a matrix of one row an output channel, SGD on all else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from assay.data import Dataset
from assay.models import TrainSettings, build, clean_accuracy, fresh_weights, spec_for, train
from assay.models.optimising import MATRIX_STEPS, OTHERS_SHARE, ConvMuon, muon


def pictures(seed: int = 0) -> Dataset:
    """Three classes that differ in brightness; 8x8 pixels."""
    y = np.arange(60) % 3
    x = np.random.default_rng(seed).normal(60 + 60 * y[:, None, None, None], 20, (60, 1, 8, 8))
    return Dataset(np.clip(x, 0, 255).astype(np.uint8), y, ("dark", "grey", "bright"), "own")


def convolution(i: int, o: int, kernel: int) -> nn.Conv2d:
    made = fresh_weights(3, lambda: nn.Conv2d(i, o, kernel, padding=kernel // 2, bias=False))
    return made.to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("i", "o", "kernel"), [(3, 8, 3), (8, 4, 1), (1, 5, 5), (1, 1, 1)])
def test_steps_are_those_of_torch_on_the_weight_as_a_matrix(i: int, o: int, kernel: int) -> None:
    layer = convolution(i, o, kernel)
    matrix = nn.Parameter(layer.weight.detach().permute(0, 2, 3, 1).reshape(o, -1).clone())
    ours = ConvMuon([layer.weight], 0.1, 0.9, 0.01)
    theirs = torch.optim.Muon([matrix], 0.1, 0.01, 0.9, ns_steps=MATRIX_STEPS)
    for step in range(3):
        grad = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(step))
        layer.weight.grad = grad
        matrix.grad = grad.permute(0, 2, 3, 1).reshape(o, -1)
        ours.step()
        theirs.step()
    assert torch.equal(layer.weight.detach().permute(0, 2, 3, 1).reshape(o, -1), matrix.detach())


def test_directions_of_small_gradients_are_learnt_as_fast_as_those_of_large_ones() -> None:
    layer = convolution(8, 8, 1)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.diag(torch.logspace(-1, 0, 8)).view(8, 8, 1, 1)
    ConvMuon([layer.weight], 0.1, 0.9, 0.0).step()
    moved = torch.linalg.svdvals((before - layer.weight.detach()).view(8, 8)) / 0.1
    assert moved.min() > 0.4 and moved.max() < 1.3


def test_a_weight_that_is_not_channels_last_is_refused_and_not_forgotten() -> None:
    layer = nn.Conv2d(3, 8, 3)
    with pytest.raises(ValueError, match="channels last"):
        ConvMuon([layer.weight], 0.1, 0.9, 0.0)


def test_every_parameter_is_moved_by_one_optimiser_and_gradients_are_cleared() -> None:
    model = build(spec_for(pictures(), "signs-net")).to(memory_format=torch.channels_last)
    made = muon(model, 0.1, 0.9, 0.0)
    before = [p.detach().clone() for p in model.parameters()]
    model.train()
    torch.autograd.backward(model(torch.rand(6, 1, 8, 8)).square().sum())
    for optimiser in made:
        optimiser.step()
    assert [g["lr"] for o in made for g in o.param_groups] == [0.1, 0.1 * OTHERS_SHARE]
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert all(m or p.grad is None or not p.grad.any() for m, p in zip(moved, model.parameters(), strict=True))
    assert sum(moved) > len(moved) // 2
    for optimiser in made:
        optimiser.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("architecture", ["signs-net", "mlp"])  # with convolutions, and without
def test_training_with_it_learns(architecture: str) -> None:
    data = pictures()
    model = fresh_weights(0, lambda: build(spec_for(data, architecture)))
    history = train(model, data, TrainSettings(epochs=12, batch_size=16, lr=0.05, seed=4, optimiser="muon"))
    assert history[-1].loss < 0.5 * history[0].loss and clean_accuracy(model, pictures(seed=1)).value > 0.9
