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
        InputError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{purpose} needs the package {package}: pip install 'base-fast[data]' ({error})") from error
