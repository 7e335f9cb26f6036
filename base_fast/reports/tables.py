"""Tables: one form for all of them, and how it is written as HTML, as Markdown and in a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from base_fast.errors import InputError
from base_fast.instance import InstanceRecord
from base_fast.reports.style import primitive_label
from base_fast.runs.artefacts import Provenance, RunInfo, Searched, TrainedLanguageModel, TrainedNetwork
from base_fast.space import Candidate, UndecidedEdge

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


def to_markdown(table: ResultTable) -> str:
    """The table as GitHub Markdown: title in bold, table, notes."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    lines = [f"**{table.title}**", "", line(table.columns)]
    lines.append("|" + "|".join("---:" if numeric else "---" for numeric in table.numeric) + "|")
    lines += [line([format_value(value) for value in row]) for row in table.rows]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def print_table(table: ResultTable, console: Console | None = None) -> None:
    """Print the table to the terminal (or to `console`)."""
    import rich.box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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


def to_html(table: ResultTable, code: Sequence[str] = ()) -> str:
    """The table as HTML; values of the columns named in `code` are set in a fixed-width font."""
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


def searched_table(searched: Searched) -> ResultTable:
    """An adaptation: how good the supernet was at its start and is at its end."""
    columns = ("steps", "seconds", "stopped by", "accuracy at the start", "accuracy", "loss")
    first, last = (searched.history[0], searched.history[-1]) if searched.history else (None, None)
    row = (
        searched.steps,
        searched.seconds,
        searched.stopped,
        None if first is None else percent(first.accuracy),
        percent(searched.accuracy),
        None if last is None else last.loss,
    )
    note = "Of the supernet on validation images; loss in nats. A network of the genotype is trained from scratch."
    return ResultTable("Adapted supernet", columns, (row,), (note,))


def trained_table(trained: TrainedNetwork) -> ResultTable:
    """A trained network: how good it is, and how large."""
    columns = ("accuracy", "loss", "steps", "seconds", "parameters", "MACs")
    row = (percent(trained.accuracy), trained.loss, trained.steps, trained.seconds, trained.parameters, trained.macs)
    note = f"{trained.task}; parameters without the auxiliary head; MACs of convolutions and linear layers, one image."
    return ResultTable("Trained network", columns, (row,), (note,))


def language_table(trained: TrainedLanguageModel) -> ResultTable:
    """A trained language model: its perplexities, and how large it is."""
    columns = ("validation perplexity", "test perplexity", "steps", "seconds", "parameters", "words")
    row = (
        trained.perplexity,
        trained.test_perplexity,
        trained.steps,
        trained.seconds,
        trained.parameters,
        trained.words,
    )
    return ResultTable("Trained language model", columns, (row,), (f"{trained.text}; cell: {trained.cell}.",))


def instance_table(record: InstanceRecord) -> ResultTable:
    """An instance-aware network: how good it is at which cost, and whether its choices are about the images."""
    columns = (
        "accuracy",
        "policies permuted",
        "p",
        f"{record.unit} an image",
        "of all blocks",
        "policies",
        "information",
    )
    row = (
        percent(record.accuracy),
        percent(record.permuted),
        record.permuted_p,
        record.cost,
        percent(record.share),
        record.common,
        record.information,
    )
    notes = (
        "Permuted: each image by the policy of another one, at the same cost. Policies: those of at least 1 % of the "
        f"images. Information between policy and class in nats, p = {record.information_p:.2g}. The controller takes "
        f"{percent(record.controller)} of the cost.",
    )
    return ResultTable("Instance-aware network", columns, (row,), notes)


def percent(share: float | None) -> str | None:
    """A share from 0 to 1 as tables and terminals write it."""
    return None if share is None else f"{100 * share:.2f} %"


def candidates_table(name: str, candidates: Sequence[Candidate]) -> ResultTable:
    """The most probable genotypes with probability and standard error, most probable first."""
    ordered = sorted(candidates, key=lambda candidate: -candidate.probability)
    rows = tuple(
        (rank, f"{one.probability:.3g} ± {one.standard_error:.2g}", one.genotype.compact())
        for rank, one in enumerate(ordered, 1)
    )
    return ResultTable(f"Most probable genotypes: {name}", ("rank", "probability", "genotype"), rows)


def undecided_table(genotypes: Mapping[str, Sequence[UndecidedEdge]]) -> ResultTable:
    """Edges of each genotype whose two best primitives are close, with their probabilities."""
    rows: list[tuple[Value, ...]] = []
    for name, edges in genotypes.items():
        for edge in edges:
            where = f"{edge.predecessor} → {edge.node}"
            best, runner_up = map(primitive_label, (edge.best, edge.runner_up))
            first, second = (f"{p:.3f}" for p in edge.probabilities)
            rows.append((name, edge.cell_type, where, best, first, runner_up, second))
    columns = ("genotype", "cell", "edge", "best", "probability", "runner-up", "its probability")
    return ResultTable("Undecided edges", columns, tuple(rows))


def facts(info: RunInfo) -> list[tuple[str, str]]:
    """What run.json says, as (name, text), for the header of the report."""
    return [("kind", info.kind), *origin(info.started)]


def origin(started: Provenance) -> list[tuple[str, str]]:
    """Where a result came from, as (name, text)."""
    machine = started.machine
    parts = [machine.cpu]
    parts += [f"{machine.cores} cores"] if machine.cores else []
    parts += [f"{machine.memory_bytes / 2**30:.0f} GiB memory"] if machine.memory_bytes else []
    found = [
        ("created", started.created),
        ("commit", started.commit),
        ("command", started.command),
        ("machine", ", ".join([*parts, *machine.gpus])),
        ("versions", ", ".join(f"{name} {version}" for name, version in started.versions.items() if version)),
    ]
    return [(name, text) for name, text in found if text]
