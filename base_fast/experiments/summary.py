"""From the measurements of all seeds to the tables that a reader wants."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from base_fast.experiments.config import CompareConfig

Record = dict[str, Any]
Table = dict[str, Any]

ROWS = {"prior": "adapted from the prior", "scratch": "searched from scratch", "random": "random genotype"}


def summarize(config: CompareConfig, records: Sequence[Record]) -> list[Table]:
    """Two tables in the form of `results.json`: the three ways of getting a genotype, and the ranks among random ones.

    Args:
        records: one per seed: "prior" and "scratch" (searches), "networks" (trained genotypes by name), "meta_seconds".
    """
    return [_ways(config, records), _ranks(records)]


def _ways(config: CompareConfig, records: Sequence[Record]) -> Table:
    budget = config.adapt.budget.steps or 0
    early = _early_step(records)
    rows = []
    for kind, label in ROWS.items():
        networks = _networks(records, kind)
        searches = [record[kind] for record in records if kind in record]
        rows.append(
            [
                label,
                steps([s["steps_to"] for s in searches], budget) if searches else "–",
                percent([_accuracy_at(s, early) for s in searches]) if searches else "–",
                percent([s["accuracy"] for s in searches]) if searches else "–",
                percent([n["accuracy"] for n in networks]),
                steps([n["steps_to"] for n in networks], None),
                f"{fmean(n['parameters'] for n in networks) / 1e3:,.0f} k",
                f"{fmean(n['macs'] for n in networks) / 1e6:,.1f} M",
            ]
        )
    return {
        "title": config.title,
        "columns": [
            "genotype",
            f"search steps to {config.search_accuracy:.0%}",
            f"search accuracy after {early} steps",
            f"search accuracy after {budget} steps",
            "accuracy of the trained network",
            f"training steps to {config.network_accuracy:.0%}",
            "parameters",
            "MACs",
        ],
        "rows": rows,
        "target_accuracy": config.search_accuracy,
        "notes": [
            f"Mean ± standard deviation over {len(records)} seeds; accuracies on the target's validation images.",
            f"Meta-training took {fmean(r['meta_seconds'] for r in records):,.0f} s per seed, a search "
            f"{fmean(r[k]['seconds'] for r in records for k in ('prior', 'scratch')):,.0f} s.",
            *_ratio(records),
        ],
    }


def _ratio(records: Sequence[Record]) -> list[str]:
    """How many times fewer steps the prior needs, where both searches arrived."""
    pairs = [(r["prior"]["steps_to"], r["scratch"]["steps_to"]) for r in records]
    arrived = [(a, b) for a, b in pairs if a and b]
    listed = ", ".join(f"{a if a is not None else '–'}/{b if b is not None else '–'}" for a, b in pairs)
    note = f"Search steps, prior/scratch, by seed: {listed}."
    if arrived:
        share = fmean(a for a, _ in arrived) / fmean(b for _, b in arrived)
        note += f" The prior needs {share:.0%} of the steps."
    return [note]


def _ranks(records: Sequence[Record]) -> Table:
    pool = sorted((n["accuracy"] for n in _networks(records, "random")), reverse=True)
    rows = []
    for record in records:
        for kind in ("prior", "scratch"):
            for network in _networks([record], kind):
                accuracy = network["accuracy"]
                better = sum(other > accuracy for other in pool)
                sds = (accuracy - fmean(pool)) / stdev(pool) if len(pool) > 1 and stdev(pool) > 0 else None
                rows.append(
                    [
                        ROWS[kind],
                        record["seed"],
                        f"{100 * accuracy:.1f} %",
                        f"{better + 1} of {len(pool) + 1}",
                        "–" if sds is None else f"{sds:+.1f}",
                    ]
                )
    return {
        "title": "Derived networks among the random ones",
        "columns": ["genotype", "seed", "accuracy", "rank", "standard deviations from the random mean"],
        "rows": rows,
        "notes": [f"Random genotypes: {', '.join(f'{100 * a:.1f}' for a in pool)} %; mean ± sd {percent(pool)}."],
    }


def _networks(records: Sequence[Record], kind: str) -> list[Record]:
    return [n for record in records for name, n in record["networks"].items() if name.startswith(kind)]


def _early_step(records: Sequence[Record]) -> int:
    """The evaluated step nearest to ten, where the prior should already show."""
    steps_seen = [int(row["step"]) for row in records[0]["prior"]["history"]]
    return min(steps_seen, key=lambda step: (abs(step - 10), step))


def _accuracy_at(search: Record, step: int) -> float:
    return next(float(row["accuracy"]) for row in search["history"] if row["step"] == step)


def percent(shares: Sequence[float]) -> str:
    """Shares as "12.3 ± 0.4 %"."""
    if len(shares) < 2:
        return f"{100 * shares[0]:.1f} %"
    return f"{100 * fmean(shares):.1f} ± {100 * stdev(shares):.1f} %"


def steps(counts: Sequence[int | None], budget: int | None) -> str:
    """Step counts as "12 ± 3", and how many never arrived."""
    arrived = [count for count in counts if count is not None]
    missing = len(counts) - len(arrived)
    if not arrived:
        return f"> {budget}" if budget else "never"
    text = f"{fmean(arrived):.0f}" + (f" ± {stdev(arrived):.0f}" if len(arrived) > 1 else "")
    return text + (f" ({missing} of {len(counts)} never)" if missing else "")
