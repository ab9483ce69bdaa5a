"""The channels of a convolutional layer: where the next layer sees them, and how one is silenced.

A forward pass is watched call by call, so any network that runs can be read: no layer has to be named, and
functional ReLUs, pools and sums are seen as well as modules. From each convolution its result is followed
through everything that keeps channels apart (batch norm, ReLU, pooling, the sum of a residual block) up to
the next layer that mixes them.

Source: Liu, Dolan-Gavitt, Garg, "Fine-Pruning" (RAID 2018), section 3.

Residual networks. The paper has none. The channel that the classifier sees is that of the last block's
*output*, after the sum and ReLU: there it is ranked. Pruning only the last filter would leave what the
shortcut carries, so the channel is removed altogether: filter and norm to zero, and the stream is closed
behind the sum, by the norm that follows (pre-activation networks) or by the columns of the one linear layer
that reads it (plain residual networks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from assay.errors import ModelError
from assay.models import Model

_WEIGHTED = frozenset({"linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d"})
_MIXING = _WEIGHTED | {
    "matmul",
    "__matmul__",
    "bmm",
    "einsum",
    "scaled_dot_product_attention",
    "cat",
    "stack",
}
_PRODUCTS = frozenset({"mul", "mul_", "__mul__", "__imul__", "__rmul__"})


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolutional layer whose channels can be pruned.

    Attributes:
        name: of the `nn.Conv2d`, as in `model.network.named_modules()`.
        channels: how many it has.
        rows: parameters whose entry i belongs to channel i: filters, biases, the norms that follow.
        columns: weight of the linear layer that reads a residual stream, where nothing else can close it; or
            None.
        seen_at: number of the call whose result is the activation as the next layer sees it.
        cut_at: number of the call whose channel i is 0 once channel i is silenced.
        shortcut_kept: whether a shortcut still carries the channel on (only in layers before the last).
    """

    name: str
    channels: int
    rows: tuple[str, ...]
    columns: str | None
    seen_at: int
    cut_at: int
    shortcut_kept: bool

    @torch.no_grad()
    def silence(self, model: Model, channels: Sequence[int]) -> None:
        """Set all weights that make `channels` to zero, in place."""
        if not channels:
            return
        tensors = dict(model.network.named_parameters()) | dict(model.network.named_buffers())
        index = torch.tensor(channels, device=model.mean.device)
        for name in self.rows:
            tensors[name][index] = 0
        if self.columns:
            weight = tensors[self.columns]
            weight.view(len(weight), self.channels, -1)[:, index] = 0


Pruned = Sequence[tuple[Layer, Sequence[int]]]
"""Layers, and which of their channels are as absent as in a smaller network."""


def silence(model: Model, pruned: Pruned) -> None:
    """Set all weights that make these channels to zero, in place."""
    for layer, channels in pruned:
        layer.silence(model, channels)


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors among a call's arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)


@dataclass
class _Trail:
    """One convolution's result, followed to the next layer that mixes channels."""

    name: str
    rows: list[str]
    current: Tensor
    call: int
    seen_at: int
    apart_at: int
    after_sum: list[str] = field(default_factory=list)
    summed: bool = False
    reader: str | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        self.n, self.channels = self.current.shape[:2]

    def follow(self, call: int, func: str, given: list[Tensor], out: object, names: dict[int, str]) -> None:
        if self.ended or not any(t is self.current for t in given):
            return
        if func in _MIXING:
            weights = [names[id(t)] for t in given if id(t) in names and t.ndim == 2]
            self.reader = weights[0] if func == "linear" and self.current.ndim == 2 and weights else None
            self.ended = True
        elif isinstance(out, Tensor):
            self._step(call, func, given, out, names)

    def _step(self, call: int, func: str, given: list[Tensor], out: Tensor, names: dict[int, str]) -> None:
        spatial = out.ndim > 2 and out.shape[:2] == (self.n, self.channels) and self.current.ndim > 2
        flat = out.ndim == 2 and len(out) == self.n and out.shape[1] % self.channels == 0
        if spatial:
            self._same_channels(call, func, given, names)
        if spatial or flat:
            self.current = out
        else:
            self.ended = True

    def _same_channels(self, call: int, func: str, given: list[Tensor], names: dict[int, str]) -> None:
        others = [t for t in given if t is not self.current and t.ndim > 2]
        self.summed |= bool(others) and func not in _PRODUCTS
        own = [names[id(t)] for t in given if id(t) in names and t.shape == (self.channels,)]
        weights = [name for name in own if not name.endswith(("running_mean", "running_var"))]
        # A norm without weights gives 0 for a dead filter only if it subtracts 0.
        shifts = [name for name in own if name.endswith("running_mean")] if not weights else []
        if self.summed:
            self.after_sum += weights
        else:
            self.rows += weights + shifts
            self.apart_at = call
        self.seen_at = call

    def layer(self, last: bool) -> Layer:
        """`last`: nothing but the classifier comes after, so that a residual stream may be closed."""
        norm = self.after_sum if last and self.summed else []
        columns = self.reader if last and self.summed and not norm else None
        kept = self.summed and not norm and columns is None
        cut_at = self.apart_at if kept else self.seen_at
        return Layer(self.name, self.channels, (*self.rows, *norm), columns, self.seen_at, cut_at, kept)


class _Watch(TorchFunctionMode):
    """Numbers the calls of one forward pass and follows every convolution's result."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names = {id(t): n for n, t in [*network.named_parameters(), *network.named_buffers()]}
        self.convolutions = {id(m.weight): (n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
        self.calls = 0
        self.last_weighted = -1
        self.trails: list[_Trail] = []

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        given = [*tensors_in(args), *tensors_in(list((kwargs or {}).values()))]
        name = func.__name__
        for trail in self.trails:
            trail.follow(self.calls, name, given, out, self.names)
        if name in _WEIGHTED:
            self.last_weighted = self.calls
        if name == "conv2d" and isinstance(out, Tensor):
            self._start(given, out)
        self.calls += 1
        return out

    def _start(self, given: list[Tensor], out: Tensor) -> None:
        for tensor in given:
            if id(tensor) in self.convolutions:
                name, module = self.convolutions[id(tensor)]
                rows = [f"{name}.weight"] + ([f"{name}.bias"] if module.bias is not None else [])
                self.trails.append(_Trail(name, rows, out, self.calls, self.calls, self.calls))


def last_layers(model: Model, layers: int = 1) -> list[Layer]:
    """The last `layers` convolutional layers in the order in which they run, the very last first.

    A convolution that itself gives the class scores is the classifier and does not count.

    Raises:
        ModelError: if the network has fewer of them.
    """
    blank = torch.zeros(2, *model.spec.input_shape, device=model.mean.device)
    with torch.no_grad(), _Watch(model.network) as watch:
        model.eval()(blank)
    trails = [t for t in watch.trails if t.call < watch.last_weighted]
    if len(trails) < layers:
        raise ModelError(
            f"pruning needs {layers} convolutional layer{'s' if layers > 1 else ''} before the classifier, "
            f"{model.spec.architecture} has {len(trails)}; use method fine-tuning or fewer layers"
        )
    return [trail.layer(last=i == 0) for i, trail in enumerate(reversed(trails[-layers:]))]
