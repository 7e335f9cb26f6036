"""A search taken step by step, and one that is interrupted and resumed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from base_fast.errors import Interrupted
from base_fast.runs import Clock, RunFolder
from base_fast.strategies import Result, Strategy, search


def walk(one: Strategy[Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """All states of a search of known length, the first included, and the rows between them."""
    states, rows = [one.start(Clock()).state], []
    for _ in range(one.total or 0):
        step = one.step(states[-1], Clock())
        states.append(step.state)
        rows.append(step.row)
    return states, rows


def resumed(
    process: Callable[[], Strategy[Any]],
    settings: Any,
    expected: Result,
    at: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The last checkpoint of a search that SIGINT hit at row `at`, and that a new process then went on with.

    What it comes to is what is expected of one that nothing interrupts; `settings` are what the run folder keeps.
    """
    log, left = RunFolder.log, [at]

    def cut(self: RunFolder, *arguments: Any, **values: Any) -> None:
        log(self, *arguments, **values)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunFolder, "log", cut)
    with RunFolder.create(folder / "resumed", "search", settings) as run:
        with pytest.raises(Interrupted, match=f"after {at} of {process().total} steps"):
            search(process(), run)
        found = search(process(), run)
        tensors, header = run.load_checkpoint("search") or ({}, {})
    for name in ("history", "genotype", "spent", "notes"):
        assert getattr(found, name) == getattr(expected, name), name
    return tensors, header
