"""What a network costs before anybody runs it in private: ReLUs, multiplications, parameters, layer by layer.

Every operation of one forward pass is looked at as torch carries it out, so any module can be counted, functional ReLUs
included. No numbers are computed where the module is on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from assay.errors import ModelError

_FOREIGN = (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError)
"""What other people's forward passes raise on pictures that do not suit them; ValueError beside."""


@dataclass(slots=True)
class LayerCount:
    """One module of the network, what its children do left out.

    Attributes:
        name: its path; empty for the network itself.
        relus: values that are rectified.
        macs: multiplications.
        parameters: its own.
        maxima: comparisons of max pools, one less than the window for each output.
        squares: values that are squared.
        other: values that meet another nonlinearity, which private inference does not have.
    """

    name: str
    relus: int = 0
    macs: int = 0
    parameters: int = 0
    maxima: int = 0
    squares: int = 0
    other: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """A network, for one picture.

    Attributes:
        layers: in the order in which they are first run.
        others: names of nonlinearities that are neither ReLU, square nor max pool.
    """

    layers: tuple[LayerCount, ...]
    others: tuple[str, ...] = ()

    def total(self, what: str) -> int:
        """Over all layers."""
        return sum(getattr(layer, what) for layer in self.layers)

    @property
    def relus(self) -> int:
        return self.total("relus")

    @property
    def macs(self) -> int:
        return self.total("macs")

    @property
    def parameters(self) -> int:
        return self.total("parameters")


def count(model: nn.Module, image_shape: tuple[int, int, int]) -> Counts:
    """Count one forward pass in eval mode of a module that maps pictures `n c h w` to logits.

    Cost: one forward pass of one picture; none on the meta device.

    Raises:
        ModelError: if the module does not take such pictures.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    was_training = model.training
    names = {module: name for name, module in model.named_modules()}
    with _Watch() as watch, _entered(names, watch), torch.no_grad():
        try:
            model.eval()(torch.zeros(1, *image_shape, device=device))
        except (*_FOREIGN, ValueError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"the network does not take pictures of {'x'.join(map(str, image_shape))}: {first[:200]}"
            ) from error
        finally:
            model.train(was_training)
    _add_parameters(model, watch)
    return Counts(tuple(watch.layers.values()), tuple(sorted(watch.others)))


def count_architecture(
    architecture: str, image_shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **arguments: Any
) -> Counts:
    """Count a network by its architecture's name, without making its weights.

    Raises:
        ModelError: if there is none of that name, or it does not suit the pictures.
    """
    from assay.models import ModelSpec
    from assay.models.architectures import is_own_code
    from assay.models.building import build_weightless, untried

    channels = image_shape[0]
    names = tuple(str(i) for i in range(classes))
    spec = ModelSpec(architecture, image_shape, names, (0.0,) * channels, (1.0,) * channels, arguments)
    model = untried(spec) if is_own_code(architecture) else build_weightless(spec)
    return count(model.network, image_shape)


def _add_parameters(model: nn.Module, watch: _Watch) -> None:
    seen: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p not in seen]
        seen.update(own)
        if own:
            watch.layer(name).parameters = sum(p.numel() for p in own)


@contextmanager
def _entered(names: dict[nn.Module, str], watch: _Watch) -> Iterator[None]:
    """While the block runs, `watch` knows which module an operation belongs to."""

    def enter(module: nn.Module, given: Any) -> None:
        watch.stack.append(names[module])
        if next(module.parameters(recurse=False), None) is not None:
            watch.layer(names[module])

    def leave(module: nn.Module, given: Any, result: Any) -> None:
        watch.stack.pop()

    hooks = [m.register_forward_pre_hook(enter) for m in names]
    hooks += [m.register_forward_hook(leave, always_call=True) for m in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation that torch carries out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack: list[str] = []
        self.layers: dict[str, LayerCount] = {}
        self.others: set[str] = set()

    def layer(self, name: str) -> LayerCount:
        return self.layers.setdefault(name, LayerCount(name))

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        call = _Call(func.overloadpacket.__name__.rstrip("_"), args, kwargs or {}, result)
        if call.kind in _COUNTED:
            _COUNTED[call.kind](self.layer(self.stack[-1] if self.stack else ""), call)
        elif call.kind in _OTHER:
            self.layer(self.stack[-1] if self.stack else "").other += call.values
            self.others.add(call.kind)
        return result


@dataclass(frozen=True, slots=True)
class _Call:
    kind: str
    args: Sequence[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    result: Any = None

    @property
    def values(self) -> int:
        first = self.result[0] if isinstance(self.result, tuple) else self.result
        return int(first.numel())


def _relu(layer: LayerCount, call: _Call) -> None:
    layer.relus += call.values


def _clamp(layer: LayerCount, call: _Call) -> None:
    low = call.args[1] if len(call.args) > 1 else call.kwargs.get("min")
    high = call.args[2] if len(call.args) > 2 else call.kwargs.get("max")
    if low == 0 and high is None:
        layer.relus += call.values
    else:
        layer.other += call.values


def _convolution(layer: LayerCount, call: _Call) -> None:
    given, weight, transposed = call.args[0], call.args[1], bool(call.args[6])
    layer.macs += int((given if transposed else call.result).numel()) * prod(weight.shape[1:])


def _product(layer: LayerCount, call: _Call) -> None:
    """Of matrices; the last two that are given."""
    a = [value for value in call.args if isinstance(value, Tensor)][-2]
    layer.macs += call.values * int(a.shape[-1])


def _max_pool(layer: LayerCount, call: _Call) -> None:
    kernel = call.args[1]
    layer.maxima += call.values * (prod(kernel if len(kernel) == 2 else [kernel[0]] * 2) - 1)


def _mul(layer: LayerCount, call: _Call) -> None:
    if len(call.args) == 2 and call.args[0] is call.args[1]:
        layer.squares += call.values


def _pow(layer: LayerCount, call: _Call) -> None:
    if call.args[1] == 2:
        layer.squares += call.values
    else:
        layer.other += call.values


_COUNTED: dict[str, Callable[[LayerCount, _Call], None]] = {
    "relu": _relu,
    "threshold": _relu,
    "clamp_min": _clamp,
    "clamp": _clamp,
    "convolution": _convolution,
    "mm": _product,
    "addmm": _product,
    "bmm": _product,
    "baddbmm": _product,
    "linear": lambda layer, call: setattr(layer, "macs", layer.macs + call.values * int(call.args[0].shape[-1])),
    "max_pool2d_with_indices": _max_pool,
    "mul": _mul,
    "pow": _pow,
}

_OTHER = {
    "celu", "elu", "exp", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log", "log_sigmoid",
    "mish", "prelu", "_prelu_kernel", "rrelu_with_noise", "sigmoid", "silu", "softplus", "sqrt", "tanh", "_softmax",
    "_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu",
}  # fmt: skip
"""Nonlinearities that are not counted as ReLUs."""
