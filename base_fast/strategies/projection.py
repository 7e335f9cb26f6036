"""Selection by perturbation: the cell is what a trained supernet can least do without, not what it weighs most."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.objectives.objective import added
from base_fast.objectives.shared_training import SharedTraining
from base_fast.objectives.shared_weights import path_scores
from base_fast.random import fold_in, generator
from base_fast.runs import Clock, Step
from base_fast.space import Genotype, Space
from base_fast.space.derivation import read, readable
from base_fast.strategies.collapse import skip_connections
from base_fast.strategies.packing import pack, unpack
from base_fast.strategies.strategy import Result

if TYPE_CHECKING:
    from base_fast.strategies.one_shot import GradientSearch, GradientState

# What stands for the primitive of an edge that is not yet decided, and of one that its node does not keep.
OPEN, DROPPED = -1, -2
# The tuning begins at this share of the search's learning rate, as the source's does.
LR_SHARE = 0.1


@dataclass(frozen=True)
class Projection:
    """DARTS-PT: after the search, edge by edge in random order, each primitive is removed in turn, and the one without
    which the rest of the supernet does worst on validation images is the edge's. Where a node keeps some edges only,
    those whose removal hurts least go then, one by one, node by node in random order. The weights are tuned between.

    Each stage decides one edge, or node, of every cell type. What is left of an edge is not scaled up. By accuracy;
    equal ones by loss. The edge logits stay as the search left them.

    Source: Wang, Cheng, Chen, Tang, Hsieh, "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021: 5
    epochs of 25,000 images between, all validation images; and its code: a fresh momentum, a tenth of the learning
    rate.
    """

    tuning: int = 1950
    """Steps of the weights between two stages."""
    images: int | None = None
    """The largest number of validation images of a removal; all if unset."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.tuning < 0:
            raise InputError(f"tuning: got {self.tuning}, expected an integer ≥ 0")
        if self.images is not None and self.images < 1:
            raise InputError(f"images: got {self.images}, expected an integer ≥ 1")


class Item(NamedTuple):
    """A step of the selection.

    primitive: measure edge `place` of a cell type without its primitive number `option` of those it may get; edge:
    measure node `place` without the edge number `option` of those it still has; after the last of `options`, decide.
    tune: a step of the weights. measure: the supernet as it is.
    """

    kind: Literal["primitive", "edge", "tune", "measure"]
    cell: int = 0
    place: int = 0
    option: int = 0
    options: int = 0


class ProjectionState(NamedTuple):
    """chosen: (T, E) int64, the primitive of every edge, or OPEN or DROPPED; scores: (n, 2) float64, accuracy (a share)
    and loss of the removals since the last decision; steps of the selection done; steps of them that tuned; what was
    measured after each stage."""

    chosen: Tensor
    scores: Tensor
    step: int
    tuned: int
    history: list[dict[str, Any]]


class ProjectedState(NamedTuple):
    """The search, whose weights are tuned on, and the selection once it has begun."""

    searched: GradientState
    projected: ProjectionState | None


class ProjectedSearch:
    """A gradient-based search with a selection by perturbation after it.

    Args:
        search: ready to run; its supernet is one of mixtures.
        settings: how long the weights are tuned, and what is measured.
        key: of the order, and of the batches of the tuning.
    """

    unit = "step"
    seconds = None

    def __init__(self, search: GradientSearch, settings: Projection, key: Tensor) -> None:
        self.search, self.settings, self.space = search, settings, search.supernet.space
        self.plan = _plan(self.space, search.supernet.used_cell_types, settings.tuning, fold_in(key, 0))
        training = search.settings.training
        lr = training.lr * LR_SHARE
        tunes = sum(item.kind == "tune" for item in self.plan)
        training = replace(training, steps=max(tunes, 1), lr=lr, lr_min=min(lr, training.lr_min))
        self.tuning = SharedTraining(search.supernet, search.task.train, training, fold_in(key, 1))

    @property
    def total(self) -> int:
        """The most steps that there can be: the search may stop early."""
        return self.search.total + len(self.plan)

    def start(self, clock: Clock) -> Step[ProjectedState]:
        step = self.search.start(clock)
        return Step(ProjectedState(step.state, None), step.row)

    def step(self, state: ProjectedState, clock: Clock) -> Step[ProjectedState]:
        if state.projected is not None:
            return self._project(state.searched, state.projected)
        step = self.search.step(state.searched, clock)
        searched, projected = step.state, None
        if step.stopped is not None or searched.step == self.search.total:
            projected = self._begun()
            searched = searched._replace(momentum=torch.zeros_like(searched.momentum))
        return Step(ProjectedState(searched, projected), step.row, shown=step.shown)

    def z(self, state: ProjectedState) -> Tensor:
        """(T, E, L), on the CPU: decided edges run one primitive or none, with the weight that the edge has (1 but for
        PC-DARTS), the others what the search mixes."""
        z = self.search.settings.mean(self.space, state.searched.variables).detach().clone()
        if state.projected is not None:
            chosen = state.projected.chosen
            fixed = F.one_hot(chosen.clamp(min=0), z.shape[-1]).to(z) * ((chosen >= 0) * z.sum(dim=-1)).unsqueeze(-1)
            z = torch.where((chosen == OPEN).unsqueeze(-1), z, fixed)
        return z

    def genotype(self, state: ProjectedState) -> Genotype:
        """The cell by what is decided; by magnitude, where something is open."""
        return read(self.z(state).double().numpy(), self.space)

    def result(self, state: ProjectedState) -> Result:
        found, projected = self.search.result(state.searched), state.projected
        if projected is None:
            return found
        valid = self.search.task.valid
        removals = sum(item.kind in ("primitive", "edge") for item in self.plan[: projected.step])
        measured = len(projected.history) * valid.at_most(self.search.settings.images)
        images = removals * valid.at_most(self.settings.images) + measured
        return replace(
            found,
            genotype=self.genotype(state),
            history=[*found.history, *projected.history],
            spent=added(found.spent, {"training steps": float(projected.tuned), "images": float(images)}),
        )

    def pack(self, state: ProjectedState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return pack(state)

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> ProjectedState:
        like = self.start(Clock()).state
        if "projected" not in header:  # it is there as None as long as there is none
            like = like._replace(projected=self._begun())
        return unpack(like, tensors, header)

    def _begun(self) -> ProjectionState:
        shape = (len(self.space.cell_types), self.space.num_edges)
        chosen = torch.full(shape, OPEN, dtype=torch.int64, device="cpu")
        return ProjectionState(chosen, torch.empty(0, 2, dtype=torch.float64, device="cpu"), 0, 0, [])

    def _project(self, searched: GradientState, projected: ProjectionState) -> Step[ProjectedState]:
        item, state = self.plan[projected.step], ProjectedState(searched, projected)
        projected = projected._replace(step=projected.step + 1)
        stopped = "selected" if projected.step == len(self.plan) else None
        z = self.z(state)
        if item.kind == "tune":
            step = self.tuning.step(searched.theta, searched.momentum, z.to(searched.theta), projected.tuned, False)
            searched = searched._replace(theta=step.theta, momentum=step.momentum)
            projected = projected._replace(tuned=projected.tuned + 1)
            return Step(ProjectedState(searched, projected), step.row, shown={"loss": step.loss})
        if item.kind == "measure":
            accuracy, loss = self._scores(searched.theta, z, self.search.settings.images)
            row = self._measured(ProjectedState(searched, projected), accuracy, loss)
            projected = projected._replace(history=[*projected.history, row])
            after = ProjectedState(searched, projected)
            return Step(after, {"accuracy": accuracy, "skips": row["skips"]}, stopped=stopped)
        parts = self._removable(item, projected.chosen)
        z[parts[item.option]] = 0.0
        accuracy, loss = self._scores(searched.theta, z, self.settings.images)
        scores = torch.cat((projected.scores, torch.tensor([[accuracy, loss]], dtype=torch.float64, device="cpu")))
        projected = projected._replace(scores=scores)
        if item.option + 1 == item.options:
            projected = self._decided(item, projected, parts)
        return Step(ProjectedState(searched, projected), {"without": accuracy}, shown={"without": accuracy})

    def _scores(self, theta: Tensor, z: Tensor, images: int | None) -> tuple[float, float]:
        valid = self.search.task.valid
        return path_scores(self.search.supernet, theta, z.to(theta), valid, False, images)

    def _removable(self, item: Item, chosen: Tensor) -> list[tuple[int, ...]]:
        """What of z (T, E, L) an item's options remove: entries, or edges."""
        if item.kind == "primitive":
            return [(item.cell, item.place, l) for l in readable(self.space).tolist()]
        edges = self.space.incoming(item.place)
        return [(item.cell, edge) for edge in edges if int(chosen[item.cell, edge]) != DROPPED]

    def _decided(self, item: Item, projected: ProjectionState, parts: list[tuple[int, ...]]) -> ProjectionState:
        """The worst loss (of the network, without it) keeps a primitive; the least one drops an edge."""
        chosen, scores = projected.chosen.clone(), projected.scores.tolist()
        by_harm = sorted(range(len(parts)), key=lambda i: (scores[i][0], -scores[i][1]))
        if item.kind == "primitive":
            chosen[item.cell, item.place] = parts[by_harm[0]][2]
        else:
            chosen[parts[by_harm[-1]]] = DROPPED
        return projected._replace(chosen=chosen, scores=projected.scores[:0])

    def _measured(self, state: ProjectedState, accuracy: float, loss: float) -> dict[str, Any]:
        genotype = self.genotype(state)
        return {
            "step": state.searched.step + (0 if state.projected is None else state.projected.step),
            "values": {"accuracy": 100.0 * accuracy, "loss": loss},
            "skips": skip_connections(genotype),
            "derived": genotype.compact(),
        }


def _plan(space: Space, used: tuple[str, ...], tuning: int, key: Tensor) -> list[Item]:
    """All steps of a selection, in order; of a cell type that no layer has, nothing is decided."""
    cells = [space.cell_types.index(name) for name in used]
    stages = [
        [item for cell, edge in zip(cells, edges, strict=True) for item in _primitives(space, cell, edge)]
        for edges in _orders(range(space.num_edges), cells, fold_in(key, 0))
    ]
    crowded = [u for u in space.node_numbers if space.arity is not None and len(space.incoming(u)) > space.arity]
    stages += [
        [item for cell, node in zip(cells, nodes, strict=True) for item in _edges(space, cell, node)]
        for nodes in _orders(crowded, cells, fold_in(key, 1))
    ]
    plan = []
    for number, stage in enumerate(stages):
        last = number + 1 == len(stages)
        plan += [*stage, *[Item("tune")] * (0 if last else tuning), Item("measure")]
    return plan


def _orders(places: range | list[int], cells: list[int], key: Tensor) -> list[tuple[int, ...]]:
    """Which place of each cell type comes at each stage: a permutation for every one."""
    orders = []
    for cell in cells:
        order = torch.randperm(len(places), generator=generator(fold_in(key, cell)), device="cpu").tolist()
        orders.append([places[i] for i in order])
    return list(zip(*orders, strict=True))


def _primitives(space: Space, cell: int, edge: int) -> list[Item]:
    count = len(readable(space))
    return [Item("primitive", cell, edge, option, count) for option in range(count)]


def _edges(space: Space, cell: int, node: int) -> list[Item]:
    """As many rounds as edges go, each with one less."""
    rounds = range(len(space.incoming(node)), space.arity or 0, -1)
    return [Item("edge", cell, node, option, count) for count in rounds for option in range(count)]
