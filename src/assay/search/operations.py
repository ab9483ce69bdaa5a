"""What an operation of torch counts as: ReLUs, multiplications, maxima, squares, nothing, or another nonlinearity.

An operation that is not listed is another nonlinearity: better a linear one that is named than a nonlinear one that is
not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves


@dataclass(slots=True)
class LayerCount:
    """One module of the network, what its children do left out.

    Attributes:
        name: its path; empty for the network itself.
        relus: values that are rectified.
        macs: multiplications.
        parameters: its own.
        maxima: comparisons of max pools and of other maxima, one less than the window for each output.
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
class Call:
    """An operation and what it was given; `varying` are the tensors among it that depend on the picture."""

    kind: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    result: Any
    varying: Sequence[Tensor]

    @property
    def values(self) -> int:
        """Of the first tensor that came of it."""
        first = next((value for value in tree_leaves(self.result) if isinstance(value, Tensor)), None)
        return 0 if first is None else int(first.numel())


def is_plain(call: Call) -> bool:
    """Whether it moves values, or is linear in the picture at no multiplication."""
    return call.kind in _MOVES or (call.kind in _LINEAR and (call.kind in _SUMS or len(call.varying) == 1))


def add_to(layer: LayerCount, call: Call) -> bool:
    """Count an operation; False where it is a nonlinearity of no kind that is counted."""
    return call.kind in _COUNTED and _COUNTED[call.kind](layer, call)


def _relu(layer: LayerCount, call: Call) -> bool:
    layer.relus += call.values
    return True


def _threshold(layer: LayerCount, call: Call) -> bool:
    return list(call.args[1:3]) == [0, 0] and _relu(layer, call)


def _clamp(layer: LayerCount, call: Call) -> bool:
    low = call.args[1] if len(call.args) > 1 else call.kwargs.get("min")
    high = call.args[2] if len(call.args) > 2 else call.kwargs.get("max")
    return isinstance(low, int | float) and low == 0 and high is None and _relu(layer, call)


def _convolution(layer: LayerCount, call: Call) -> bool:
    given, weight, transposed = call.args[0], call.args[1], bool(call.args[6])
    layer.macs += int((given if transposed else call.result).numel()) * prod(weight.shape[1:])
    return len(call.varying) == 1


def _product(layer: LayerCount, call: Call) -> bool:
    """Of matrices; the last two that are given."""
    a, b = [value for value in call.args if isinstance(value, Tensor)][-2:]
    layer.macs += call.values * int(a.shape[-1])
    return not all(any(factor is value for value in call.varying) for factor in (a, b))


def _dense(layer: LayerCount, call: Call) -> bool:
    layer.macs += call.values * int(call.args[0].shape[-1])
    return len(call.varying) == 1


def _max_pool(layer: LayerCount, call: Call) -> bool:
    kernel, dimensions = call.args[1], 3 if call.kind.startswith("max_pool3d") else 2
    window = [kernel] if isinstance(kernel, int) else list(kernel)
    layer.maxima += call.values * (prod(window if len(window) == dimensions else window[:1] * dimensions) - 1)
    return True


def _largest(layer: LayerCount, call: Call) -> bool:
    """Of all values, of rows, or of windows that share none."""
    layer.maxima += int(call.varying[0].numel()) - call.values
    return True


def _larger(layer: LayerCount, call: Call) -> bool:
    layer.maxima += call.values
    return True


def _extremum(layer: LayerCount, call: Call) -> bool:
    two = len(call.args) > 1 and isinstance(call.args[1], Tensor)
    return _larger(layer, call) if two else _largest(layer, call)


def _norm(layer: LayerCount, call: Call) -> bool:
    """A batch norm is linear if it takes mean and variance from its buffers; `training` is its sixth argument."""
    return call.kind.endswith("no_training") or (len(call.args) > 5 and call.args[3] is not None and not call.args[5])


def _mul(layer: LayerCount, call: Call) -> bool:
    if len(call.args) == 2 and call.args[0] is call.args[1]:
        layer.squares += call.values
        return True
    return len(call.varying) == 1


def _div(layer: LayerCount, call: Call) -> bool:
    return len(call.varying) == 1 and call.varying[0] is call.args[0] and not call.kwargs.get("rounding_mode")


def _pow(layer: LayerCount, call: Call) -> bool:
    if len(call.args) < 2 or not isinstance(call.args[1], int | float) or call.args[1] not in (1, 2):
        return False
    layer.squares += call.values if call.args[1] == 2 else 0
    return True


def _where(layer: LayerCount, call: Call) -> bool:
    """A choice is linear if what it depends on is fixed."""
    chosen_by = call.args[1] if call.kind == "masked_fill" else call.args[0]
    return not any(chosen_by is value for value in call.varying)


_COUNTED: dict[str, Callable[[LayerCount, Call], bool]] = {
    "relu": _relu,
    "threshold": _threshold,
    "clamp_min": _clamp,
    "clamp": _clamp,
    "convolution": _convolution,
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot"), _product),
    "linear": _dense,
    **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices", "fractional_max_pool2d"), _max_pool),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool3d", "amax", "amin"), _largest),
    **dict.fromkeys(("maximum", "minimum", "fmax", "fmin"), _larger),
    **dict.fromkeys(("max", "min"), _extremum),
    **dict.fromkeys(
        (
            "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_impl_index",
            "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "_batch_norm_no_update",
        ),
        _norm,
    ),
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    **dict.fromkeys(("where", "masked_fill"), _where),
}  # fmt: skip
"""What has a count of its own, or is linear only at times; False where it is another nonlinearity."""

_SUMS = {"add", "sub", "rsub"}

_LINEAR = _SUMS | {
    "neg", "sum", "mean", "cumsum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "upsample_nearest1d", "upsample_nearest2d",
    "_upsample_nearest_exact2d", "upsample_bilinear2d", "upsample_linear1d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "im2col", "col2im",
}  # fmt: skip

_MOVES = {
    "view", "_unsafe_view", "reshape", "_reshape_alias", "alias", "detach", "clone", "contiguous", "t", "transpose",
    "permute", "expand", "squeeze", "unsqueeze", "slice", "select", "split", "split_with_sizes", "unbind", "cat",
    "stack", "as_strided", "flip", "roll", "rot90", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d",
    "replication_pad1d", "replication_pad2d", "index_select", "unfold", "repeat", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "native_channel_shuffle", "copy", "_to_copy", "lift_fresh", "slice_scatter", "select_scatter",
    "diagonal", "tril", "triu", "_assert_async", "_assert_tensor_metadata",
}  # fmt: skip
"""Values stay as they are, in another place or in none."""

SHAPE_ALONE = {
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "new_zeros", "new_ones",
    "new_empty", "new_full", "new_empty_strided",
}  # fmt: skip
"""What comes of these depends on the shape of what is given, not on its values."""
