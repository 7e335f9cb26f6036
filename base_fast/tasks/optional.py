"""Packages that only some data sources need."""

from __future__ import annotations

import importlib
from typing import Any

from base_fast.errors import InputError


def require(module: str, package: str, purpose: str) -> Any:
    """Import `module`, or say how to get it.

    Args:
        module: dotted name to import, e.g. "PIL.Image".
        package: the name under which the package is installed, e.g. "pillow".
        purpose: what needs it; starts the message.

    Raises:
        InputError: the package is not installed, or is and cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = " ".join(str(error).split())
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == module.split(".")[0]
        if not absent:
            raise InputError(f"{purpose}: the package {package} is there, but cannot be imported ({reason})") from error
        raise InputError(f"{purpose} needs the package {package}: pip install 'base-fast[data]' ({reason})") from error
