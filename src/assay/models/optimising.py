"""What moves the weights: SGD, or Muon for the weights that are matrices.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024). A step of a weight matrix is
made orthogonal, so that directions in which the gradient is small are learnt as fast as those in which it is large.
`assay bench cryptonas` has a network trained both ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

USUAL_RATE = 0.1
"""Highest learning rate of convolutions. On held-out training pictures of CIFAR-10, 0.05 does as well, 0.02 worse."""

MATRIX_STEPS = 3
"""Newton-Schulz steps, of the usual five: a step of training is then a tenth to a fifth longer than with SGD."""

OTHERS_SHARE = 0.5
"""Learning rate of what is no matrix (biases, batch norms), and of dense layers, beside that of convolutions."""


class ConvMuon(torch.optim.Muon):
    """Muon on convolutions: a weight `o i h w` is a matrix of one row an output channel.

    The matrices share memory with the weights, which must be laid out channels last, and stay so.
    """

    def __init__(self, weights: Sequence[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        self._weights = list(weights)
        matrices = [nn.Parameter(_as_matrix(w.detach())) for w in self._weights]
        if any(m.data_ptr() != w.data_ptr() for m, w in zip(matrices, self._weights, strict=True)):
            raise ValueError("the weights of convolutions must be channels last")
        super().__init__(matrices, lr, weight_decay, momentum, ns_steps=MATRIX_STEPS)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every weight that has a gradient."""
        for matrix, weight in zip(self.param_groups[0]["params"], self._weights, strict=True):
            matrix.grad = None if weight.grad is None else _as_matrix(weight.grad)
        loss: float | None = super().step(closure)  # type: ignore[no-untyped-call]
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of the weights and of their matrices."""
        super().zero_grad(set_to_none)
        for weight in self._weights:
            weight.grad = None


def _as_matrix(weight: Tensor) -> Tensor:
    return weight.permute(0, 2, 3, 1).flatten(1)


def sgd(parameters: Sequence[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
    """With Nesterov's momentum; decay is L2, on every parameter."""
    return torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay, nesterov=True)


def muon(model: nn.Module, lr: float, momentum: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    """Muon on the model's convolutions, SGD at a share of its rate on all else; what there is none of is left out."""
    parameters = list(model.parameters())
    convolutions = [p for p in parameters if p.ndim == 4]
    others = [p for p in parameters if p.ndim != 4]
    made: list[torch.optim.Optimizer] = [ConvMuon(convolutions, lr, momentum, weight_decay)] if convolutions else []
    return made + ([sgd(others, OTHERS_SHARE * lr, momentum, weight_decay)] if others else [])
