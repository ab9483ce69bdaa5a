"""Which names a pickle may import, which of them it may call, and with what.

A name alone says little: `builtins.bytearray` of a number takes all memory, and a `numpy.dtype` with the wrong state
makes numpy read bytes as pointers. So a call counts only if a saver of plain data writes it so.
"""

from __future__ import annotations

from assay.supply.plain_calls import (
    DTYPES,
    STORAGES,
    Rule,
    any_text,
    array_state,
    calls,
    count,
    data,
    dtype_of_no_objects,
    dtype_state,
    flag,
    hooks,
    keys,
    made,
    name,
    never,
    no_elements,
    nothing,
    number,
    numpy_dtype,
    pairs,
    shape,
    short_text,
    table,
    tensor,
    untyped_tensor,
    within,
    word,
)
from assay.supply.values import Made, Table

_REBUILD = "torch._utils _rebuild_"
_BUILTINS = ("builtins", "__builtin__")
_CONTAINERS = [f"{module} {container}" for module in _BUILTINS for container in ("dict", "list", "int", "float")]
_LATIN = word("latin1", "latin-1")
_TENSOR = made(*(f"{_REBUILD}{kind}" for kind in ("tensor", "tensor_v2", "tensor_v3")))

CALLS: dict[str, Rule] = {
    "collections OrderedDict": calls((), (pairs,)),
    "collections Counter": calls((), (table,)),
    "collections defaultdict": calls((), (name(*_CONTAINERS),)),
    "_codecs encode": calls((any_text, _LATIN)),
    "torch Size": calls((shape,)),
    "torch device": calls((short_text,), (short_text, count)),
    "torch.serialization _get_layout": calls((short_text,)),
    "torch.nn.parameter Parameter": calls((_TENSOR,), (_TENSOR, flag)),
    f"{_REBUILD}parameter": calls((_TENSOR, flag, hooks)),
    f"{_REBUILD}tensor": lambda arguments: len(arguments) == 4 and within(*arguments),
    f"{_REBUILD}tensor_v2": tensor(flag, hooks, nothing),
    f"{_REBUILD}tensor_v3": untyped_tensor,
    f"{_REBUILD}parameter_with_state": never,
    f"{_REBUILD}qtensor": never,
    f"{_REBUILD}sparse_tensor": never,
    f"{_REBUILD}meta_tensor_no_storage": never,
    "torch._tensor _rebuild_from_type_v2": never,
    "numpy dtype": numpy_dtype,
}
"""What may be called, as `module name`, and how. None of them calls what it is given."""

for _core in ("numpy.core", "numpy._core"):
    CALLS |= {
        f"{_core}.multiarray _reconstruct": calls((name("numpy ndarray"), no_elements, data)),
        f"{_core}.multiarray scalar": calls((dtype_of_no_objects, data)),
        f"{_core}.numeric _frombuffer": calls((data, dtype_of_no_objects, shape, word("C", "F", "A", "K"))),
    }
for _module in _BUILTINS:
    CALLS |= {
        f"{_module} set": calls((), (keys,)),
        f"{_module} frozenset": calls((), (keys,)),
        f"{_module} bytearray": calls((), (data,), (any_text, _LATIN)),
        f"{_module} bytes": calls(()),
        f"{_module} complex": calls((number, number)),
    }

NAMES = frozenset(
    [f"torch {said}" for said in (*STORAGES, *DTYPES, "Tensor", "per_tensor_affine", "per_channel_affine")]
    + ["torch.storage UntypedStorage", "numpy ndarray", *_CONTAINERS]
)
"""What may be imported but not called."""

ALLOWED = NAMES | CALLS.keys()


def may_build(target: object, state: object) -> bool:
    """Whether a saver sets this state on what an accepted call made."""
    if not isinstance(target, Made):
        return False
    if target.maker == "collections OrderedDict":
        return isinstance(state, Table) and state.only_text and set(state.keys) <= {"_metadata"}
    if target.maker == "numpy dtype":
        return dtype_state(target, state)
    return target.maker.endswith(" _reconstruct") and array_state(state)
