"""What ranks other than 0 print: into a file of their own, so that a terminal shows one run, not W of them."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import IO

_terminal: int | None = None
_file: IO[bytes] | None = None


def redirect() -> None:
    """From here on, standard output and error, of C++ too, go to a temporary file, until `attach` names another."""
    global _terminal, _file
    sys.stdout.flush()
    sys.stderr.flush()
    _terminal = os.dup(2)
    _file = tempfile.TemporaryFile()  # noqa: SIM115
    _point_at(_file.fileno())


def attach(path: Path) -> None:
    """Keep what was printed, and what will be, at the end of the file `path`; where that cannot be, go on without."""
    global _file
    if _file is None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lasting = path.open("ab", buffering=0)
        _file.seek(0)
        lasting.write(_file.read())
    except OSError:
        return
    _point_at(lasting.fileno())
    _file.close()
    _file = lasting


def say(text: str) -> None:
    """Print to where the process began, past the file."""
    if _terminal is not None:
        os.write(_terminal, text.encode(errors="replace"))


def restore() -> None:
    """Standard error is again what it was when the process began."""
    if _terminal is not None:
        sys.stderr.flush()
        os.dup2(_terminal, 2)


def _point_at(descriptor: int) -> None:
    for stream in (1, 2):
        os.dup2(descriptor, stream)
