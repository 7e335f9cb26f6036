"""From the measurements of all seeds to the tables that a reader wants."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from base_fast.experiments.config import CompareConfig

Record = dict[str, Any]
Table = dict[str, Any]

KINDS = {"prior": "adapted from the prior", "scratch": "searched from scratch", "random": "random genotype"}
NOTHING = "–"


def summarize(config: CompareConfig, records: Sequence[Record]) -> list[Table]:
    """Two tables in the form of `results.json`: the three ways to a genotype, and the ranks among random ones.

    Args:
        records: one per seed: "prior" and "scratch" (searches), "networks" (trained genotypes by name), "meta_seconds".
    """
    return [_ways(config, records), _ranks(records)]


def _ways(config: CompareConfig, records: Sequence[Record]) -> Table:
    budget = config.adapt.budget.steps or 0
    early = _early_step(records)
    columns = []
    for kind in KINDS:
        searches = [record[kind] for record in records if kind in record]
        networks = _networks(records, kind)
        columns.append(
            [
                steps([s["steps_to"] for s in searches], budget),
                percent([_accuracy_at(s, early) for s in searches]),
                percent([s["accuracy"] for s in searches]),
                percent([n["accuracy"] for n in networks]),
                steps([n["steps_to"] for n in networks], None),
                f"{fmean(n['parameters'] for n in networks) / 1e3:,.0f} k",
                f"{fmean(n['macs'] for n in networks) / 1e6:,.1f} M",
            ]
        )
    labels = [
        f"search steps to {config.search_accuracy:.0%}",
        f"search accuracy, {early} steps",
        f"search accuracy, {budget} steps",
        "trained network's accuracy",
        f"training steps to {config.network_accuracy:.0%}",
        "parameters",
        "MACs",
    ]
    meta = fmean(record["meta_seconds"] for record in records)
    search = fmean(record[kind]["seconds"] for record in records for kind in ("prior", "scratch"))
    return {
        "title": config.title,
        "columns": ["", *KINDS.values()],
        "rows": [list(row) for row in zip(labels, *columns, strict=True)],
        "target_accuracy": config.search_accuracy,
        "notes": [
            f"Mean ± standard deviation, {_count(len(records), 'seed')}; accuracy on the target's validation images.",
            f"Meta-training took {meta:,.0f} s per seed, a search {search:,.0f} s.",
            _ratio(records),
        ],
    }


def _ratio(records: Sequence[Record]) -> str:
    """How many times fewer steps the prior needs, where both searches arrived."""
    pairs = [(record["prior"]["steps_to"], record["scratch"]["steps_to"]) for record in records]
    listed = ", ".join("/".join(NOTHING if count is None else str(count) for count in pair) for pair in pairs)
    note = f"Search steps, prior/scratch, by seed: {listed}."
    arrived = [(a, b) for a, b in pairs if a is not None and b]
    if arrived:
        share = sum(a for a, _ in arrived) / sum(b for _, b in arrived)
        note += f" The prior needs {share:.0%} of the steps."
    return note


def _ranks(records: Sequence[Record]) -> Table:
    pool = sorted((network["accuracy"] for network in _networks(records, "random")), reverse=True)
    spread = stdev(pool) if len(pool) > 1 else 0.0
    rows = []
    for record in records:
        for kind in ("prior", "scratch"):
            for network in _networks([record], kind):
                accuracy = network["accuracy"]
                rank = 1 + sum(other > accuracy for other in pool)
                distance = f"{(accuracy - fmean(pool)) / spread:+.1f}" if spread > 0.0 else NOTHING
                rows.append([KINDS[kind], record["seed"], percent([accuracy]), f"{rank} of {len(pool) + 1}", distance])
    return {
        "title": "Derived networks among the random ones",
        "columns": ["genotype", "seed", "accuracy", "rank", "sd's above the random mean"],
        "rows": rows,
        "notes": [f"Random genotypes: {', '.join(f'{100 * a:.1f}' for a in pool)} %; mean ± sd {percent(pool)}."],
    }


def _networks(records: Sequence[Record], kind: str) -> list[Record]:
    return [n for record in records for name, n in record["networks"].items() if name.startswith(kind)]


def _early_step(records: Sequence[Record]) -> int:
    """The evaluated step nearest to ten, where the prior should already show."""
    evaluated = [int(row["step"]) for row in records[0]["prior"]["history"]]
    return min(evaluated, key=lambda step: (abs(step - 10), step))


def _accuracy_at(search: Record, step: int) -> float:
    return next(float(row["accuracy"]) for row in search["history"] if row["step"] == step)


def percent(shares: Sequence[float]) -> str:
    """Shares as "12.3 ± 0.4 %"."""
    if not shares:
        return NOTHING
    spread = f" ± {100 * stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{100 * fmean(shares):.1f}{spread} %"


def steps(counts: Sequence[int | None], budget: int | None) -> str:
    """Step counts as "12 ± 3", and how many never arrived within the budget."""
    arrived = [count for count in counts if count is not None]
    missing = len(counts) - len(arrived)
    if not counts:
        return NOTHING
    if not arrived:
        return f"> {budget}" if budget else "never"
    spread = f" ± {stdev(arrived):.0f}" if len(arrived) > 1 else ""
    return f"{fmean(arrived):.0f}{spread}" + (f" ({missing} of {len(counts)} never)" if missing else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
