"""What a pickle would import, found without running it.

The opcodes are read by the standard library's `pickletools.genops`; stack and memo are simulated as far as strings and
tuples go, so that names pushed as strings are resolved. Only an exact allow-list of importable names is accepted: what
a state dict or a numpy array needs. Wherever the simulation cannot be certain, the name counts as not allowed.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_OPCODES = 20_000_000
"""Of one pickle; a state dict of a thousand tensors has about 60,000."""

MAX_MEMO = 5_000_000

_STORAGES = ["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "ComplexFloat", "ComplexDouble", "Untyped"]
_DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64", "complex128", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "qint8", "quint8", "qint32", "per_tensor_affine", "per_channel_affine"]
_NUMPY_CORE = [
    f"{module} {name}"
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
] + [f"{module} _frombuffer" for module in ("numpy.core.numeric", "numpy._core.numeric")]

ALLOWED = frozenset(
    [f"torch {name}Storage" for name in _STORAGES]
    + [f"torch.storage {name}Storage" for name in _STORAGES]
    + ["torch.storage TypedStorage", "torch.storage UntypedStorage", "torch.storage _load_from_bytes_disabled"]
    + [f"torch {name}" for name in _DTYPES]
    + [
        f"torch._utils _rebuild_{name}"
        for name in ("tensor", "tensor_v2", "parameter", "parameter_with_state", "qtensor")
    ]
    + ["torch Size", "torch Tensor", "torch device", "torch.nn.parameter Parameter", "torch.serialization _get_layout"]
    + ["collections OrderedDict", "collections defaultdict", "_codecs encode", "numpy ndarray", "numpy dtype"]
    + ["builtins set", "builtins frozenset", "builtins bytearray", "builtins dict", "builtins complex"]
    + ["__builtin__ set", "__builtin__ frozenset", "__builtin__ bytearray", "__builtin__ complex"]
    + _NUMPY_CORE
) - {"torch.storage _load_from_bytes_disabled"}
"""`module name`, exactly. None of them calls something that it is given."""

_UNKNOWN = object()
_MARK = object()
_STRINGS = {
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Global:
    """A `module name` on the allow-list, as it lies on the simulated stack."""

    name: str


@dataclass
class Walk:
    """What was seen.

    Attributes:
        imports: every name that would be imported, `(module.name, byte offset)`.
        dangers: the names that are not on the allow-list, and what cannot be resolved.
        broken: why the walk ended before STOP; empty if it did not.
        end: offset of the byte after STOP, or of where the walk broke.
        stored: `(storage class, key)` of every torch storage that is referred to.
        first: the first value that was pushed, to tell torch's old format by its magic number.
    """

    imports: list[tuple[str, int]] = field(default_factory=list)
    dangers: list[tuple[str, int]] = field(default_factory=list)
    broken: str = ""
    end: int = 0
    stored: list[tuple[str, str]] = field(default_factory=list)
    first: object = None


def walk(stream: BinaryIO) -> Walk:
    """Walk one pickle from where `stream` stands. Never raises for what the bytes say."""
    seen, machine = Walk(), _Machine()
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
            offset = position or 0
            seen.end = offset
            if count > MAX_OPCODES or len(machine.memo) > MAX_MEMO:
                seen.broken = f"more than {MAX_OPCODES:,} opcodes"
                return seen
            if opcode.name in ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4") and seen.first is None:
                seen.first = argument
            _step(seen, machine, opcode, argument, offset)
            if machine.lost:
                seen.broken = machine.lost
                return seen
        seen.end = stream.tell()
    except (ValueError, IndexError, KeyError, OverflowError, EOFError, OSError, RecursionError, MemoryError) as error:
        # Whatever the bytes make genops raise: the pickle machine may have run all that came before.
        seen.broken = f"not a whole pickle: {str(error) or type(error).__name__}"[:200]
    return seen


class _Machine:
    """The pickle machine's stack and memo, with strings, tuples and allowed names; all else is unknown."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.lost = ""

    def pop(self) -> object:
        if not self.stack:
            self.lost = "its opcodes take more from the stack than they put there"
            return _UNKNOWN
        return self.stack.pop()

    def to_mark(self) -> list[object]:
        items: list[object] = []
        while self.stack:
            item = self.stack.pop()
            if item is _MARK:
                return items[::-1]
            items.append(item)
        self.lost = "a mark is missing on its stack"
        return []


def _step(seen: Walk, machine: _Machine, opcode: pickletools.OpcodeInfo, argument: object, offset: int) -> None:
    name, stack = opcode.name, machine.stack
    if name in ("GLOBAL", "INST"):
        if name == "INST":
            machine.to_mark()
        stack.append(_import(seen, str(argument), offset))
    elif name == "STACK_GLOBAL":
        attribute, module = machine.pop(), machine.pop()
        known = isinstance(attribute, str) and isinstance(module, str)
        said = f"{module} {attribute}" if known and " " not in str(module) else "? ?"
        stack.append(_import(seen, said, offset))
    elif name in ("EXT1", "EXT2", "EXT4"):
        stack.append(_import(seen, f"copyreg extension-{argument}", offset))
    elif name in _STRINGS:
        stack.append(argument)
    elif name == "MARK":
        stack.append(_MARK)
    elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
        key = len(machine.memo) if name == "MEMOIZE" else argument
        machine.memo[int(str(key))] = stack[-1] if stack else _UNKNOWN
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        key = int(str(argument))
        if key not in machine.memo:
            machine.lost = f"it reads memo entry {key}, which was never written"
        stack.append(machine.memo.get(key, _UNKNOWN))
    elif name == "DUP":
        stack.append(stack[-1] if stack else _UNKNOWN)
    elif name == "POP_MARK":
        machine.to_mark()
    elif name == "TUPLE":
        stack.append(tuple(machine.to_mark()))
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.append(tuple(machine.pop() for _ in range(int(name[-1])))[::-1])
    elif name == "BINPERSID":
        stack.append(_persistent(seen, machine.pop()))
    elif name in ("OBJ", "LIST", "DICT", "FROZENSET"):
        machine.to_mark()
        stack.append(_UNKNOWN)
    elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
        machine.to_mark()
    else:
        _generic(machine, opcode)


def _generic(machine: _Machine, opcode: pickletools.OpcodeInfo) -> None:
    """What the opcode takes and gives by the standard library's own table; what it gives is unknown."""
    for _ in opcode.stack_before:
        machine.pop()
    machine.stack.extend(_UNKNOWN for _ in opcode.stack_after)


def _persistent(seen: Walk, said: object) -> object:
    if isinstance(said, tuple) and len(said) > 2 and isinstance(said[1], Global) and isinstance(said[2], str):
        seen.stored.append((said[1].name.rpartition(" ")[2], said[2]))
    return _UNKNOWN


def _import(seen: Walk, said: str, offset: int) -> object:
    dotted = said.replace(" ", ".", 1) if said != "? ?" else "a name that is computed"
    seen.imports.append((dotted, offset))
    if said in ALLOWED:
        return Global(said)
    seen.dangers.append((dotted, offset))
    return _UNKNOWN
