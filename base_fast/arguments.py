"""Checks of arguments that layers share; what passes is a plain number, whichever library it came from."""

from __future__ import annotations

import math
import operator
from dataclasses import fields
from typing import Any, SupportsIndex

from base_fast.errors import InputError


def integer(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """A whole number as an int: Python's own, NumPy's, a tensor's; no bool and no float, which mean something else.

    Raises:
        InputError: for anything else, or outside `least` to `most`.
    """
    # First what nearly all are: ops ask in every call, and torch.compile reads this line alone.
    number = value if type(value) is int else _index(value)
    if number is None:
        raise InputError(f"{name}: got {value!r}, expected {_range(least, most)}")
    if (least is not None and number < least) or (most is not None and number > most):
        raise InputError(f"{name}: got {number}, expected {_range(least, most)}")
    return number


def positive(name: str, value: float) -> float:
    """A finite number above 0.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0.0 < value < math.inf:
        raise InputError(f"{name}: got {value!r}, expected a finite number > 0")
    return float(value)


def _index(value: object) -> int | None:
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        return None
    if "bool" in str(getattr(value, "dtype", "")):  # PyTorch's and NumPy's bools have an index
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array of several, a tensor of floats
        return None


def _range(least: int | None, most: int | None) -> str:
    if least is None:
        return "an integer" if most is None else f"an integer ≤ {most}"
    return f"an integer ≥ {least}" if most is None else f"an integer from {least} to {most}"


def whole_numbers(config: Any) -> None:
    """Check the fields of a dataclass that are annotated `int`, in place: what it computes with is Python's own.

    Raises:
        InputError: for a field that holds no whole number.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type in ("int", "int | None") and type(value) is not int and value is not None:
            object.__setattr__(config, field.name, integer(field.name, value))
