"""What a network does behind one layer, on fixed pictures: pruning a channel costs a run of the tail alone.

The calls that follow the layer are written down once for each batch and played again on changed activations.
Networks for which that is not the same as running them (a result used in a way the recording does not see)
are found by comparison with a really pruned copy, and are then measured by running that copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from assay.data import Dataset
from assay.models import Model, as_float, batches, correct
from assay.repair.channels import Layer, tensors_in

BATCH = 512
"""Pictures a batch."""


@dataclass(frozen=True, slots=True)
class _Call:
    func: Callable[..., object]
    args: tuple[object, ...]
    kwargs: dict[str, object]
    out: object


class _Tape(TorchFunctionMode):
    """Writes down the calls of a forward pass that depend on the result of call number `cut_at`."""

    def __init__(self, cut_at: int) -> None:
        super().__init__()
        self.cut_at = cut_at
        self.calls = 0
        self.start = torch.empty(0)
        self.activations = torch.empty(0)
        self.tape: list[_Call] = []
        self._live: set[int] = set()  # of tensors that the tape keeps alive

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self.calls == self.cut_at and isinstance(out, Tensor):
            self.start, self.activations = out, out.clone()
            self._live.add(id(out))
        elif any(id(t) in self._live for t in tensors_in([*args, *kwargs.values()])):
            made = list(tensors_in(out))
            if made:
                self.tape.append(_Call(func, args, kwargs, out))
                self._live.update(map(id, made))
        self.calls += 1
        return out

    def play(self, result: Tensor) -> Tensor:
        """What `result` becomes with the present `activations`."""
        now: dict[int, Tensor] = {id(self.start): self.activations.clone()}
        for call in self.tape:
            args = [_replaced(a, now) for a in call.args]
            out = call.func(*args, **{k: _replaced(v, now) for k, v in call.kwargs.items()})
            now.update(zip(map(id, tensors_in(call.out)), tensors_in(out), strict=True))
        return now.get(id(result), result)


def _replaced(value: object, now: dict[int, Tensor]) -> object:
    if isinstance(value, Tensor):
        return now.get(id(value), value)
    if isinstance(value, list):
        return [_replaced(part, now) for part in value]
    if type(value) is tuple:
        return tuple(_replaced(part, now) for part in value)
    return value


class Tail:
    """Counts right answers while channels of `layer` are silenced one after the other.

    Memory: the layer's activations on all of `data`, float32. The given model stays as it is.
    """

    def __init__(self, model: Model, layer: Layer, data: Dataset) -> None:
        self._data, self._layer = data, layer
        self._model = copy.deepcopy(model).eval()
        self._tapes: list[tuple[_Tape, Tensor, Tensor]] = []
        labels = torch.from_numpy(data.y).to(model.mean.device)
        with torch.no_grad():
            for part in batches(len(data), BATCH):
                images = as_float(data.x[part], model.mean.device)
                with _Tape(layer.cut_at) as tape:
                    logits = self._model(images)
                self._tapes.append((tape, logits, labels[part]))
        self.exact = self._plays_as_it_runs(data)

    @torch.no_grad()
    def _plays_as_it_runs(self, data: Dataset) -> bool:
        """Compare with a copy that really lost every second channel."""
        if not self._tapes:
            return True
        tape, logits, _ = self._tapes[0]
        whole = tape.play(logits)
        kept, lost = tape.activations.clone(), list(range(0, self._layer.channels, 2))
        if kept.ndim < 2 or kept.shape[1] != self._layer.channels:
            return False
        tape.activations[:, lost] = 0
        pruned = copy.deepcopy(self._model)
        self._layer.silence(pruned, lost)
        same = torch.allclose(tape.play(logits), pruned(as_float(data.x[:BATCH], logits.device)), 1e-4, 1e-4)
        tape.activations.copy_(kept)
        return same and torch.allclose(whole, logits, 1e-4, 1e-4)

    def silence(self, channel: int) -> None:
        """Prune one more channel."""
        if self.exact:
            for tape, _, _ in self._tapes:
                tape.activations[:, channel] = 0
        else:
            self._layer.silence(self._model, [channel])

    @torch.no_grad()
    def hits(self) -> int:
        """How many pictures are labelled rightly now."""
        if not self.exact:
            return int(correct(self._model, self._data).sum())
        return sum(int((tape.play(logits).argmax(1) == labels).sum()) for tape, logits, labels in self._tapes)
