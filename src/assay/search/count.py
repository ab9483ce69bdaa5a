"""What a network costs before anybody runs it in private: ReLUs, multiplications, parameters, layer by layer.

Every operation of one forward pass is looked at as torch carries it out, so any module can be counted, functional ReLUs
included. What is neither known to be linear in the picture nor one of the nonlinearities that are counted is named. No
numbers are computed where the module is on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from assay.errors import ModelError
from assay.models.exporting import FOREIGN
from assay.search.operations import SHAPE_ALONE, Call, LayerCount, add_to, is_plain


@dataclass(frozen=True, slots=True)
class Counts:
    """A network, for one picture.

    Attributes:
        layers: in the order in which they are first run.
        others: names of operations that are neither linear nor ReLU, square or maximum.
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
    picture = torch.zeros(1, *image_shape, device=device)
    watch = _Watch(picture)
    try:
        with watch, _entered({module: name for name, module in model.named_modules()}, watch), torch.no_grad():
            model.eval()(picture)
    except FOREIGN as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        sides = "x".join(map(str, image_shape))
        raise ModelError(f"the network does not take pictures of {sides}: {first[:200]}") from error
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
    """Sees every operation that torch carries out, and which tensors depend on the picture."""

    def __init__(self, picture: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack: list[str] = []
        self.layers: dict[str, LayerCount] = {}
        self.others: set[str] = set()
        self.dependent: dict[int, StorageWeakRef] = {}
        self._mark(picture)

    def layer(self, name: str) -> LayerCount:
        return self.layers.setdefault(name, LayerCount(name))

    def _mark(self, tensor: Tensor) -> None:
        """By its memory, which views share; the weak reference keeps the address from being another's later."""
        ref = _memory(tensor)
        self.dependent[ref.cdata] = ref

    def depends(self, tensor: Tensor) -> bool:
        """Whether any of the tensor's memory was computed from the picture."""
        return _memory(tensor).cdata in self.dependent

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        kind = func.overloadpacket.__name__.rstrip("_")
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        varying = [value for value in given if self.depends(value)]
        if not varying or kind in SHAPE_ALONE:
            return result
        for value in tree_leaves((result, args[:1] if func._schema.is_mutable else ())):
            if isinstance(value, Tensor):
                self._mark(value)
        call = Call(kind, args, kwargs or {}, result, varying)
        if not is_plain(call):
            layer = self.layer(self.stack[-1] if self.stack else "")
            if not add_to(layer, call):
                layer.other += call.values
                self.others.add(kind)
        return result


def _memory(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
