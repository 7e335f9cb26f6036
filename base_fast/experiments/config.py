"""What a comparison is, as data."""

from __future__ import annotations

from dataclasses import dataclass

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig, TrainConfig
from base_fast.meta import AdaptConfig, MetaConfig, PlayOffConfig, Rule
from base_fast.objectives import TableConfig
from base_fast.tasks import TargetConfig, TaskConfig


@dataclass(frozen=True)
class CompareConfig:
    """Meta-train, adapt, derive, train: against the same search from scratch, and against random genotypes."""

    title: str = "Prior against scratch against random"
    """Heading of the table and the report."""
    meta: MetaConfig = MetaConfig()
    tasks: TaskConfig = TaskConfig()
    """Tasks that the prior is learned from."""
    target: TargetConfig = TargetConfig()
    """The data set that it is adapted to."""
    adapt: AdaptConfig = AdaptConfig()
    """The search on the target, the same from the prior and from scratch."""
    rule: Rule = "play_off"
    """How a genotype is derived: by a play-off of the most probable cells, or read off q(z)."""
    play_off: PlayOffConfig = PlayOffConfig()
    """Rounds of the play-off."""
    tables: tuple[TableConfig, ...] = ()
    """Benchmark tables of the space's cells: none of the stages sees them; derived and random cells are placed in each
    of their columns, and so are cells sampled from the prior and the posteriors."""
    network: NetworkConfig = NetworkConfig()
    train: TrainConfig = TrainConfig()
    """How derived and random genotypes are trained, all alike."""
    seeds: int = 3
    """Repetitions: seed 0, 1, ... of meta-training, both searches, random genotypes and trainings."""
    random_genotypes: int = 1
    """Random genotypes per seed."""
    search_accuracy: float = 0.8
    """Validation accuracy of the supernet to which search steps are counted."""
    network_accuracy: float = 0.8
    """Validation accuracy of the trained networks to which training steps are counted."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("seeds", "random_genotypes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")
        budget = self.adapt.budget
        if budget.steps is None or budget.seconds is not None or budget.entropy_tolerance is not None:
            raise InputError("adapt.budget: expected a number of steps alone: both searches take equally many")
        for name in ("search_accuracy", "network_accuracy"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise InputError(f"{name}: got {getattr(self, name)}, expected a share in (0, 1]")
