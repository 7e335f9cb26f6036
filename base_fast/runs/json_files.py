"""JSON files that hold a dataclass each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from base_fast.errors import InputError
from base_fast.runs.config_files import from_dict

T = TypeVar("T")


def read_json(path: Path, cls: type[T]) -> T:
    """Read a JSON file as the dataclass `cls`.

    Raises InputError that names the file, and the field, when it is missing, damaged or not a `cls`.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}; expected JSON") from None
    if not isinstance(value, dict):
        what = type(value).__name__
        raise InputError(f"{path}: holds a {what}; expected an object with the fields of {cls.__name__}")
    try:
        return from_dict(cls, value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
