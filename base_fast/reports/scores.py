"""From what searches found to the tables that a reader wants: mean, interval, rank, what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, median, stdev
from typing import Any

from base_fast.experiments.findings import Finding
from base_fast.experiments.intervals import student_interval
from base_fast.experiments.published_cells import SOURCE
from base_fast.experiments.strategy_comparison import ComparedStrategies
from base_fast.objectives import Quantity
from base_fast.reports.tables import ResultTable, Value

MIB = 2**20


def strategy_tables(compared: ComparedStrategies) -> list[ResultTable]:
    """For each judging column what the strategies found, and beside the baseline; then what it cost."""
    if not compared.findings:
        return []
    tables = []
    for column in compared.columns:
        tables.append(_found(compared, column))
        if compared.baseline:
            tables.append(_beside(compared, column))
    return [*tables, _cost(compared)]


def scores(compared: ComparedStrategies) -> list[dict[str, Any]]:
    """A row for each strategy and column, as JSON."""
    return [
        {
            "strategy": name,
            "column": column.name,
            "mean": fmean(values),
            "deviation": stdev(values) if len(values) > 1 else 0.0,
            "interval": student_interval(values),
            "median_rank": median(one.places[column.name].rank for one in found),
            "found": [
                {
                    "seed": one.seed,
                    "genotype": one.genotype,
                    "value": one.places[column.name].value,
                    "rank": one.places[column.name].rank,
                    "expected": one.expected.get(column.name),
                    "skips": one.skips,
                }
                for one in found
            ],
        }
        for column in compared.columns
        for name, found in groups(compared.findings)
        for values in [_values(found, column)]
    ]


def _found(compared: ComparedStrategies, column: Quantity) -> ResultTable:
    rows = [_row(name, found, column) for name, found in groups(compared.findings)]
    rows += [_row(f"published: {name}", found, column) for name, found in groups(compared.published)]
    unit = f" ({column.unit})" if column.unit else ""
    columns = ("strategy", f"mean ± sd{unit}", "95 %", "median rank", "top %", f"E_π{unit}", "skips")
    asked = f"{compared.queries} queries of {compared.query}, judged by {column.name}"
    notes = [
        f"The genotype of each search, by {column.name} among {compared.genotypes:,}; a uniform one has "
        f"{compared.means.get(column.name, float('nan')):.2f} on average. 95 %: interval of the mean, Student's t over "
        "the seeds. Top %: share of strictly better genotypes, the median.",
        "E_π: mean over genotypes drawn from the search's last distribution, by enumeration. Skips: skip connections "
        "of the genotype, on average.",
    ]
    counts = ", ".join(f"{name} {len(found)}" for name, found in groups(compared.findings))
    notes.append(f"Seeds: {counts}.")
    if compared.steps:
        steps = ", ".join(f"{name} {count:,}" for name, count in compared.steps.items())
        notes.append(f"Steps of the supernet's weights: {steps}.")
    if compared.published:
        notes.append(f"Published cells: {SOURCE}.")
    if compared.failed:
        notes.append("Failed: " + "; ".join(f"{name}: {why}" for name, why in compared.failed.items()))
    return ResultTable(asked, columns, tuple(rows), tuple(notes))


def _row(name: str, found: Sequence[Finding], column: Quantity) -> tuple[Value, ...]:
    values, places = _values(found, column), [one.places[column.name] for one in found]
    interval = student_interval(values)
    expected = [one.expected[column.name] for one in found if column.name in one.expected]
    skips = [one.skips for one in found if one.skips is not None]
    return (
        name,
        _spread(values),
        None if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}",
        f"{median(place.rank for place in places):g}",
        f"{median(place.percentile for place in places):.2f}",
        _spread(expected) if expected else None,
        f"{fmean(skips):.1f}" if skips else None,
    )


def _beside(compared: ComparedStrategies, column: Quantity) -> ResultTable:
    """Differences from the baseline, seed by seed; positive is better."""
    base = {one.seed: one.places[column.name].value for one in compared.of(compared.baseline)}
    rows: list[tuple[Value, ...]] = []
    for name, found in groups(compared.findings):
        gains = [column.sign * (one.places[column.name].value - base[one.seed]) for one in found if one.seed in base]
        if name == compared.baseline or not gains:
            continue
        interval = student_interval(gains)
        better = sum(gain > 0 for gain in gains)
        told = None if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
        rows.append((name, f"{fmean(gains):+.2f}", told, f"{better} of {len(gains)}"))
    title = f"Better than {compared.baseline} by, in {column.name}, seed by seed"
    unit = f" ({column.unit})" if column.unit else ""
    return ResultTable(title, ("strategy", f"mean{unit}", "95 %", "better in"), tuple(rows))


def _cost(compared: ComparedStrategies) -> ResultTable:
    rows: list[tuple[Value, ...]] = []
    for name, found in groups(compared.findings):
        costs = [one.cost for one in found if one.cost is not None]
        peak = [cost.peak_bytes / MIB for cost in costs if cost.peak_bytes]
        spent = {unit: fmean(one.spent.get(unit, 0.0) for one in found) for unit in found[0].spent}
        rows.append(
            (
                name,
                fmean(cost.cpu_seconds for cost in costs),
                fmean(cost.wall_seconds for cost in costs),
                f"{fmean(peak):,.0f}" if peak else None,
                ", ".join(f"{count:,.0f} {unit}" for unit, count in spent.items()),
            )
        )
    notes = (
        "Means over the seeds. Memory: what the process of a search took at most beyond what it held before; look-ups "
        "share one process, whose memory says nothing. A query of a table stands for a training that others paid.",
    )
    return ResultTable("What a search took", ("strategy", "CPU s", "s", "peak MiB", "spent"), tuple(rows), notes)


def groups(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    """Findings by strategy, in order."""
    found: dict[str, list[Finding]] = {}
    for one in findings:
        found.setdefault(one.strategy, []).append(one)
    return list(found.items())


def _values(found: Sequence[Finding], column: Quantity) -> list[float]:
    return [one.places[column.name].value for one in found]


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
