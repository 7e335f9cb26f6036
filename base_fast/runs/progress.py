"""How far a long loop is: a live bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

Style = Literal["auto", "bar", "lines", "quiet"]
SECONDS_BETWEEN_LINES = 30.0

_live: RichProgress | None = None
_hidden = False


def hide_progress() -> None:
    """Nothing more from this process, which works for another one that shows how far they are."""
    global _hidden
    _hidden = True


class Progress(Protocol):
    """What `progress` gives to the loop."""

    def advance(self, n: int = 1, **fields: object) -> None:
        """Count `n` more steps done; `fields` (loss=..., accuracy=...) are shown beside the count."""
        ...


@contextmanager
def progress(description: str, total: int | None, start: int = 0, style: Style = "auto") -> Iterator[Progress]:
    """Show how many of `total` steps are done (None: it is not known), beginning at `start` when a run resumes.

    style: "auto" is "bar" when standard error is a terminal, "quiet" inside a pytest test and after `hide_progress`,
    otherwise "lines".
    Bars may be nested: they are drawn below each other.
    """
    if style == "auto":
        style = _automatic_style()
    if style == "bar":
        with _bar(description, total, start) as bar:
            yield bar
    elif style == "lines":
        lines = _Lines(description, total, start)
        try:
            yield lines
        finally:
            lines.finish()
    else:
        yield _Quiet()


def _automatic_style() -> Style:
    if _hidden or "PYTEST_CURRENT_TEST" in os.environ:
        return "quiet"
    return "bar" if sys.stderr.isatty() else "lines"


class _Quiet:
    def advance(self, n: int = 1, **fields: object) -> None:
        pass


class _Bar:
    def __init__(self, live: RichProgress, description: str, total: int | None, start: int) -> None:
        self._live = live
        self.task = live.add_task(description, total=total, completed=start, fields="")

    def advance(self, n: int = 1, **fields: object) -> None:
        if fields:
            self._live.update(self.task, advance=n, fields=_format(fields))
        else:
            self._live.update(self.task, advance=n)


@contextmanager
def _bar(description: str, total: int | None, start: int) -> Iterator[Progress]:
    global _live
    if _live is not None:
        # A terminal has room for one live display: an inner bar joins the outer one's.
        inner = _Bar(_live, description, total, start)
        try:
            yield inner
        finally:
            _live.remove_task(inner.task)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[fields]}", markup=False),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as live:
        _live = live
        try:
            yield _Bar(live, description, total, start)
        finally:
            _live = None


class _Lines:
    def __init__(self, description: str, total: int | None, start: int) -> None:
        self._description, self._total, self._start = description, total, start
        self._done = start
        self._fields: dict[str, object] = {}
        self._began = self._printed = time.monotonic()

    def advance(self, n: int = 1, **fields: object) -> None:
        self._done += n
        self._fields.update(fields)
        if time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            self._print()

    def finish(self) -> None:
        """Close a loop that was long enough to have printed, with its last state."""
        if self._printed > self._began:
            self._print()

    def _print(self) -> None:
        self._printed = time.monotonic()
        elapsed = self._printed - self._began
        parts = [f"{self._description} {self._done}" + (f"/{self._total}" if self._total is not None else "")]
        parts.append(f"elapsed {_clock(elapsed)}")
        if self._total is not None and self._done > self._start:
            parts.append(f"left {_clock(elapsed / (self._done - self._start) * (self._total - self._done))}")
        if self._fields:
            parts.append(_format(self._fields))
        print("  ".join(parts), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _format(fields: dict[str, object]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in fields.items()
    )
