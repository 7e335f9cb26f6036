from __future__ import annotations

import io
import sys

import pytest

from base_fast.runs import progress
from base_fast.runs import progress as progress_function

module = sys.modules[progress_function.__module__]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_nothing_is_printed_inside_tests(capfd):
    with progress("meta", 10) as bar:
        bar.advance(3, loss=1.0)
    assert capfd.readouterr() == ("", "")


def test_lines_come_at_most_every_thirty_seconds(clock, capsys):
    with progress("meta", 100, start=20, style="lines") as bar:
        for second in range(1, 41):
            clock[0] = float(second)
            bar.advance(loss=1 / 3, tau=second)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "meta 50/100  elapsed 0:00:30  left 0:00:50  loss 0.3333  tau 30",
        "meta 60/100  elapsed 0:00:40  left 0:00:40  loss 0.3333  tau 40",
    ]


def test_short_loops_print_no_line(clock, capsys):
    with progress("meta", 100, style="lines") as bar:
        bar.advance(100)
    assert capsys.readouterr().err == ""


def test_lines_without_a_total(clock, capsys):
    with pytest.raises(RuntimeError), progress("adapt", None, style="lines") as bar:  # noqa: PT012
        clock[0] = 31.0
        bar.advance(2)
        raise RuntimeError
    assert capsys.readouterr().err.splitlines()[0] == "adapt 2  elapsed 0:00:31"


def test_bars_nest_and_show_fields(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with progress("outer [a]", 2, start=1, style="bar") as outer:
        with progress("inner", 4, style="bar") as inner:
            inner.advance(2, loss=0.5, note="x[y]")
            inner.advance()
            module._live.refresh()
        outer.advance(accuracy=0.25)
    assert module._live is None
    shown = terminal.getvalue()
    for text in ("outer [a]", "inner", "3/4", "loss 0.5  note x[y]", "2/2", "accuracy 0.25"):
        assert text in shown


def test_the_style_follows_the_terminal(monkeypatch):
    assert module._automatic_style() == "quiet"
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert module._automatic_style() == "bar"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert module._automatic_style() == "lines"
