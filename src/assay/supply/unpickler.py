"""The unpickler without its effects: a stack, the stacks that marks put aside, and a memo.

Values are kept as far as it takes to know every name that is imported and what is called with what.
"""

from __future__ import annotations

import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from dataclasses import dataclass, field

from assay.supply.allow_list import ALLOWED, CALLS, may_build
from assay.supply.plain_calls import key, storage_dtype, tensor_dtype
from assay.supply.report import Unreadable, shown
from assay.supply.values import DATA, SET, UNKNOWN, Global, Made, Stored, Table

_FEW = 16
"""Arguments of a call and items of a state, which savers write fewer of."""

COMPUTED = "a name that is computed"

_NO_NAME = re.compile(r"(?:\A|\.)(?:[^A-Za-z_]|\Z)|[^A-Za-z0-9_.]")
_OF_TORCHSCRIPT = {
    f"torch.jit._pickle.{function}"
    for function in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id",
                     "restore_type_tag")
}  # fmt: skip


@dataclass
class Walk:
    """What was seen.

    Attributes:
        imports: every name that would be imported, `(module.name, offset)`.
        forbidden: those that are not on the allow-list.
        spelled: those of them that look like a name of a module and something in it, or like an attempt to hide one.
        dangers: what else must not happen: sentence and offset.
        doubts: what no saver of plain data writes: sentence and offset.
        broken: why the walk ended before STOP; empty if it did not.
        disputed: whether some unpickler would go on where the walk broke.
        end: offset of the byte after STOP, or of the opcode where the walk broke.
        stored: every torch storage that is referred to, by its key.
        dtypes: key to the dtypes of the tensors that lie there.
        result: the value the pickle stands for, as far as it is known.
    """

    imports: list[tuple[str, int]] = field(default_factory=list)
    forbidden: list[tuple[str, int]] = field(default_factory=list)
    spelled: list[tuple[str, int]] = field(default_factory=list)
    dangers: list[tuple[str, int]] = field(default_factory=list)
    doubts: list[tuple[str, int]] = field(default_factory=list)
    broken: str = ""
    disputed: bool = False
    end: int = 0
    stored: dict[str, Stored] = field(default_factory=dict)
    dtypes: dict[str, set[str]] = field(default_factory=dict)
    result: object = None

    def forbid(self, dotted: str, offset: int) -> None:
        """Note a name that must not be imported; it is judged whole and kept short."""
        self.forbidden.append((shown(dotted), offset))
        if dotted == COMPUTED or (_is_name(dotted) and not _is_of_torchscript(dotted)):
            self.spelled.append((shown(dotted), offset))


class Machine:
    """The unpickler: a stack, the stacks that marks put aside, and a memo."""

    def __init__(self, seen: Walk) -> None:
        self.seen = seen
        self.stack: list[object] = []
        self.aside: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.offset = 0
        self.count = 0
        self.copied = 0

    def step(self, name: str, argument: object, offset: int) -> None:
        self.offset, self.count = offset, self.count + 1
        if name in _PUSHES:
            self.stack.append(_PUSHES[name]())
        elif name in _PUSH_ARGUMENT:
            self.stack.append(argument)
        else:
            _STEPS[name](self, argument)

    def pop(self) -> object:
        if not self.stack:
            raise Unreadable("it takes more from the stack than it put there")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise Unreadable("it takes more from the stack than it put there")
        return self.stack[-1]

    def to_mark(self) -> list[object]:
        if not self.aside:
            raise Unreadable("a mark is missing on its stack")
        items, self.stack = self.stack, self.aside.pop()
        return items

    def danger(self, what: str) -> None:
        self.seen.dangers.append((what, self.offset))

    def doubt(self, what: str) -> None:
        self.seen.doubts.append((what, self.offset))

    def key(self, value: object) -> None:
        """Note what is hashed, as a key of a dict or an item of a set, if it is not plain."""
        if not key(value):
            self.doubt("a key that is more than text, a number or a short tuple of these")

    def may_copy(self, values: object) -> bool:
        """Whether these may be copied: what was put together once is not copied again and again, which takes any time.

        What a pickle has of everything takes an opcode an item; so all copies together have no more items than that.
        """
        for value in values if isinstance(values, tuple) and len(values) <= _FEW else (values,):
            self.copied += value.size if isinstance(value, Table) else len(value) if isinstance(value, list) else 0
        fits = self.copied <= self.count and not (isinstance(values, tuple) and len(values) > _FEW)
        if not fits:
            self.doubt("more arguments than savers write, or the same ones copied again and again")
        return fits

    # Imports and calls

    def load(self, module: object, name: object) -> object:
        """What importing `module.name` gives."""
        if not isinstance(module, str) or not isinstance(name, str):
            # Not turned into text: a nest of tuples that share their parts would take all the time there is.
            dotted = COMPUTED
        elif (said := f"{module} {name}") in ALLOWED:
            self.seen.imports.append((shown(said_today(module, name)), self.offset))
            return Global(said)
        else:
            dotted = said_today(module, name)
        self.seen.imports.append((shown(dotted), self.offset))
        self.seen.forbid(dotted, self.offset)
        return UNKNOWN

    def call(self, function: object, arguments: object) -> object:
        """What a call gives."""
        if function is UNKNOWN:
            return UNKNOWN
        if not isinstance(function, Global):
            self.danger("opening it would call what it made itself")
            return UNKNOWN
        if not self.may_copy(arguments):
            return UNKNOWN
        rule = CALLS.get(function.name)
        if rule is None or not isinstance(arguments, tuple) or not rule(arguments):
            self.doubt(f"a call of {function.name.replace(' ', '.')} that is not judged to be plain data")
            return UNKNOWN
        if arguments and isinstance(arguments[0], Stored):
            self.seen.dtypes.setdefault(arguments[0].key, set()).add(tensor_dtype(arguments))
        return Made(function.name, arguments)

    def build(self, target: object, state: object) -> None:
        """Setting the state of an object."""
        if isinstance(target, Global):
            self.danger(f"opening it would change {target.name.replace(' ', '.')} itself")
        elif target is not UNKNOWN and self.may_copy(state) and not may_build(target, state):
            self.doubt("an object with a state that no saver of plain data writes")

    def persistent(self, said: object) -> object:
        """A torch storage, by type, key, place and count; and in the old format a view into it."""
        match said if isinstance(said, tuple) and len(said) <= _FEW else ():
            case ("storage", Global(name=name), str(key), str(), int(count), *view) if _is_view(view, count):
                dtype = storage_dtype(name)
                if dtype is not None and 0 <= count < 2**60:
                    return self._stored(Stored(dtype, key, count))
        self.doubt("a reference to something outside the pickle that is no storage of torch")
        return UNKNOWN

    def _stored(self, new: Stored) -> Stored:
        if self.seen.stored.setdefault(new.key, new) != new:
            self.doubt(f"storage {shown(new.key, 40)} is referred to as two different things")
        return new

    # Opcodes

    def reduce(self, argument: object) -> None:
        arguments, function = self.pop(), self.pop()
        self.stack.append(self.call(function, arguments))

    def new_with_names(self, argument: object) -> None:
        named, arguments, function = self.pop(), self.pop(), self.pop()
        if not isinstance(named, Table) or named.keys or not named.only_text:
            self.doubt("a call with named arguments")
        self.stack.append(self.call(function, arguments))

    def make(self, argument: object) -> None:
        items = self.to_mark()
        if not items:
            raise Unreadable("it takes more from the stack than it put there")
        self.stack.append(self.call(items[0], tuple(items[1:])))

    def make_named(self, argument: object) -> None:
        function = self._load_pair(argument)  # imported even if the mark is missing
        self.stack.append(self.call(function, tuple(self.to_mark())))

    def _load_pair(self, argument: object) -> object:
        module, name = argument if isinstance(argument, tuple) else (None, None)
        return self.load(module, name)

    def stack_global(self, argument: object) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(self.load(module, name))

    def extension(self, argument: object) -> None:
        self.stack.append(self.load("copyreg", f"extension {argument}"))

    def set_state(self, argument: object) -> None:
        state = self.pop()
        self.build(self.top(), state)

    def put(self, argument: object) -> None:
        key = len(self.memo) if argument is None else argument
        if not isinstance(key, int) or key < 0:
            raise Unreadable("a memo key that is no number")
        if key > self.count:
            self.doubt("a memo key so large that the memo would take all memory")
        self.memo[key] = self.top()

    def get(self, argument: object) -> None:
        if not isinstance(argument, int) or argument not in self.memo:
            raise Unreadable("it reads a memo entry that was never written")
        self.stack.append(self.memo[argument])

    def discard(self, argument: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def mark(self, argument: object) -> None:
        self.aside.append(self.stack)
        self.stack = []

    def tuple_of(self, count: int) -> None:
        self.stack.append(tuple([self.pop() for _ in range(count)][::-1]))

    def extend(self, items: list[object]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(items)
        elif target is not UNKNOWN:
            self.doubt("items are appended to something that is no list")

    def add(self, argument: object) -> None:
        for item in self.to_mark():
            self.key(item)
        if self.top() not in (SET, UNKNOWN):
            self.doubt("items are added to something that is no set")

    def fill(self, items: list[object]) -> None:
        """Keys and values, one after the other, into a dict."""
        target = self.top()
        for item in items[::2]:
            self.key(item)
        if isinstance(target, Table):
            for item in items[::2]:
                target.set(item)
        elif target is not UNKNOWN and not (isinstance(target, Made) and target.maker.startswith("collections ")):
            self.doubt("items are set in something that is no dict")

    def table(self, argument: object) -> None:
        items = self.to_mark()
        self.stack.append(Table())
        self.fill(items)

    def frozen_set(self, argument: object) -> None:
        for item in self.to_mark():
            self.key(item)
        self.stack.append(SET)

    def proto(self, argument: object) -> None:
        if not isinstance(argument, int) or argument > 5:
            raise Unreadable(f"pickle protocol {argument} is not known")

    def read_only(self, argument: object) -> None:
        self.top()

    def stop(self, argument: object) -> None:
        self.seen.result = self.pop()


def said_today(module: str, name: str) -> str:
    """`module.name`, as Python 3 finds what protocols below 3 call by its name in Python 2."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _is_name(dotted: str) -> bool:
    """Whether it is words with dots between them."""
    return "." in dotted and _NO_NAME.search(dotted) is None


def _is_of_torchscript(dotted: str) -> bool:
    """Whether the pickles of TorchScript name it for its own reader: classes of no module, and six plain functions."""
    return dotted.startswith("__torch__.") or dotted in _OF_TORCHSCRIPT


def _is_view(view: list[object], count: int) -> bool:
    """Nothing; or as the old format has it None, or key, offset and count of a part of the storage."""
    match view:
        case [] | [None]:
            return True
        case [(str(), int(offset), int(size))]:
            return offset >= 0 and size >= 0 and offset + size <= count
    return False


_PUSHES: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": lambda: (),
    "EMPTY_LIST": list,
    "EMPTY_DICT": Table,
    "EMPTY_SET": lambda: SET,
    "NEXT_BUFFER": lambda: DATA,
}

_PUSH_ARGUMENT = {"INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "STRING",
                  "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
                  "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}  # fmt: skip

_Step = Callable[[Machine, object], None]

_STEPS: dict[str, _Step] = {
    "GLOBAL": lambda m, a: m.stack.append(m._load_pair(a)),
    "STACK_GLOBAL": Machine.stack_global,
    "EXT1": Machine.extension,
    "EXT2": Machine.extension,
    "EXT4": Machine.extension,
    "INST": Machine.make_named,
    "OBJ": Machine.make,
    "REDUCE": Machine.reduce,
    "NEWOBJ": Machine.reduce,
    "NEWOBJ_EX": Machine.new_with_names,
    "BUILD": Machine.set_state,
    "PERSID": lambda m, a: m.stack.append(m.persistent(a)),
    "BINPERSID": lambda m, a: m.stack.append(m.persistent(m.pop())),
    "PUT": Machine.put,
    "BINPUT": Machine.put,
    "LONG_BINPUT": Machine.put,
    "MEMOIZE": Machine.put,
    "GET": Machine.get,
    "BINGET": Machine.get,
    "LONG_BINGET": Machine.get,
    "MARK": Machine.mark,
    "POP": Machine.discard,
    "POP_MARK": lambda m, a: m.to_mark().clear(),
    "DUP": lambda m, a: m.stack.append(m.top()),
    "TUPLE": lambda m, a: _append(m, tuple(m.to_mark())),
    "TUPLE1": lambda m, a: m.tuple_of(1),
    "TUPLE2": lambda m, a: m.tuple_of(2),
    "TUPLE3": lambda m, a: m.tuple_of(3),
    "LIST": lambda m, a: _append(m, m.to_mark()),
    "DICT": Machine.table,
    "FROZENSET": Machine.frozen_set,
    "APPEND": lambda m, a: m.extend([m.pop()]),
    "APPENDS": lambda m, a: m.extend(m.to_mark()),
    "ADDITEMS": Machine.add,
    "SETITEM": lambda m, a: m.fill([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, a: m.fill(m.to_mark()),
    "PROTO": Machine.proto,
    "FRAME": lambda m, a: None,
    "READONLY_BUFFER": Machine.read_only,
    "STOP": Machine.stop,
}


def _append(machine: Machine, value: object) -> None:
    machine.stack.append(value)
