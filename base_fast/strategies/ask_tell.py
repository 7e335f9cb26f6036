"""A search that sees values only, on an objective: a query a step, answered once for each genotype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.objectives import Objective, Together
from base_fast.objectives.objective import added
from base_fast.random import advance, fold_in
from base_fast.runs import Clock, Step
from base_fast.space import compact, decode
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.strategy import AskTell, Result, Weighing

S = TypeVar("S")


class AskTellState(NamedTuple):
    """strategy: its own state. asked: (a, T, E), what it waits for; the last of the queries belong to it.
    choices (m, T, E), values (m, Q), costs (m, K): of all queries. looked (K',): what looking at candidates cost."""

    strategy: Any
    asked: Tensor
    choices: Tensor
    values: Tensor
    costs: Tensor
    looked: Tensor
    waiting: int


class AskTellSearch(Generic[S]):
    """An `AskTell` strategy on an objective.

    A query is a genotype that the strategy asks for, whether it was asked for before or not. A repeated one counts like
    any other, but it is answered with the value of the first time and costs nothing: `spent` has "queries" and
    "genotypes" (the different ones). What a strategy asks for at once, it is told at once; a step measures one of them.

    Args:
        strategy: such as `Evolution()`.
        objective: what a genotype is worth.
        queries: how many genotypes it may ask for.
        key: of everything random.
        goals: names of the quantities that the strategy optimizes; the first of the objective when not given. The
            others are measured and recorded.
        free: names of quantities that cost nothing to know, for a strategy that looks at them before it asks
            (`Weighing`); they have parts of the objective to themselves.

    Raises:
        InputError: a goal that the objective does not measure, another number of goals than the strategy takes, a free
            quantity that does not come alone, or an objective whose values are comparable within one call only:
            genotypes are measured one by one.
    """

    unit = "query"
    seconds = None

    def __init__(
        self,
        strategy: AskTell[S],
        objective: Objective,
        queries: int,
        key: Tensor,
        goals: Sequence[str] = (),
        free: Sequence[str] = (),
    ) -> None:
        queries = integer("queries", queries, 1)
        if objective.relative:
            raise InputError(
                "objective: got evidence, whose values are comparable among genotypes measured at once, expected an "
                "objective that judges each by itself: this search measures one at a time"
            )
        self.strategy, self.objective, self.total = strategy, objective, queries
        # At once, so that what a strategy cannot start with is said before there is a run folder.
        self._started = strategy.start(objective.space, fold_in(key, 0))
        self._measuring_key = fold_in(key, 1)
        names = [quantity.name for quantity in objective.quantities]
        self.goals = tuple(goals) or (names[0],)
        for goal in self.goals:
            if goal not in names:
                raise InputError(f"goals: got {goal!r}, expected some of {', '.join(names)}")
        if strategy.goals is not None and len(self.goals) != strategy.goals:
            raise InputError(
                f"goals: got {', '.join(self.goals)} for {type(strategy).__name__}, which optimizes {strategy.goals}"
            )
        self._columns = [names.index(goal) for goal in self.goals]
        signs = [quantity.sign for quantity in objective.quantities]
        self._signs = torch.tensor(signs, dtype=torch.float64, device="cpu")[self._columns]
        self._free = self._parts(free)

    def start(self, clock: Clock) -> Step[AskTellState]:
        space, objective = self.objective.space, self.objective
        none = torch.empty(0, len(space.cell_types), space.num_edges, dtype=torch.int64, device="cpu")
        values, costs = (
            torch.empty(0, len(x), dtype=torch.float64, device="cpu") for x in (objective.quantities, objective.costs)
        )
        looked = torch.zeros(sum(len(part.costs) for part in self._free), dtype=torch.float64, device="cpu")
        return Step(AskTellState(self._started, none, none, values, costs, looked, 0))

    def step(self, state: AskTellState, clock: Clock) -> Step[AskTellState]:
        space, strategy = self.objective.space, self.strategy
        number = len(state.choices)
        if state.waiting == 0:
            asked, looked = self._ask(state, number)
            state = state._replace(asked=asked, waiting=len(asked), looked=state.looked + looked)
        chosen = state.asked[len(state.asked) - state.waiting].unsqueeze(0)
        known = (state.choices == chosen).flatten(1).all(dim=1).nonzero()
        if len(known):
            values, costs = state.values[known[0]], torch.zeros_like(state.costs[known[0]])
        else:
            values, costs = self.objective.measure(chosen, advance(self._measuring_key, number))
        state = state._replace(
            choices=torch.cat((state.choices, chosen)),
            values=torch.cat((state.values, values)),
            costs=torch.cat((state.costs, costs)),
            waiting=state.waiting - 1,
        )
        if state.waiting == 0:
            told = state.values[-len(state.asked) :, self._columns] * self._signs
            state = state._replace(strategy=strategy.tell(space, state.strategy, state.asked, told))
        row = self._row(state, number) | {"repeated": bool(len(known))}
        shown = {goal: row["values"][goal] for goal in self.goals} | {"best": row["best"]}
        return Step(state, row, shown=shown)

    def result(self, state: AskTellState) -> Result:
        spent = {"queries": float(len(state.choices)), "genotypes": float(len(torch.unique(state.choices, dim=0)))}
        spent |= self.objective.spent(state.costs)
        if self._free:
            spent = added(spent, Together(self._free).spent(state.looked.unsqueeze(0)))
        return Result(
            self.strategy.distribution(self.objective.space, state.strategy),
            decode(state.choices[self._best(state)].numpy(), self.objective.space),
            tuple(sorted(self.objective.quantities, key=lambda quantity: quantity.name != self.goals[0])),
            [{"step": i + 1} | self._row(state, i) for i in range(len(state.choices))],
            spent,
            notes=self.strategy.notes(state.strategy),
        )

    def pack(self, state: AskTellState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, header = pack(state)
        return tensors, header | {"search": self._identity()}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> AskTellState:
        if header.get("search") != self._identity():
            raise InputError(f"search: got {self._identity()}, expected {header.get('search')} as in the checkpoint")
        return unpack(self.start(Clock()).state, tensors, header)

    def _ask(self, state: AskTellState, number: int) -> tuple[Tensor, Tensor]:
        """What the strategy asks for next, and what it cost to look at candidates."""
        space, strategy = self.objective.space, self.strategy
        if not isinstance(strategy, Weighing):
            return strategy.ask(space, state.strategy), torch.zeros_like(state.looked)
        candidates = strategy.candidates(space, state.strategy)
        known = torch.full((len(candidates), len(self.goals)), torch.nan, dtype=torch.float64, device="cpu")
        looked = torch.zeros_like(state.looked)
        if self._free:
            parts = Together(self._free)
            found = parts.measure(candidates, fold_in(advance(self._measuring_key, number), 0))
            looked = found.costs.sum(dim=0)
            names = [quantity.name for quantity in parts.quantities]
            for i, goal in enumerate(self.goals):
                if goal in names:
                    known[:, i] = found.values[:, names.index(goal)] * self._signs[i]
        return strategy.choose(space, state.strategy, candidates, known), looked

    def _parts(self, free: Sequence[str]) -> list[Objective]:
        """The parts of the objective that measure what is free."""
        if free and not isinstance(self.strategy, Weighing):
            name = type(self.strategy).__name__
            raise InputError(f"free: got {', '.join(free)} for {name}, which looks at nothing before it asks")
        parts = self.objective.objectives if isinstance(self.objective, Together) else (self.objective,)
        names = [{quantity.name for quantity in part.quantities} for part in parts]
        for one in free:
            if not any(one in found and found <= set(free) for found in names):
                raise InputError(
                    f"free: got {one!r}, expected a quantity of the objective, with all that is measured along with it"
                )
        return [part for part, found in zip(parts, names, strict=True) if found <= set(free)]

    def _identity(self) -> str:
        return f"{self.strategy!r} for {', '.join(self.goals)} in {self.objective.space.name}"

    def _best(self, state: AskTellState, queries: int | None = None) -> int:
        """Of the first so many queries, the one with the best value of the first goal; the earliest of equal ones."""
        return int((state.values[:queries, self._columns[0]] * self._signs[0]).argmax())

    def _row(self, state: AskTellState, i: int) -> dict[str, Any]:
        names = [quantity.name for quantity in self.objective.quantities]
        return {
            "values": dict(zip(names, state.values[i].tolist(), strict=True)),
            "best": state.values[self._best(state, i + 1), self._columns[0]].item(),
            "genotype": compact(state.choices[i].numpy(), self.objective.space),
        }
