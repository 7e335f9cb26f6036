"""Rewards and fronts on tables: do searches keep limits, follow weights, and find larger fronts than random ones?

    python -m benchmarks.tradeoffs limits --accuracy data/nasbench201/accuracy.csv.gz \\
        --costs data/nasbench201/latency.csv.gz --cost pixel3,1080ti_1,gold_6240 --json runs/limits.json
    python -m benchmarks.tradeoffs mixed  (the same options)
    python -m benchmarks.tradeoffs fronts (the same options; --strategies random,nsga2,dpp_net)

Every search sees the column `--query` of the accuracies, and a cost. `limits`: a hard limit at the quartiles of each
cost; the accuracy (`--judge`) of the best genotype within it, beside the best of the table within it, and the share of
the last 30 queries that keep it. `mixed`: rewards with weights from 0.1 to 0.9 of the accuracy; the mean accuracy and
cost of the last 30 queries, and the hypervolume of all weights' genotypes together beside as many random ones.
`fronts`: the hypervolume of what was measured as a share of that of the whole table, from the cost's 95th percentile
and `--floor` of the accuracy. Several costs joined by + are goals together (params+flops). What connects nothing
is left out of fronts.

Seeds are 0 to `--seeds` − 1; intervals are 95 % of the mean by bootstrap, of differences seed by seed. Searches whose
rows the JSON holds already are not run again, so that a run which was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.experiments.intervals import mean_interval
from base_fast.objectives import Limit, Quantity, RewardConfig, Rewarded, Table, Term, Together, hypervolume
from base_fast.random import key
from base_fast.runs import Clock, atomic_write
from base_fast.space import get_any
from base_fast.space.connected import connected
from base_fast.strategies import AskTell, AskTellConfig, AskTellSearch
from base_fast.strategies.strategy import Weighing

QUARTILES = (0.25, 0.5, 0.75)
LAST = 30
WEIGHTS = tuple(i / 10 for i in range(1, 10))


class Case:
    """Accuracies and the columns of one cost (or of several, joined by +), of all genotypes that both tables have."""

    def __init__(self, given: Any, cost: str) -> None:
        space = get_any(given.space)
        self.query, self.judge, self.floor, self.costs = given.query, given.judge, given.floor, cost.split("+")
        columns = [Quantity(name, "larger", "%") for name in dict.fromkeys((self.query, self.judge))]
        self.accuracy = Table.read(given.accuracy, space, columns, given.genotypes)
        costs = [Quantity(name, "smaller", "") for name in self.costs]
        self.cost = Table.read(given.costs, space, costs, given.genotypes)
        self.objective = Together([self.accuracy, self.cost])
        self.goals = (self.query, *self.costs)
        self.reference = [self.floor, *(-self.cost.values.quantile(0.95, dim=0)).tolist()]

    @cached_property
    def all_values(self) -> Tensor:
        """(N, Q) of the objective."""
        return self.objective.measure(self.accuracy.choices, key(0)).values

    def column(self, values: Tensor, name: str) -> Tensor:
        return values[:, [quantity.name for quantity in self.objective.quantities].index(name)]

    def volume(self, choices: Tensor, values: Tensor) -> float:
        """Hypervolume of genotypes (n, T, E) with values (n, Q)."""
        good = torch.from_numpy(connected(choices.numpy(), self.accuracy.space))
        goals = torch.stack([self.column(values, name) for name in self.goals], dim=1)
        goals[:, 1:] *= -1.0
        return hypervolume(goals[good], self.reference)

    @cached_property
    def whole(self) -> float:
        return self.volume(self.accuracy.choices, self.all_values)


def measured(strategy: AskTell[Any], objective: Any, queries: int, seed: int, **options: Any) -> tuple[Tensor, Tensor]:
    """The choices and values of a search."""
    process = AskTellSearch(strategy, objective, queries, key(seed), **options)
    state = process.start(Clock()).state
    for _ in range(queries):
        state = process.step(state, Clock()).state
    return state.choices, state.values


def limits(case: Case, strategy: AskTell[Any], queries: int, seed: int) -> dict[str, list[float]]:
    """By quartile: accuracy within the limit as a share (%) of the best of the table, and of the last queries the share
    that keeps it."""
    found = {}
    for quartile in QUARTILES:
        bound = float(case.cost.values[:, 0].quantile(quartile))
        limited = Rewarded(case.objective, RewardConfig((Term(case.query),), (Limit(case.costs[0], bound),)))
        values = measured(strategy, limited, queries, seed)[1]
        kept = case.column(values[:, 1:], case.costs[0]) <= bound
        judged = case.column(values[:, 1:], case.judge)
        best = judged[values[:, 0].argmax()].item() if bool(kept.any()) else 0.0
        within = case.column(case.all_values, case.costs[0]) <= bound
        top = case.column(case.all_values, case.judge)[within].max().item()
        found[f"{quartile:g}"] = [best, 100.0 * best / top, kept[-LAST:].double().mean().item()]
    return found


def mixed(case: Case, strategy: AskTell[Any], queries: int, seed: int) -> dict[str, list[float]]:
    """By weight: mean accuracy and cost of the last queries. "all": hypervolume of all weights, and of random ones."""
    found, choices, values = {}, [], []
    worst = -case.reference[1]
    for weight in WEIGHTS:
        terms = (Term(case.query, weight), Term(case.costs[0], 1.0 - weight, worst, 0.0))
        # The same draws at every weight would make one search of nine.
        z, v = measured(
            strategy, Rewarded(case.objective, RewardConfig(terms)), queries, 1000 * seed + int(weight * 10)
        )
        choices.append(z)
        values.append(v[:, 1:])
        last = v[-LAST:, 1:]
        found[f"{weight:g}"] = [case.column(last, name).mean().item() for name in case.goals]
    z, v = measured(AskTellConfig().random, case.objective, queries * len(WEIGHTS), seed)
    ours = case.volume(torch.cat(choices), torch.cat(values))
    found["all"] = [ours / case.whole, case.volume(z, v) / case.whole]
    return found


def fronts(case: Case, strategy: AskTell[Any], queries: int, seed: int) -> dict[str, list[float]]:
    """Share of the table's hypervolume, and the best accuracy (judge) by the accuracy that was seen."""
    free = tuple(case.costs) if isinstance(strategy, Weighing) else ()
    choices, values = measured(strategy, case.objective, queries, seed, goals=case.goals, free=free)
    best = case.column(values, case.judge)[case.column(values, case.query).argmax()].item()
    return {"volume": [case.volume(choices, values) / case.whole], "best": [best]}


STUDIES: dict[str, Any] = {"limits": limits, "mixed": mixed, "fronts": fronts}
DEFAULTS = {"limits": "random,reinforce,evolution", "mixed": "reinforce", "fronts": "random,nsga2,dpp_net"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--accuracy", type=Path, required=True, help="table of genotypes and accuracies")
    parser.add_argument("--costs", type=Path, required=True, help="table of genotypes and costs, smaller is better")
    parser.add_argument("--cost", required=True, help="columns of costs, separated by commas; + joins goals")
    parser.add_argument("--query", default="cifar10_valid", help="column that searches see")
    parser.add_argument("--judge", default="cifar10_test", help="column that they are judged by")
    parser.add_argument("--space", default="nas_bench_201")
    parser.add_argument("--genotypes", default="arch", help="column of the genotypes")
    parser.add_argument("--floor", type=float, default=50.0, help="accuracy from which hypervolumes count")
    parser.add_argument("--strategies", help="names of strategies that see values, the first is the baseline")
    parser.add_argument("--lr", type=float, help="rate of reinforce, if not its own")
    parser.add_argument("--queries", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    given: Any = parser.parse_args(arguments)
    try:
        return run(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(given: Any) -> int:
    config = AskTellConfig()
    if given.lr is not None:
        config = replace(config, reinforce=replace(config.reinforce, lr=given.lr))
    names = (given.strategies or DEFAULTS[given.study]).split(",")
    for name in names:
        if not hasattr(config, name):
            raise InputError(f"strategies: got {name!r}, expected strategies that see values")
    rows: dict[str, Any] = json.loads(given.json.read_text()) if given.json and given.json.exists() else {}
    costs = given.cost.split(",")
    cases = {cost: Case(given, cost) for cost in costs}
    for seed in range(given.seeds):
        for cost in costs:
            for name in names:
                at = f"{given.study}/{given.queries}/{cost}/{name}/{seed}"
                if at not in rows:
                    rows[at] = STUDIES[given.study](cases[cost], getattr(config, name), given.queries, seed)
                    if given.json is not None:
                        atomic_write(given.json, json.dumps(rows, indent=0).encode())
    for cost in costs:
        print(f"{cost}: {given.queries} queries, {given.seeds} seeds")
        found = {
            name: [rows[f"{given.study}/{given.queries}/{cost}/{name}/{seed}"] for seed in range(given.seeds)]
            for name in names
        }
        for figure in found[names[0]][0]:
            for name in names:
                told = []
                for i in range(len(found[name][0][figure])):
                    own = [one[figure][i] for one in found[name]]
                    first = [one[figure][i] for one in found[names[0]]]
                    low, high = mean_interval(own)
                    text = f"{fmean(own):.4g} ({low:.4g} – {high:.4g})"
                    if name != names[0]:
                        low, high = mean_interval([a - b for a, b in zip(own, first, strict=True)])
                        text += f" [{low:+.3g} – {high:+.3g}]"
                    told.append(text)
                print(f"  {figure:8}{name:12}{'   '.join(told)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
