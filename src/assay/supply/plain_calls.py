"""What the arguments of a call are when `torch.save`, `numpy` and `pickle` write plain data.

Source: read off the files they write, torch 1.0 to 2.14, numpy 1.16 to 2.4, Python's pickle protocols 0 to 5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from assay.supply.values import DATA, NUMBER, SET, TEXT, Global, Made, Stored, Table

Kind = Callable[[object], bool]
"""What an argument must be."""

Rule = Callable[[tuple[object, ...]], bool]
"""Whether a saver calls a name with these arguments."""

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

MAX_KEY = 16
"""Items of a tuple that is a key."""

_BYTES = ("_codecs encode", "builtins bytearray", "builtins bytes", "__builtin__ bytearray", "__builtin__ bytes")
_NUMPY_CODE = re.compile(r"[<>|=]?(b1|[biufc](?:1|2|4|8|16)|[SUV][0-9]{1,9}|O8?)")


def element_size(dtype: str) -> int:
    """Bytes of one element; 1 for what has no type."""
    digits = re.search(r"[0-9]+", dtype)
    return max(1, int(digits[0]) // 8) if digits else 1


def count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < 2**63


def flag(value: object) -> bool:
    return isinstance(value, bool) or value in (0, 1)


def short_text(value: object) -> bool:
    return isinstance(value, str)


def any_text(value: object) -> bool:
    return isinstance(value, str) or value is TEXT


def number(value: object) -> bool:
    return isinstance(value, int) or value is NUMBER


def key(value: object) -> bool:
    """What may be a key, or an item of a set: the time it takes to hash it is bounded.

    A tuple hashes all that is in it each time; a nest of tuples takes exponential time or the whole C stack. Whole
    numbers of more than 64 bits can be chosen to have one hash all.
    """
    if isinstance(value, tuple):
        return len(value) <= MAX_KEY and all(map(_flat_key, value))
    return _flat_key(value)


def _flat_key(value: object) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or value is NUMBER or data(value)


def keys(value: object) -> bool:
    return value is SET or (isinstance(value, list) and all(map(key, value)))


def pairs(value: object) -> bool:
    """A list of keys with values, or a set, whose tuples are flat."""
    if not isinstance(value, list):
        return value is SET
    return all(isinstance(pair, list | tuple) and len(pair) == 2 and key(pair[0]) for pair in value)


def table(value: object) -> bool:
    return isinstance(value, Table)


def nothing(value: object) -> bool:
    return value is None


def data(value: object) -> bool:
    """Bytes; Python 2 wrote them as text, and protocols below 3 as text to be encoded."""
    return value is DATA or any_text(value) or (isinstance(value, Made) and value.maker in _BYTES)


def shape(value: object) -> bool:
    return isinstance(value, tuple) and len(value) <= 64 and all(count(side) for side in value)


def no_elements(value: object) -> bool:
    return value == (0,)


def hooks(value: object) -> bool:
    return value is None or (isinstance(value, Made) and value.maker == "collections OrderedDict")


def word(*words: str) -> Kind:
    return lambda value: isinstance(value, str) and value in words


def name(*names: str) -> Kind:
    return lambda value: isinstance(value, Global) and value.name in names


def made(*makers: str) -> Kind:
    return lambda value: isinstance(value, Made) and value.maker in makers


def calls(*signatures: tuple[Kind, ...]) -> Rule:
    """Called with arguments of one of these signatures."""

    def rule(arguments: tuple[object, ...]) -> bool:
        return any(
            len(arguments) == len(kinds) and all(kind(a) for kind, a in zip(kinds, arguments, strict=True))
            for kinds in signatures
        )

    return rule


def never(arguments: tuple[object, ...]) -> bool:
    """A call that savers do write, but that is not judged here."""
    return False


# Torch


def storage_dtype(said: str) -> str | None:
    """What the elements of torch's storage class are called; None if `module name` is no storage class."""
    return STORAGES.get(said.rpartition(" ")[2]) if said.startswith("torch") else None


def tensor_dtype(arguments: tuple[object, ...]) -> str:
    """What the elements of a rebuilt tensor are, by the arguments of the call that rebuilds it."""
    if len(arguments) > 6 and isinstance(arguments[6], Global):
        return DTYPES.get(arguments[6].name.removeprefix("torch "), "")
    return arguments[0].dtype if arguments and isinstance(arguments[0], Stored) else ""


def tensor(*more: Kind) -> Rule:
    """Storage, offset, sizes, strides, and then `more`, the last of which may be left out."""

    def rule(arguments: tuple[object, ...]) -> bool:
        rest = arguments[4:]
        if len(rest) not in (len(more), len(more) - 1) or not all(k(a) for k, a in zip(more, rest, strict=False)):
            return False
        return within(*arguments[:4])

    return rule


def untyped_tensor(arguments: tuple[object, ...]) -> bool:
    """Like `tensor`, of a storage of bytes: torch's way for the dtypes that have no storage class."""
    if len(arguments) not in (7, 8) or not (flag(arguments[4]) and hooks(arguments[5])):
        return False
    storage, dtype = arguments[0], tensor_dtype(arguments)
    if not dtype or not isinstance(storage, Stored) or arguments[7:] not in ((), (None,)):
        return False
    return within(Stored(dtype, storage.key, storage.count // element_size(dtype)), *arguments[1:4])


def within(storage: object, offset: object, sizes: object, strides: object) -> bool:
    """Whether a tensor lies within its storage and is not larger than it, so that no few bytes become many."""
    if not (isinstance(storage, Stored) and isinstance(offset, int) and count(offset)):
        return False
    if not (isinstance(sizes, tuple) and isinstance(strides, tuple) and shape(sizes) and shape(strides)):
        return False
    if len(sizes) != len(strides):
        return False
    last = offset + sum((side - 1) * stride for side, stride in zip(sizes, strides, strict=True))
    return 0 in sizes or (math.prod(sizes) <= storage.count and last < storage.count)


# Numpy: `__setstate__` believes what it is told, and reads beyond its memory where that is not true.


def numpy_dtype(arguments: tuple[object, ...]) -> bool:
    """A code, and whether it is to be aligned and copied."""
    if not 1 <= len(arguments) <= 3 or not all(flag(a) for a in arguments[1:]):
        return False
    return isinstance(arguments[0], str) and _NUMPY_CODE.fullmatch(arguments[0]) is not None


def _code(dtype: object) -> str:
    """The code of a dtype that an accepted call made, without its byte order."""
    if isinstance(dtype, Made) and dtype.maker == "numpy dtype" and isinstance(dtype.arguments[0], str):
        return dtype.arguments[0].lstrip("<>|=")
    return ""


def dtype_of_no_objects(value: object) -> bool:
    """A numpy dtype whose elements are not Python objects."""
    return _code(value)[:1] not in ("", "O")


def dtype_state(dtype: Made, state: object) -> bool:
    """Version, byte order, no fields, size, alignment and flags: those that belong to the code.

    Other flags would let bytes pass for pointers; another size would change the arrays that the dtype is of already.
    """
    if not isinstance(state, tuple) or len(state) != 8:
        return False
    version, order, *fields, size, align, flags = state
    letter, length = _code(dtype)[:1], _code(dtype)[1:]
    right = {
        "S": (int(length or 0), 1, 0),
        "V": (int(length or 0), 1, 0),
        "U": (4 * int(length or 0), 4, 8),
        "O": (-1, -1, 63),
    }.get(letter, (-1, -1, 0))
    return (
        version in (3, 4)
        and order in ("<", ">", "|", "=")
        and fields == [None, None, None]
        and ((size, align, flags) == right or (letter == "U" and (size, align, flags) == (*right[:2], 0)))
    )


def array_state(state: object) -> bool:
    """Version, shape, dtype, order, content: bytes, or for an array of objects a list of as many."""
    if not isinstance(state, tuple) or len(state) != 5:
        return False
    version, sides, dtype, order, content = state
    if version != 1 or not isinstance(sides, tuple) or not shape(sides) or not flag(order) or not _code(dtype):
        return False
    if dtype_of_no_objects(dtype):
        return data(content)
    return isinstance(content, list) and len(content) == math.prod(sides)
