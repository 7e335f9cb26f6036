"""Tables in their three forms."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from base_fast.errors import InputError
from base_fast.reports import ResultTable, print_table, to_markdown
from base_fast.reports.tables import candidates_table, facts, format_value, to_html, undecided_table
from base_fast.runs.artefacts import Machine, Provenance, RunInfo
from base_fast.space import Candidate, UndecidedEdge, genotypes

TABLE = ResultTable(
    "A [bold]b[/bold]",
    ("way", "accuracy", "edge"),
    (("x|y", "93.1 ± 0.2", "0 → 2"), ("<z>", None, "1 → 2")),
    ("[note]",),
)


def test_markdown_aligns_numbers_and_escapes_bars() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "**A [bold]b[/bold]**",
        "",
        "| way | accuracy | edge |",
        "|---|---:|---|",
        "| x\\|y | 93.1 ± 0.2 | 0 → 2 |",
        "| <z> | – | 1 → 2 |",
        "",
        "[note]",
    ]


def test_the_terminal_shows_brackets_as_they_are() -> None:
    out = io.StringIO()
    print_table(TABLE, Console(file=out, width=100))
    for words in ("A [bold]b[/bold]", "x|y", "93.1 ± 0.2", "[note]"):
        assert words in out.getvalue()


def test_html_escapes_and_marks_numbers() -> None:
    text = to_html(TABLE)
    assert "&lt;z&gt;" in text
    assert '<td class="number">93.1 ± 0.2</td>' in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (3, "3"), (3169414, "3,169,414"), (2.9e6, "2,900,000"), (0.123456, "0.1235"),
     (1e-7, "1e-07"), (float("nan"), "nan"), (0.0, "0")],
)  # fmt: skip
def test_values(value: float | None, text: str) -> None:
    assert format_value(value) == text


def test_a_row_of_another_length_is_an_input_error() -> None:
    with pytest.raises(InputError, match="a row has 2 values, expected 1"):
        ResultTable("t", ("a",), ((1, 2),))


def test_candidates_come_in_order_of_probability() -> None:
    candidates = [Candidate(genotypes.DARTS_V1, 0.1, 0.01), Candidate(genotypes.DARTS_V2, 0.2, 0.02)]
    assert candidates_table("n", candidates).rows == (
        (1, "0.2 ± 0.02", genotypes.DARTS_V2.compact()),
        (2, "0.1 ± 0.01", genotypes.DARTS_V1.compact()),
    )


def test_undecided_edges() -> None:
    edge = UndecidedEdge("normal", 0, 2, "none", "skip_connect", (0.5, 0.25))
    rows = undecided_table({"a": [edge], "b": []}).rows
    assert rows == (("a", "normal", "0 → 2", "none", "0.500", "skip", "0.250"),)


def test_facts_leave_out_what_is_not_known() -> None:
    started = Provenance("base-fast adapt", {"torch": "2", "x": None}, None, Machine("box", None, None, ()), "now")
    assert facts(RunInfo("adapt", {}, started)) == [
        ("kind", "adapt"), ("created", "now"), ("command", "base-fast adapt"), ("machine", "box"),
        ("versions", "torch 2"),
    ]  # fmt: skip
