"""Which names a pickle may import, and which calls of them are those that a saver writes.

A name alone says little: `builtins.bytearray` of a number takes all memory, and a `numpy.dtype` whose state lies about
its flags makes numpy read bytes as pointers. So every call is compared with what `torch.save`, `numpy` and `pickle`
write for plain data; anything else is not judged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from assay.supply.values import DATA, NUMBER, SET, TEXT, Global, Made, Stored, Table

Kind = Callable[[object], bool]
"""What an argument must be."""

Rule = Callable[[tuple[object, ...]], bool]
"""Whether a saver calls the name with these arguments."""

STORAGES = {
    "FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "ComplexDoubleStorage": "C128", "UntypedStorage": "",
    "QInt8Storage": "I8", "QUInt8Storage": "U8", "QInt32Storage": "I32",
}  # fmt: skip
"""Torch's storage classes, and what their elements are called in safetensors."""

DTYPES = {
    "float32": "F32", "float64": "F64", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "complex128": "C128",
    "uint16": "U16", "uint32": "U32", "uint64": "U64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "complex32": "C32", "qint8": "I8", "quint8": "U8", "qint32": "I32",
}  # fmt: skip
"""Torch's dtypes, and what they are called in safetensors."""

_BYTES = ("_codecs encode", "builtins bytearray", "builtins bytes", "__builtin__ bytearray", "__builtin__ bytes")
_NUMPY_CODE = re.compile(r"[<>|=]?(b1|[biufc](1|2|4|8|16)|[SUV][0-9]{1,9}|O8?)")


def element_size(dtype: str) -> int:
    """Bytes of one element; 1 for what has no type."""
    digits = re.search(r"[0-9]+", dtype)
    return max(1, int(digits[0]) // 8) if digits else 1


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 2**63


def _flag(value: object) -> bool:
    return isinstance(value, bool) or value in (0, 1)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _any_text(value: object) -> bool:
    return isinstance(value, str) or value is TEXT


def _number(value: object) -> bool:
    return isinstance(value, int) or value is NUMBER


def _list(value: object) -> bool:
    return isinstance(value, list) or value is SET


def _data(value: object) -> bool:
    """Bytes; Python 2 wrote them as text, and protocols below 3 as text to be encoded."""
    return value is DATA or _any_text(value) or (isinstance(value, Made) and value.maker in _BYTES)


def _shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= 64 and all(_count(side) for side in value)


def _word(*words: str) -> Kind:
    return lambda value: isinstance(value, str) and value in words


def _name(*names: str) -> Kind:
    return lambda value: isinstance(value, Global) and value.name in names


def _made(*makers: str) -> Kind:
    return lambda value: isinstance(value, Made) and value.maker in makers


def _none(value: object) -> bool:
    return value is None


def _hooks(value: object) -> bool:
    return value is None or (isinstance(value, Made) and value.maker == "collections OrderedDict")


def _calls(*signatures: tuple[Kind, ...]) -> Rule:
    """Called with arguments of one of these signatures."""

    def rule(arguments: tuple[object, ...]) -> bool:
        return any(
            len(arguments) == len(kinds) and all(kind(a) for kind, a in zip(kinds, arguments, strict=True))
            for kinds in signatures
        )

    return rule


def _within(storage: object, offset: object, sizes: object, strides: object) -> bool:
    """Whether a tensor lies within its storage and is not larger than it, so that no few bytes become many."""
    if not (isinstance(storage, Stored) and isinstance(offset, int) and isinstance(sizes, tuple)):
        return False
    if not (_count(offset) and _shape(sizes) and _shape(strides) and isinstance(strides, tuple)):
        return False
    if len(sizes) != len(strides):
        return False
    last = offset + sum((side - 1) * stride for side, stride in zip(sizes, strides, strict=True))
    return 0 in sizes or (math.prod(sizes) <= storage.count and last < storage.count)


def _tensor(*more: Kind) -> Rule:
    """Storage, offset, sizes, strides, and then `more`, the last of which may be left out."""

    def rule(arguments: tuple[object, ...]) -> bool:
        rest = arguments[4:]
        if len(rest) not in (len(more), len(more) - 1) or not all(k(a) for k, a in zip(more, rest, strict=False)):
            return False
        return _within(*arguments[:4])

    return rule


def _untyped_tensor(arguments: tuple[object, ...]) -> bool:
    """Like `_tensor`, of a storage of bytes: torch's way for the dtypes that have no storage class."""
    if len(arguments) not in (7, 8) or not (_flag(arguments[4]) and _hooks(arguments[5]) and _dtype(arguments[6])):
        return False
    storage, dtype = arguments[0], tensor_dtype(arguments)
    if not isinstance(storage, Stored) or arguments[7:] not in ((), (None,)):
        return False
    return _within(Stored(dtype, storage.key, storage.count // element_size(dtype)), *arguments[1:4])


def tensor_dtype(arguments: tuple[object, ...]) -> str:
    """What the elements of a rebuilt tensor are, by the arguments of the call that rebuilds it."""
    if len(arguments) > 6 and isinstance(arguments[6], Global):
        return DTYPES.get(arguments[6].name.removeprefix("torch "), "")
    return arguments[0].dtype if arguments and isinstance(arguments[0], Stored) else ""


def _dtype(value: object) -> bool:
    return isinstance(value, Global) and value.name.removeprefix("torch ") in DTYPES


def _numpy_dtype(arguments: tuple[object, ...]) -> bool:
    if not 1 <= len(arguments) <= 3 or not all(_flag(a) for a in arguments[1:]):
        return False
    return isinstance(arguments[0], str) and _NUMPY_CODE.fullmatch(arguments[0]) is not None


def _never(arguments: tuple[object, ...]) -> bool:
    """A call that savers do write, but that is not judged here."""
    return False


_TENSOR_V2 = "torch._utils _rebuild_tensor_v2"
_TENSORS = ("torch._utils _rebuild_tensor", _TENSOR_V2, "torch._utils _rebuild_tensor_v3")
_PARAMETER = (_made(*_TENSORS), _flag, _hooks)
_ARRAY = "_reconstruct"
_NDARRAY = _name("numpy ndarray")

CALLS: dict[str, Rule] = {
    "collections OrderedDict": _calls((), (_list,)),
    "collections Counter": _calls((), (lambda value: isinstance(value, Table),)),
    "collections defaultdict": _calls(
        (), (_name(*(f"{b} {n}" for b in ("builtins", "__builtin__") for n in ("dict", "list", "int", "float"))),)
    ),
    "_codecs encode": _calls((_any_text, _word("latin1", "latin-1"))),
    "torch Size": _calls((_shape,)),
    "torch device": _calls((_text,), (_text, _count)),
    "torch.serialization _get_layout": _calls((_text,)),
    "torch._utils _rebuild_tensor": lambda arguments: len(arguments) == 4 and _within(*arguments),
    _TENSOR_V2: _tensor(_flag, _hooks, _none),
    "torch._utils _rebuild_tensor_v3": _untyped_tensor,
    "torch._utils _rebuild_parameter": _calls(_PARAMETER),
    "torch.nn.parameter Parameter": _calls(_PARAMETER[:2], _PARAMETER[:1]),
    "numpy dtype": _numpy_dtype,
    **{
        f"torch._utils {name}": _never
        for name in (
            "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_sparse_tensor",
            "_rebuild_meta_tensor_no_storage",
        )
    },
    "torch._tensor _rebuild_from_type_v2": _never,
}  # fmt: skip
"""What may be called, as `module name`, and how. None of them calls what it is given."""

for _core in ("numpy.core", "numpy._core"):
    CALLS[f"{_core}.multiarray {_ARRAY}"] = _calls((_NDARRAY, lambda value: value == (0,), _data))
    CALLS[f"{_core}.multiarray scalar"] = _calls((lambda value: _plain_array_dtype(value), _data))
    CALLS[f"{_core}.numeric _frombuffer"] = _calls(
        (_data, lambda value: _plain_array_dtype(value), _shape, _word("C", "F", "A", "K"))
    )
for _builtins in ("builtins", "__builtin__"):
    CALLS |= {
        f"{_builtins} set": _calls((), (_list,)),
        f"{_builtins} frozenset": _calls((), (_list,)),
        f"{_builtins} bytearray": _calls((), (_data,), (_any_text, _word("latin1", "latin-1"))),
        f"{_builtins} bytes": _calls(()),
        f"{_builtins} complex": _calls((_number, _number)),
    }

NAMES = frozenset(
    [f"torch {name}" for name in (*STORAGES, *DTYPES, "Tensor", "per_tensor_affine", "per_channel_affine")]
    + ["torch.storage UntypedStorage", "numpy ndarray"]
    + [f"{b} {n}" for b in ("builtins", "__builtin__") for n in ("dict", "list", "int", "float")]
)
"""What may be imported but not called."""

ALLOWED = NAMES | CALLS.keys()


def storage_dtype(name: str) -> str | None:
    """What the elements of torch's storage class are called; None if `module name` is no storage class."""
    return STORAGES.get(name.rpartition(" ")[2]) if name.startswith("torch") else None


def _code(dtype: object) -> str:
    """The letter of a numpy dtype that an accepted call made."""
    if isinstance(dtype, Made) and dtype.maker == "numpy dtype" and isinstance(dtype.arguments[0], str):
        return dtype.arguments[0].lstrip("<>|=")[:1]
    return ""


def _plain_array_dtype(value: object) -> bool:
    """A numpy dtype whose elements are not Python objects."""
    return _code(value) not in ("", "O")


def may_build(target: object, state: object) -> bool:
    """Whether a saver sets this state on what an accepted call made."""
    if not isinstance(target, Made):
        return False
    if target.maker == "collections OrderedDict":
        return isinstance(state, Table) and state.only_text and set(state.keys) <= {"_metadata"}
    if target.maker == "numpy dtype":
        return _dtype_state(_code(target), state)
    return target.maker.endswith(f" {_ARRAY}") and _array_state(state)


_DTYPE_FLAGS = {"O": (63,), "U": (0, 8)}


def _dtype_state(code: str, state: object) -> bool:
    """Version, byte order, no fields, sizes, flags: flags that do not belong to the letter corrupt memory."""
    if not isinstance(state, tuple) or len(state) != 8:
        return False
    version, order, *fields, size, align, flags = state
    sized = code in ("S", "U", "V")
    return (
        version in (3, 4)
        and order in ("<", ">", "|", "=")
        and fields == [None, None, None]
        and (_count(size) and _count(align) if sized else (size, align) == (-1, -1))
        and flags in _DTYPE_FLAGS.get(code, (0,))
    )


def _array_state(state: object) -> bool:
    """Version, shape, dtype, order, content: a list for an array of objects, else bytes."""
    if not isinstance(state, tuple) or len(state) != 5:
        return False
    version, shape, dtype, order, content = state
    right = isinstance(content, list) if _code(dtype) == "O" else _data(content)
    return version == 1 and _shape(shape) and _code(dtype) != "" and _flag(order) and right
