"""`torch.export` of a module that we hold, for those who read its graph. Never of a file."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from typing import Any

import torch
from torch import Tensor, nn

from assay.errors import ModelError

EXAMPLES = 2
"""Pictures that a module is exported with: 1 would hide what depends on the batch."""

FOREIGN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What other people's forward passes raise on pictures that do not suit them."""


def export(network: nn.Module, picture: tuple[int, int, int], called: str, *, decompose: bool) -> Any:
    """The exported program for pictures `n c h w`, in eval mode; the module keeps its own.

    Args:
        called: the module's name in the sentence of an error.
        decompose: whether composite operations are written out.

    Raises:
        ModelError: if it cannot be exported.
    """
    was_training = network.training
    example = torch.zeros(EXAMPLES, *picture)
    try:
        with torch.no_grad(), redirect_stderr(io.StringIO()):  # torch prints graphs there that it cannot export
            exported = torch.export.export(network.eval(), (example,), strict=False)
            return exported.run_decompositions({}) if decompose else exported
    except FOREIGN as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{called} cannot be exported: {first[:300]}") from error
    finally:
        network.train(was_training)


def constants(exported: Any) -> dict[str, Tensor]:
    """Weights, buffers and constants by the names of the placeholders that stand for them."""
    signature = exported.graph_signature
    held = {**exported.state_dict, **exported.constants}
    names = signature.inputs_to_parameters | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    return {name: held[target].detach() for name, target in names.items()}
