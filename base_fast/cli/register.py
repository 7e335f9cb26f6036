"""`--register FILE.py`: primitives of one's own, for any command. The one way in which a command runs a user's code."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from base_fast.errors import InputError

OPTION = "--register"
HELP = f"""{OPTION} FILE.py (or an importable module's name; may be repeated) runs the file first: it registers
primitives of your own with base_fast.space.register."""


_ran: list[str] = []


def registered() -> tuple[str, ...]:
    """What the present command was told to register, for processes that it starts."""
    return tuple(_ran)


def without_registrations(words: list[str]) -> list[str]:
    """Run what every `--register` of the words names, and the words without them."""
    _ran.clear()
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        name, _, value = word.partition("=")
        if name != OPTION:
            kept.append(word)
            continue
        if not (value := value or next(rest, "")) or value.startswith("--"):
            raise InputError(f"{OPTION}: nothing follows, expected a Python file or module that registers primitives")
        _run(value)
        _ran.append(value)
    return kept


def _run(what: str) -> None:
    path = Path(os.path.expanduser(what))
    try:
        if path.suffix == ".py":
            _execute(path)
        else:
            importlib.import_module(what)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == what:
            raise InputError(f"{OPTION}: no module {what!r}, expected one, or a file whose name ends in .py") from None
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.absolute())]
        place = f" line {own[-1].lineno}:" if own else ""
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        raise InputError(f"{OPTION} {what}:{place} {kind}{error}") from error


def _execute(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"no such file {path.absolute()}")
    name = f"base_fast_registered.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.absolute())
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickles look their module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
