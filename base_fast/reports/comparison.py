"""From the results of a comparison to the tables that a reader wants."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev

from base_fast.reports.tables import ResultTable
from base_fast.runs.artefacts import WAYS, Compared, Searched, TrainedNetwork, Way, steps_to

IN_WORDS: dict[Way, str] = {
    "prior": "adapted from the prior",
    "scratch": "searched from scratch",
    "random": "random genotype",
}
NOTHING = "–"


def comparison_tables(compared: Compared) -> list[ResultTable]:
    """The three ways to a genotype, and the ranks of the derived genotypes among random ones."""
    return [_ways(compared), _ranks(compared)]


def _ways(compared: Compared) -> ResultTable:
    seeds, budget = compared.seeds, compared.search_steps
    early = _early_step(seeds[0].prior)
    columns = []
    for way in WAYS:
        searches = _searches(compared, way)
        networks = _networks(compared, way)
        columns.append(
            [
                steps([steps_to(s.history, compared.search_accuracy) for s in searches], budget),
                percent([_accuracy_at(s, early) for s in searches]),
                percent([s.accuracy for s in searches]),
                percent([n.accuracy for n in networks]),
                steps([steps_to(n.history, compared.network_accuracy) for n in networks], None),
                f"{fmean(n.parameters for n in networks) / 1e3:,.0f} k",
                f"{fmean(n.macs for n in networks) / 1e6:,.1f} M",
            ]
        )
    labels = [
        f"search steps to {compared.search_accuracy:.0%}",
        f"search accuracy, {early} steps",
        f"search accuracy, {budget} steps",
        "trained network's accuracy",
        f"training steps to {compared.network_accuracy:.0%}",
        "parameters",
        "MACs",
    ]
    meta = fmean(seed.meta.seconds for seed in seeds)
    search = fmean(found.seconds for way in WAYS for found in _searches(compared, way))
    notes = (
        f"Mean ± standard deviation, {_count(len(seeds), 'seed')}; accuracy on the target's validation images.",
        f"Meta-training took {meta:,.0f} s per seed, a search {search:,.0f} s.",
        _ratio(compared),
    )
    return ResultTable(compared.title, ("", *IN_WORDS.values()), tuple(zip(labels, *columns, strict=True)), notes)


def _ratio(compared: Compared) -> str:
    """How many times fewer steps the prior needs, where both searches arrived."""
    target = compared.search_accuracy
    pairs = [(steps_to(s.prior.history, target), steps_to(s.scratch.history, target)) for s in compared.seeds]
    listed = ", ".join("/".join(NOTHING if count is None else str(count) for count in pair) for pair in pairs)
    note = f"Search steps, prior/scratch, by seed: {listed}."
    arrived = [(a, b) for a, b in pairs if a is not None and b]
    if arrived:
        share = sum(a for a, _ in arrived) / sum(b for _, b in arrived)
        note += f" The prior needs {share:.0%} of the steps."
    return note


def _ranks(compared: Compared) -> ResultTable:
    pool = sorted((network.accuracy for network in _networks(compared, "random")), reverse=True)
    spread = stdev(pool) if len(pool) > 1 else 0.0
    rows = []
    for seed in compared.seeds:
        for way in WAYS[:2]:
            for network in seed.networks[way]:
                accuracy = network.accuracy
                rank = 1 + sum(other > accuracy for other in pool)
                distance = f"{(accuracy - fmean(pool)) / spread:+.1f}" if spread > 0.0 else NOTHING
                rows.append((IN_WORDS[way], seed.seed, percent([accuracy]), f"{rank} of {len(pool) + 1}", distance))
    return ResultTable(
        "Derived networks among the random ones",
        ("genotype", "seed", "accuracy", "rank", "z-score"),
        tuple(rows),
        (
            f"Random genotypes: {', '.join(f'{100 * a:.1f}' for a in pool)} %; mean ± sd {percent(pool)}.",
            "z-score: distance from the mean of the random genotypes, in their standard deviations.",
        ),
    )


def _searches(compared: Compared, way: Way) -> list[Searched]:
    return [] if way == "random" else [getattr(seed, way) for seed in compared.seeds]


def _networks(compared: Compared, way: Way) -> list[TrainedNetwork]:
    return [network for seed in compared.seeds for network in seed.networks[way]]


def _early_step(search: Searched) -> int:
    """The evaluated step nearest to ten, where the prior should already show."""
    return min((row.step for row in search.history), key=lambda step: (abs(step - 10), step))


def _accuracy_at(search: Searched, step: int) -> float:
    return next(row.accuracy for row in search.history if row.step == step)


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
