"""From a spec to a network, and to the same network without weights: what it would be, before memory is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from assay.errors import ModelError
from assay.models.architectures import find_architecture
from assay.models.model import Model, ModelSpec

_FOREIGN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
"""What other people's network code raises when its arguments or pictures do not suit it."""

_TAKES_MEMORY = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}

_DRAWS = {torch.Tensor.normal_, torch.Tensor.uniform_}


class _Weightless(TorchFunctionMode):
    """Tensors that layers make for their weights have shapes and no memory; small tables stay what they are.

    Initial values are not drawn: for a tensor without memory torch would load its compiler to do so, in seconds.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _TAKES_MEMORY:
            kwargs["device"] = "meta"
        if func in _DRAWS or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def build(spec: ModelSpec) -> Model:
    """A network with fresh weights, as `spec` says; it is tried on one blank picture.

    Raises:
        ModelError: if there is no such architecture, or it does not suit the pictures or the classes.
    """
    model = untried(spec)
    try_out(model)
    return model


def untried(spec: ModelSpec) -> Model:
    """As `build`, without the try."""
    architecture = find_architecture(spec.architecture)
    channels, *size = spec.input_shape
    try:
        network = architecture(in_channels=channels, image_size=tuple(size), classes=spec.classes, **spec.arguments)
    except _FOREIGN as error:
        raise ModelError(f"{_named(spec)} cannot be built: {_first_line(error)}") from error
    if not isinstance(network, nn.Module) or not any(True for _ in network.parameters()):
        raise ModelError(f"{_named(spec)} gave a {type(network).__name__} and no network with weights")
    return Model(network, spec)


def build_weightless(spec: ModelSpec) -> Model:
    """As `untried`, but on torch's meta device: its weights have names and shapes and take no memory or time.

    For built-in architectures, torchvision's included; a user's own code may need to see values. It is not run, since
    torch loads its compiler to convolve without numbers, in seconds.
    """
    with _Weightless():
        return untried(spec).to("meta")


def try_out(model: Model) -> None:
    """Run one blank picture through it.

    Raises:
        ModelError: if it does not take the picture, or does not give one number a class.
    """
    spec, device = model.spec, next(model.parameters()).device
    was_training = model.training
    try:
        with torch.inference_mode():
            logits = model.eval()(torch.zeros(1, *spec.input_shape, device=device))
    except _FOREIGN as error:
        size = "x".join(map(str, spec.input_shape))
        raise ModelError(f"{_named(spec)} does not take pictures of {size}: {_first_line(error)}") from error
    finally:
        model.train(was_training)
    if not isinstance(logits, Tensor) or logits.shape != (1, spec.classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"{_named(spec)} must give {spec.classes} numbers a picture, one a class, but gave {got}")


def _named(spec: ModelSpec) -> str:
    arguments = f" with {str(spec.arguments)[:200]}" if spec.arguments else ""
    return f"architecture {spec.architecture}{arguments}"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
