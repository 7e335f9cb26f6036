"""The study of a controller's hidden states, before and after a memory buffer: trained without it and with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from base_fast.arguments import whole_numbers
from base_fast.distributions import Controller, IndependentEdges, save_distribution
from base_fast.errors import InputError, Interrupted
from base_fast.experiments.hidden_states import Completed, ProbeConfig, States, completed, number, states
from base_fast.objectives import Quantity, Table, TableConfig
from base_fast.objectives.workers import one_thread
from base_fast.random import fold_in, key
from base_fast.runs import Clock, RunFolder, interruptible, progress
from base_fast.space import Space, get_any
from base_fast.strategies import AskTellSearch, Enas, search
from base_fast.strategies.memory import Memory
from base_fast.strategies.policy_gradient import load_controller

UNTRAINED, PLAIN, BUFFER, SAVED = "untrained", "plain", "buffer", "saved"
SAMPLES = 4096
_STUDY_SEED = 2_000_000  # of what is drawn to look at controllers; those of trainings are small


@dataclass(frozen=True)
class StudyConfig:
    """A study: controllers that are trained on a table without and with a memory buffer, fresh ones, and saved ones."""

    table: TableConfig = TableConfig()
    """The rewards: the first column."""
    space: str | Space = "nas_bench_201"
    """nas_bench_201, nas_bench_macro, darts, or one of your own: a `Space`, in a file a table of its fields."""
    enas: Enas = Enas()
    """The search; its memory is switched off for `plain`."""
    memory: Memory = Memory(weight=1.0)
    """The memory buffer of `buffer`."""
    queries: int = 500
    """Genotypes that each search may ask for."""
    seeds: int = 3
    """Searches without, and with the buffer; 0: only the saved controllers are studied."""
    saved: tuple[Path, ...] = ()
    """distribution.safetensors of searches with a controller in this space."""
    probe: ProbeConfig = ProbeConfig()

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.queries < 1:
            raise InputError(f"queries: got {self.queries}, expected an integer ≥ 1")
        if self.seeds < 0 or (self.seeds == 0 and not self.saved):
            raise InputError(f"seeds: got {self.seeds}, expected an integer ≥ 1, or some saved controllers")
        if self.memory.weight == 0.0:
            raise InputError("memory.weight: got 0, expected a number > 0: the study is of what a memory changes")


@dataclass(frozen=True)
class Examined:
    """A controller and what its states know.

    Attributes:
        group: untrained, plain, buffer, saved.
        seed: of its search; the number of a saved one.
        entropy: of the policy, in nats.
        reward: mean value of the genotypes that it draws.
        best: the best value that its search saw; None where none belongs to the study.
        completed: completions from equal states.
        uniform: its states on uniformly drawn genotypes, the same for all controllers.
        policy: its states on genotypes that it drew itself.
    """

    group: str
    seed: int
    entropy: float
    reward: float
    best: float | None
    completed: tuple[Completed, ...]
    uniform: States
    policy: States


@dataclass(frozen=True)
class ControllerStudy:
    """study.json."""

    reward: Quantity
    queries: int
    weight: float
    controllers: tuple[Examined, ...]

    def groups(self) -> dict[str, list[Examined]]:
        """Controllers by group, in the order in which they come."""
        found: dict[str, list[Examined]] = {}
        for one in self.controllers:
            found.setdefault(one.group, []).append(one)
        return found


def prepare(config: StudyConfig) -> tuple[Table, list[Controller]]:
    """The table, and the saved controllers, before there is a run folder.

    Raises:
        InputError: a file cannot be read, or a saved distribution is no controller of the space.
    """
    space = get_any(config.space)
    return config.table.open(space), [load_controller(path, space) for path in config.saved]


def study(
    config: StudyConfig, run: RunFolder, prepared: tuple[Table, list[Controller]] | None = None
) -> ControllerStudy:
    """Train and examine every controller that `run` does not hold yet; write and return what is in `study.json`.

    Args:
        prepared: what `prepare(config)` gave, if it was called before.

    Raises:
        Interrupted: SIGINT or SIGTERM; calling it again with the same run goes on, to the same bits.
        InputError: see `prepare`.
    """
    table, saved = prepared or prepare(config)
    names = [(group, seed) for seed in range(config.seeds) for group in (UNTRAINED, PLAIN, BUFFER)]
    names += [(SAVED, i) for i in range(len(saved))]
    found: list[Examined] = []
    with interruptible() as interruption, one_thread(), progress("controllers", len(names)) as bar:
        for group, seed in names:
            if interruption.requested:
                raise Interrupted(f"study: stopped after {len(found)} of {len(names)} controllers")
            name = f"{group}-seed{seed}"
            if not run.holds(f"controllers/{name}"):
                controller, best = (saved[seed], None) if group == SAVED else _trained(config, run, table, group, seed)
                run.write(f"controllers/{name}", _examined(config, table, controller, group, seed, best))
            found.append(run.read(f"controllers/{name}", Examined))
            bar.advance(1, controller=name)
            # After each one, so that a report of the first ones can be looked at while the others run.
            together = ControllerStudy(table.quantities[0], config.queries, config.memory.weight, tuple(found))
            run.write("study", together)
    return together


def _trained(
    config: StudyConfig, run: RunFolder, table: Table, group: str, seed: int
) -> tuple[Controller, float | None]:
    """A controller of the group, also kept as a file that searches can go on from, and the best value that it saw."""
    memory = config.memory if group == BUFFER else Memory()
    strategy = Enas(replace(config.enas.policy, memory=memory))
    process = AskTellSearch(strategy, table, config.queries, key(seed), (table.quantities[0].name,))
    if group == UNTRAINED:
        found, best = strategy.distribution(table.space, process.start(Clock()).state.strategy), None
    else:
        result = search(process, run, f"{group}-seed{seed}")
        found, best = result.distribution, result.history[-1]["best"]
    assert isinstance(found, Controller), "what the search ENAS leaves"
    save_distribution(run.path / f"controllers/{group}-seed{seed}.safetensors", found)
    return found, best


def _examined(
    config: StudyConfig, table: Table, controller: Controller, group: str, seed: int, best: float | None
) -> Examined:
    # The same draws for all controllers, and none of those of the searches.
    draws, n = key(_STUDY_SEED), number(config.probe)
    drawn = controller.sample(fold_in(draws, 0), SAMPLES)
    values = table.measure(drawn, draws).values[:, 0]
    return Examined(
        group,
        seed,
        controller.entropy().item(),
        values.mean().item(),
        best,
        completed(controller, config.probe, fold_in(draws, 1)),
        states(controller, IndependentEdges.uniform(table.space).sample(fold_in(draws, 2), n), config.probe, table),
        states(controller, controller.sample(fold_in(draws, 3), n), config.probe, table),
    )
