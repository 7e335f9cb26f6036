"""Genotypes in the notations in which people hold them: printed by Python, as JSON, or somewhere in a log.

Nothing that is read is executed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from base_fast.errors import InputError

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
# Those of a recurrent cell, as DARTS prints it.
RECURRENT = {"recurrent": "normal", "concat": "normal_concat"}
LONGEST = 10_000_000
LONGEST_RANGE = 1000
_EXPECTED = (
    "'normal: PRIMITIVE~PREDECESSOR ... -> NODE,...; reduce: ... -> ...', a NAS-Bench-201 string |PRIMITIVE~0|+..., "
    "JSON with the fields of a genotype, or Genotype(normal=[...], ...) as DARTS prints it"
)
_EDGE = r"[A-Za-z0-9_]+~[0-9]+"
_NAS_BENCH_201 = re.compile(rf"\|{_EDGE}\|(?:\+\|(?:{_EDGE}\|)+)+")
_COMPACT = re.compile(r"(?:normal|recurrent):[^;>\n]*->[^;>\n'\"]*(?:;\s*reduce:[^;>\n]*->[^;>\n'\"]*)?")
_NUMBERS = re.compile(r"[\[(]?\s*\d+(?:\s*,\s*\d+)+\s*[\])]?")


def find(text: str) -> str | dict[str, Any]:
    """The one genotype in `text`: its compact or NAS-Bench-201 string, or the fields of a `Genotype`.

    Raises:
        InputError: there is none, there are several different ones, or one that cannot be read.
    """
    if len(text) > LONGEST:
        raise InputError(f"genotype: a text of {len(text):,} characters; expected one genotype")
    text = text.lstrip("\ufeff").replace("&gt;", ">").replace("→", "->").replace("\xa0", " ").strip()
    found = list(_written(text))
    different = [one for i, one in enumerate(found) if one not in found[:i]]
    if len(different) == 1:
        return different[0]
    if different:
        raise InputError(f"genotype: {len(different)} different ones in {short(text)}; expected one: copy that alone")
    if _NUMBERS.fullmatch(text):
        raise InputError(
            f"genotype: cannot read {short(text)}: which operation a number stands for differs from code to code; "
            "expected the compact string or that of NAS-Bench-201, |PRIMITIVE~0|+..."
        )
    raise InputError(f"genotype: cannot read {short(text)}; expected {_EXPECTED}")


def short(value: object) -> str:
    """What a message quotes of a value."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _written(text: str) -> Iterator[str | dict[str, Any]]:
    if text.startswith("{"):
        yield from _of_table(_table(text))
        return
    for match in re.finditer(r"\bGenotype\(", text):
        printed = text[match.start() : _closing(text, match.end()) + 1]
        yield _fields(_parsed(printed))
    for match in _NAS_BENCH_201.finditer(text):
        yield match[0]
    for match in _COMPACT.finditer(text):
        yield match[0].strip()


def _table(text: str) -> Any:
    """JSON, or a dict as Python prints it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise InputError(f"genotype: not JSON: {short(text)} is nested too deeply") from None
    except ValueError:
        return _parsed(text)


def _of_table(table: Any) -> Iterator[str | dict[str, Any]]:
    """The genotypes of an object: itself, its field "genotype", or one for each name."""
    if not isinstance(table, dict):
        return
    inner = table.get("genotype")
    if "normal" in table or "recurrent" in table or not table:
        yield _fields(table)
    elif isinstance(inner, dict):
        yield _fields(inner)
    elif isinstance(inner, str):
        yield find(inner)
    else:
        for value in table.values():
            if not isinstance(value, dict) or "normal" not in value:
                expected = ", ".join(FIELDS)
                raise InputError(f"genotype: {short(table)} has no field 'normal'; expected {expected}")
            yield _fields(value)


def _fields(table: dict[str, Any]) -> dict[str, Any]:
    if "recurrent" in table:
        table = {RECURRENT.get(name, name): value for name, value in table.items()} | {
            "reduce": [],
            "reduce_concat": [],
        }
    return {name: _flat(value) if name in ("normal", "reduce") else value for name, value in table.items()}


def _flat(pairs: Any) -> Any:
    """Pairs that are listed by node, [[pair, pair], [pair, pair]], as one list."""
    nodes = isinstance(pairs, list) and all(isinstance(n, list) and n and isinstance(n[0], list) for n in pairs)
    return [pair for node in pairs for pair in node] if nodes else pairs


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that was opened before `start` is closed."""
    depth = 1
    for match in re.finditer(r"[()]", text[start:]):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return start + match.start()
    raise InputError(f"genotype: {short(text)} ends before its last parenthesis; copy it whole")


def _parsed(text: str) -> Any:
    try:
        return _value(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"genotype: cannot read {short(text)}; expected {_EXPECTED}") from None


def _value(node: ast.expr) -> Any:
    """A literal of Python, and the few calls that printed genotypes contain; tuples become lists."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {_key(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, ast.Call):
        return _call(node)
    raise InputError(f"genotype: cannot read {short(ast.unparse(node))}; expected names, numbers and lists")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise InputError("genotype: a key that is no string; expected the fields of a genotype")


def _call(node: ast.Call) -> Any:
    name = ast.unparse(node.func).rpartition(".")[2]
    given = [_value(argument) for argument in node.args]
    if name == "Genotype" and len(given) <= len(FIELDS):
        named = {keyword.arg or "**": _value(keyword.value) for keyword in node.keywords}
        return dict(zip(FIELDS, given, strict=False)) | named
    if name == "range" and 1 <= len(given) <= 3 and all(type(number) is int for number in given) and 0 not in given[2:]:
        numbers = range(*given)
        # The comparison counts no element: a range may be longer than a machine can count.
        if not numbers[LONGEST_RANGE:]:
            return list(numbers)
    # list(range(2, 6)), np.int64(0)
    if (name in ("list", "tuple") or re.fullmatch(r"u?int\d*", name)) and len(given) == 1 and not node.keywords:
        return given[0]
    raise InputError(f"genotype: cannot read {short(ast.unparse(node))}; expected names, numbers and lists")
