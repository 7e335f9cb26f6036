"""Settings that a resumed run may change: they say where, on what or how often it reports, not what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

from base_fast.runs.config_files import to_dict

_MARK = "changeable"


def changeable(default: Any) -> Any:
    """A dataclass field with a default that a resumed run may change: a device, a path, an interval between reports.

    What lies at a path belongs to the run all the same: its digest is among the run's inputs.
    """
    return field(default=default, metadata={_MARK: True})


def unchangeable(config: Any) -> dict[str, Any]:
    """As `to_dict`, without the settings that a resumed run may change."""
    plain = to_dict(config)
    _drop(config, plain)
    return plain


def _drop(value: Any, plain: Any) -> None:
    if is_dataclass(value) and not isinstance(value, type):
        for one in fields(value):
            if one.metadata.get(_MARK):
                plain.pop(one.name, None)
            elif one.name in plain:
                _drop(getattr(value, one.name), plain[one.name])
    elif isinstance(value, (tuple, list)):
        for item, inner in zip(value, plain, strict=True):
            _drop(item, inner)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _drop(item, plain[str(key)])
