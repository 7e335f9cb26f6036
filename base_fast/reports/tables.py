"""Tables: one form for all of them, and how it is written as HTML, as Markdown and in a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base_fast.errors import InputError
from base_fast.reports.cells import genotype_dict
from base_fast.reports.style import primitive_label

if TYPE_CHECKING:
    from rich.console import Console

_NUMBER = re.compile(r"[<>≈~+−-]?\s*\d[\d,.e+-]*(\s*±\s*[\d.e+-]+)?\s*[%×x]?")

Value = str | int | float | None


@dataclass(frozen=True)
class ResultTable:
    """A titled table; notes stand below it. Numbers are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"table {self.title!r}: a row has {len(row)} values, expected {len(self.columns)}")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ResultTable:
        """From a table in results.json: {"title", "columns", "rows", "notes"}."""
        columns, rows = value.get("columns"), value.get("rows")
        if not isinstance(columns, list) or not isinstance(rows, list) or not all(isinstance(r, list) for r in rows):
            raise InputError("results: a table needs 'columns' and 'rows', lists of equal length")
        notes = value.get("notes") or []
        return cls(
            str(value.get("title", "Results")),
            tuple(str(column) for column in columns),
            tuple(tuple(row) for row in rows),
            tuple(str(note) for note in ([notes] if isinstance(notes, str) else notes)),
        )

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers (or nothing) only; text such as 93.1 ± 0.2 counts too."""
        return tuple(bool(self.rows) and all(_is_number(row[i]) for row in self.rows) for i in range(len(self.columns)))


def _is_number(value: Value) -> bool:
    if isinstance(value, str):
        return value in ("", "-", "–", "—") or _NUMBER.fullmatch(value) is not None
    return True


def format_value(value: Value) -> str:
    """A cell of a table as text: four significant digits, thousands apart, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and 1e4 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(table: ResultTable | Mapping[str, Any]) -> ResultTable:
    return table if isinstance(table, ResultTable) else ResultTable.from_json(table)


def to_markdown(table: ResultTable | Mapping[str, Any]) -> str:
    """The table as GitHub Markdown: title in bold, table, notes."""
    table = _table(table)

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    lines = [f"**{table.title}**", "", line(table.columns)]
    lines.append("|" + "|".join("---:" if numeric else "---" for numeric in table.numeric) + "|")
    lines += [line([format_value(value) for value in row]) for row in table.rows]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def print_table(table: ResultTable | Mapping[str, Any], console: Console | None = None) -> None:
    """Print the table to the terminal (or to `console`)."""
    import rich.box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = _table(table)
    console = console or Console()
    # `Text` takes words as they are: brackets in them are no markup.
    out = Table(title=Text(table.title, "bold"), title_justify="left", box=rich.box.SIMPLE_HEAD)
    for column, numeric in zip(table.columns, table.numeric, strict=True):
        out.add_column(Text(column), justify="right" if numeric else "left")
    for row in table.rows:
        out.add_row(*(Text(format_value(value)) for value in row))
    console.print(out)
    for note in table.notes:
        console.print(Text(note, "dim"))


def to_html(table: ResultTable | Mapping[str, Any], code: Sequence[str] = ()) -> str:
    """The table as HTML; values of the columns named in `code` are set in a fixed-width font."""
    table = _table(table)
    kinds = [
        "number" if numeric else "code" if column in code else ""
        for column, numeric in zip(table.columns, table.numeric, strict=True)
    ]

    def cells(tag: str, values: Sequence[str]) -> str:
        out = []
        for value, kind in zip(values, kinds, strict=True):
            mark = f' class="{kind}"' if kind and not (tag == "th" and kind == "code") else ""
            scope = ' scope="col"' if tag == "th" else ""
            out.append(f"<{tag}{mark}{scope}>{html.escape(value)}</{tag}>")
        return f"<tr>{''.join(out)}</tr>"

    body = "\n".join(cells("td", [format_value(value) for value in row]) for row in table.rows)
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in table.notes)
    return (
        f'<div class="table"><table><caption>{html.escape(table.title)}</caption>'
        f"<thead>{cells('th', table.columns)}</thead><tbody>{body}</tbody></table>{notes}</div>"
    )


def candidates_table(name: str, candidates: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The most probable genotypes with probability and standard error, most probable first."""
    ordered = sorted(candidates, key=lambda c: -float(c.get("probability") or 0.0))
    rows: list[tuple[Value, ...]] = []
    for rank, candidate in enumerate(ordered, 1):
        probability, error = candidate.get("probability"), candidate.get("standard_error")
        text = f"{float(probability or 0.0):.3g}" + (f" ± {float(error):.2g}" if error is not None else "")
        rows.append((rank, text, str(candidate.get("compact") or compact(candidate.get("genotype")))))
    return ResultTable(f"Most probable genotypes: {name}", ("rank", "probability", "genotype"), tuple(rows))


def compact(genotype: Any) -> str:
    """A genotype on one line, for tables: cells as primitive~predecessor, then the joined nodes."""
    data = genotype_dict(genotype)
    parts = []
    for cell in ("normal", "reduce"):
        if data.get(cell):
            pairs = ",".join(f"{primitive}~{predecessor}" for primitive, predecessor in data[cell])
            parts.append(f"{cell}:{pairs}->{','.join(map(str, data.get(f'{cell}_concat') or []))}")
    return "; ".join(parts)


def undecided_table(genotypes: Mapping[str, Sequence[Mapping[str, Any]]]) -> ResultTable:
    """Edges of each genotype whose two best primitives are close, with the probabilities where they are known."""
    rows: list[tuple[Value, ...]] = []
    for name, edges in genotypes.items():
        for edge in edges:
            keys = [str(edge.get(key, "–")) for key in ("best", "runner_up")]
            values = edge.get("probabilities") or []
            pair = [values.get(key) for key in keys] if isinstance(values, Mapping) else sorted(values, reverse=True)
            first, second = ("–" if p is None else f"{float(p):.3f}" for p in [*pair, None, None][:2])
            where = f"{edge.get('predecessor', '?')} → {edge.get('node', '?')}"
            best, runner_up = map(primitive_label, keys)
            rows.append((name, str(edge.get("cell_type", "")), where, best, first, runner_up, second))
    columns = ("genotype", "cell", "edge", "best", "probability", "runner-up", "its probability")
    return ResultTable("Undecided edges", columns, tuple(rows))


def facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What run.json says, as (name, text), for the header of the report."""
    found = []
    for key in ("kind", "created", "commit", "command"):
        if run.get(key):
            found.append((key, str(run[key])))
    machine, versions = run.get("machine"), run.get("versions")
    if isinstance(machine, Mapping):
        parts = [str(machine[k]) for k in ("cpu",) if machine.get(k)]
        parts += [f"{machine['cores']} cores"] if machine.get("cores") else []
        if isinstance(machine.get("memory_bytes"), int):
            parts.append(f"{machine['memory_bytes'] / 2**30:.0f} GiB memory")
        parts += [str(gpu) for gpu in machine.get("gpus") or []]
        found.append(("machine", ", ".join(parts)))
    elif machine:
        found.append(("machine", str(machine)))
    if isinstance(versions, Mapping):
        found.append(("versions", ", ".join(f"{name} {value}" for name, value in versions.items() if value)))
    return found
