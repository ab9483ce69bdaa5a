"""`torch.export` programs (`.pt2`): whatever in their JSON torch's own loader would resolve, evaluate or compile.

`torch.export.load` (2.14) resolves operators by name with `getattr`, gives sizes to sympy's evaluator, and writes names
of arguments into Python source; so names must be plain words, sizes plain arithmetic, operators on a list.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from assay.supply.aten import ATEN, PLAIN_FUNCTIONS
from assay.supply.report import BYTES_A_STEP, Piece, Search, Unreadable, shown

MAX_JSON = 32 * 2**20
"""Bytes of a program without its weights; that of a network of a thousand layers has 2 MB."""

_OPERATOR = re.compile(r"torch\.ops\.aten\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z0-9_]+)")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")
_WORDS = re.compile(r"[\w.]{0,500}")
_NAME_KEYS = ("name", "fqn", "as_name")
_CALLS = {"Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv",
          "CeilDiv", "CleanDiv", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToInt", "TruncToFloat",
          "CeilToInt", "FloorToInt", "RoundToInt", "ToFloat", "Identity", "ModularIndexing", "Where", "Eq", "Ne", "Ge",
          "Gt", "Le", "Lt", "And", "Or", "Not"}  # fmt: skip
"""Functions of sympy, and of torch beside it, that torch writes into sizes."""

_ARITHMETIC = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Constant, ast.Name, ast.Call,
               ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)  # fmt: skip
_TREES = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", "builtins.NoneType"}
_SCALARS = {6: "F16", 7: "F32", 8: "F64", 9: "C32", 10: "C64", 11: "C128", 13: "BF16"}


def look_at_program(search: Search, piece: Piece) -> None:
    """Note what in a program's JSON could run something.

    Raises:
        Unreadable: if it is no JSON.
    """
    for key, value in _entries(search, _read(search, piece)):
        if key in ("target", "as_operator"):
            _look_at_operator(search, piece, value)
        elif key == "expr_str":
            if not _is_arithmetic(value):
                search.unsafe(f"a size that would be evaluated as code: {shown(str(value), 80)}", piece.where)
        elif key == "guards_code" and value:
            search.unsafe(f"guards, which are run as code: {shown(str(value), 80)}", piece.where)
        elif key in ("in_spec", "out_spec"):
            if not _is_plain_tree(value):
                search.unknown("arguments that are more than tuples, lists and dicts", piece.where)
        elif key in ("as_custom_obj", "custom_obj"):
            search.unknown("an object of a custom class", piece.where)
        elif key.endswith(_NAME_KEYS) and isinstance(value, str) and not _WORDS.fullmatch(value):
            search.unsafe(f"a name that is no word, and would be written into code: {shown(value, 80)}", piece.where)
        elif key == "forward_arg_names" and not _are_words(value):
            search.unsafe("names of arguments that are no words, and would be written into code", piece.where)


def payload_dtypes(search: Search, piece: Piece, folder: str) -> dict[str, str]:
    """Member name to dtype, for the weights that the archive holds as raw numbers."""
    config = _read(search, piece).get("config")
    found: dict[str, str] = {}
    for entry in config.values() if isinstance(config, dict) else ():
        search.step()
        match entry:
            case {"path_name": str(path), "use_pickle": False, "tensor_meta": {"dtype": int(dtype)}}:
                found[f"{folder}/{path}"] = _SCALARS.get(dtype, "")
    return found


def _read(search: Search, piece: Piece) -> dict[str, Any]:
    search.step(len(piece.data) // BYTES_A_STEP)
    if len(piece.data) > MAX_JSON:
        raise Unreadable(f"more than {MAX_JSON >> 20} MiB of JSON")
    try:
        document = json.loads(str(piece.data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is no JSON: {shown(str(error))}") from error
    if not isinstance(document, dict):
        raise Unreadable("its JSON is no object")
    return document


def _entries(search: Search, document: object) -> Iterator[tuple[str, Any]]:
    """Every key and value of every object in the document."""
    waiting: list[object] = [document]
    while waiting:
        search.step()
        item = waiting.pop()
        if isinstance(item, dict):
            yield from item.items()
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _look_at_operator(search: Search, piece: Piece, target: object) -> None:
    target = target if isinstance(target, str) else str(target)
    aten = _OPERATOR.fullmatch(target)
    if target in PLAIN_FUNCTIONS or (aten and aten[1] in ATEN and not aten[2].startswith("_")):
        return
    if aten and aten[1] not in ("from_file", "save") and not aten[1].startswith("__") and not aten[2].startswith("_"):
        search.unknown(f"operator {shown(aten[0])}, which is not judged here", piece.where)
    else:
        search.unsafe(f"operator {shown(target)}, which is not one of torch's own on tensors", piece.where)


def _is_arithmetic(expression: object) -> bool:
    """Numbers, symbols and known functions of them."""
    if not isinstance(expression, str) or len(expression) > 2000:
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _ARITHMETIC):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _CALLS):
            return False
        if isinstance(node, ast.Constant) and not isinstance(node.value, int | float) and not _is_word(node.value):
            return False
        if isinstance(node, ast.Name) and not _is_word(node.id):
            return False
    return True


def _is_word(value: object) -> bool:
    """A short name without the double underscore that leads to Python's inner parts."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None and "__" not in value


def _are_words(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(_is_word(word) for word in value))


def _is_plain_tree(spec: object) -> bool:
    """Whether the structure of the arguments is made of plain containers, with words as keys."""
    if not isinstance(spec, str):
        return spec is None
    try:
        waiting: list[object] = [json.loads(spec)]
    except (ValueError, RecursionError):
        return False
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            context = item.get("context")
            plain = context is None or (isinstance(context, str) and re.fullmatch(r'[\w\s",.\[\]-]*', context))
            kind, children = item.get("type"), item.get("children_spec") or []
            if not (kind is None or (isinstance(kind, str) and kind in _TREES)) or not plain:
                return False
            if not isinstance(children, list):
                return False
            waiting.extend(children)
    return True
