"""Tables in their three forms."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from base_fast.errors import InputError
from base_fast.reports import ResultTable, print_table, to_markdown
from base_fast.reports.tables import candidates_table, facts, format_value, to_html, undecided_table

TABLE = {
    "title": "A [bold]b[/bold]",
    "columns": ["way", "accuracy", "edge"],
    "rows": [["x|y", "93.1 ± 0.2", "0 → 2"], ["<z>", None, "1 → 2"]],
    "notes": "[note]",
}


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
    print_table(ResultTable.from_json(TABLE), Console(file=out, width=100))
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


@pytest.mark.parametrize("table", [{}, {"columns": ["a"], "rows": [1]}, {"columns": ["a"], "rows": [[1, 2]]}])
def test_bad_tables_are_input_errors(table: dict[str, object]) -> None:
    with pytest.raises(InputError):
        to_markdown(table)


def test_candidates_come_in_order_of_probability() -> None:
    rows = candidates_table("n", [{"compact": "b", "probability": 0.1}, {"compact": "a", "probability": 0.2}]).rows
    assert rows == ((1, "0.2", "a"), (2, "0.1", "b"))


def test_undecided_edges_take_probabilities_as_list_or_mapping() -> None:
    edge = {"cell_type": "normal", "predecessor": 0, "node": 2, "best": "none", "runner_up": "skip_connect"}
    table = undecided_table(
        {
            "a": [{**edge, "probabilities": [0.3, 0.4, 0.1]}, {**edge, "probabilities": {"none": 0.5}}],
            "b": [edge],
        }
    )
    assert [row[4] for row in table.rows] == ["0.400", "0.500", "–"]
    assert [row[6] for row in table.rows] == ["0.300", "–", "–"]
    assert table.rows[0][2] == "0 → 2"


def test_facts_take_a_machine_in_words_and_leave_out_what_is_missing() -> None:
    assert facts({"kind": "adapt", "machine": "box", "commit": None}) == [("kind", "adapt"), ("machine", "box")]
