"""What every search is: a resumable computation that ends in a distribution over genotypes and one genotype."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor

from base_fast.distributions import Distribution
from base_fast.objectives import Quantity
from base_fast.posterior import Posterior
from base_fast.runs import Resumable, RunFolder, run_loop
from base_fast.space import AnyGenotype, AnySpace
from base_fast.supernet import SupernetConfig
from base_fast.tasks import Task

S = TypeVar("S")
Settings = TypeVar("Settings", bound="OneShot")

# A query can be a whole training: what was paid for is soon saved.
SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass(frozen=True)
class Result:
    """What a search comes to, whichever it was.

    Attributes:
        distribution: over genotypes, as the search leaves it.
        genotype: its choice.
        quantities: what was measured; the first is what the search optimized.
        history: one row for each time that something was measured, in order: `step`, `values` by the name of the
            quantity, and, where the search knows them, `genotype` (its text) and `best` (the best value so far).
        spent: what it cost, by unit.
        posterior: the weights that it trained and the edge logits that it learned, for BASE or another search to start
            from; None for a search without the one or the other.
        notes: what a reader should know of it, a sentence each.
    """

    distribution: Distribution
    genotype: AnyGenotype
    quantities: tuple[Quantity, ...]
    history: list[dict[str, Any]]
    spent: dict[str, float]
    posterior: Posterior | None = None
    notes: tuple[str, ...] = ()


class Strategy(Resumable[S], Protocol[S]):
    """A search in steps, ready to run: see `runs.Resumable` for start, step, pack and unpack.

    Attributes:
        unit: what a step is called, in the singular.
        total: steps to take; None if something else ends the search.
        seconds: wall-clock seconds to spend; None for no limit.
    """

    @property
    def unit(self) -> str: ...

    @property
    def total(self) -> int | None: ...

    @property
    def seconds(self) -> float | None: ...

    def result(self, state: S) -> Result:
        """What the search comes to at a state."""
        ...


class AskTell(ABC, Generic[S]):
    """A search that sees values only: which genotypes to measure next, and what follows from the values.

    An instance holds its settings, and all that changes is in the state, a NamedTuple of tensors, numbers and further
    such tuples (`packing.pack`); the three methods are pure functions.
    """

    goals: ClassVar[int | None] = 1
    """How many quantities it optimizes; None for any number."""

    @abstractmethod
    def start(self, space: AnySpace, key: Tensor) -> S:
        """The state before the first genotype; everything random derives from the key, which the state keeps."""

    @abstractmethod
    def ask(self, space: AnySpace, state: S) -> Tensor:
        """(n, T, E) int64 choices to measure, at least one."""

    @abstractmethod
    def tell(self, space: AnySpace, state: S, choices: Tensor, values: Tensor) -> S:
        """The state that knows the values (n, G) float64 of what was asked for; all are the larger the better."""

    @abstractmethod
    def distribution(self, space: AnySpace, state: S) -> Distribution:
        """Over genotypes, as the search sees them now."""

    def notes(self, state: S) -> tuple[str, ...]:
        """What a reader should know of the search, a sentence each."""
        return ()


class Weighing(AskTell[S]):
    """A search that looks at many genotypes before it asks for some: at what of them costs nothing to know."""

    @abstractmethod
    def candidates(self, space: AnySpace, state: S) -> Tensor:
        """(n, T, E) int64 choices to look at, at least one."""

    @abstractmethod
    def choose(self, space: AnySpace, state: S, candidates: Tensor, known: Tensor) -> Tensor:
        """(m, T, E) of the candidates to measure; known (n, G) float64 has their values in what is free, NaN in the
        other goals; all are the larger the better."""

    def ask(self, space: AnySpace, state: S) -> Tensor:
        """What it chooses where nothing is free; how many goals there are follows from what it was told."""
        raise NotImplementedError(f"{type(self).__name__} is asked for candidates, and told what is free of them")


class OneShot(ABC):
    """Settings of a search that trains a supernet's weights as well; `on` makes a strategy of them.

    Attributes:
        cycle: steps of the weights after which its work repeats: so many say how fast it is.
    """

    @property
    def cycle(self) -> int:
        return 1

    def lasting(self: Settings, steps: int) -> Settings:
        """The same search with so many steps of the weights; phases that are counted in steps keep their proportion.

        Raises:
            InputError: it cannot be that short.
        """
        training = replace(self.training, steps=steps)  # type: ignore[attr-defined]
        return replace(self, training=training)  # type: ignore[type-var]

    @abstractmethod
    def on(self, posterior: Posterior, task: Task, seed: int) -> Strategy[Any]:
        """The search on a task, ready to run.

        Args:
            posterior: where it starts: a saved one or a fresh prior, with whatever head.
            task: its training images move the weights; what its validation images are for, the search says.
            seed: of everything random.
        """

    def supernet(self, config: SupernetConfig) -> SupernetConfig:
        """The supernet that the search needs where it starts afresh, in place of the one that was asked for."""
        return config


def search(strategy: Strategy[S], run: RunFolder | None = None, name: str = "search") -> Result:
    """Run a search to its end; with a checkpoint of this name in `run`, from there on, to the same bits.

    Args:
        strategy: such as `AskTellSearch(Evolution(), objective, queries=150)`.
        run: where to log (phase `name`) and keep checkpoints.

    Raises:
        Diverged: a number that matters is NaN or infinite; the last checkpoint is kept.
        Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
    """
    finished = run_loop(
        strategy,
        name=name,
        unit=strategy.unit,
        total=strategy.total,
        seconds=strategy.seconds,
        run=run,
        checkpoint_seconds=SECONDS_BETWEEN_CHECKPOINTS,
    )
    return strategy.result(finished.state)
