"""Columns of numbers beside a column of genotypes, from CSV and JSON files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from base_fast.errors import InputError


def read_columns(path: Path, genotypes: str, names: Sequence[str]) -> tuple[list[str], list[list[float]]]:
    """The column `genotypes` as text, and the columns `names` as numbers.

    CSV has a header; JSON is a list of objects, or an object of objects whose keys are the genotypes. Either may be
    compressed (.gz). Other columns are not looked at.

    Raises:
        InputError: the file cannot be read, a column is missing, or a value is no finite number.
    """
    rows = _rows(path, genotypes)
    for name in (genotypes, *names):
        if name not in rows[0]:
            raise InputError(f"{path}: no column {name!r}; expected one of {', '.join(rows[0])}")
    texts = [str(row.get(genotypes)) for row in rows]
    return texts, [[_number(path, i, name, row.get(name)) for i, row in enumerate(rows)] for name in names]


def _rows(path: Path, genotypes: str) -> list[dict[str, Any]]:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix not in (".csv", ".json"):
        raise InputError(f"{path}: got suffix {suffix!r}; expected .csv or .json, or either with .gz")
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}; expected a table") from None
    rows = _csv(text) if suffix == ".csv" else _json(path, text, genotypes)
    if not rows:
        raise InputError(f"{path}: no rows; expected at least one genotype")
    return rows


def first_row(path: Path) -> dict[str, Any]:
    """The values of a file's first row by column, in order; raises InputError as `read_columns` does."""
    return _rows(path, "genotype")[0]


def _csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def _json(path: Path, text: str, genotypes: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    rows = [{genotypes: key, **row} for key, row in value.items() if isinstance(row, dict)] if _is_map(value) else value
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected a list of objects, or an object with one object for each genotype")
    return rows


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(row, dict) for row in value.values())


def _number(path: Path, row: int, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path}: row {row + 1}, column {name!r}: got {value!r}, expected a finite number")
    return number
