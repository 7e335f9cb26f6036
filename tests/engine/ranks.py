"""What each of several processes does in `test_ranks.py`: many checks in one launch, for a launch takes seconds.

    torchrun --nproc-per-node 4 -m tests.engine.ranks FOLDER

Worlds of 1, 2, 3 and 4 ranks are the first so many of the four; what they come to is compared with one process.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from base_fast import Adaptation, AdaptConfig, Budget, InputError, MetaConfig, MetaTrainer, adapt, train
from base_fast.engine import alone, current, launched, using
from base_fast.engine.distributed import Distributed
from base_fast.errors import Diverged, RankFailed
from base_fast.evaluation import NetworkConfig, TrainConfig
from base_fast.meta import (
    ArchitectureConfig,
    CellEvidenceConfig,
    InnerConfig,
    OuterConfig,
    PlayOffConfig,
    PlayOffRecord,
    Schedule,
    StepRule,
    play_off,
)
from base_fast.objectives import SharedTrainingConfig, Trained
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.space import Genotype, encode
from tests.meta import toys

NET = toys.supernet()
START = toys.prior(NET, dtype=torch.float32)
CONFIG = MetaConfig(
    inner=InnerConfig(z="soft", batch_size=4, mu=StepRule("sgd", 0.05), alpha=StepRule("sgd", 0.5), beta_theta=0.1),
    outer=OuterConfig("reptile", "adam", 0.05),
    iterations=2, tasks=5, inner_steps=2, warmup=1, noise=Schedule(1.0, 1.0), device="cpu", checkpoint_every=1,
)  # fmt: skip
EVIDENCE = CellEvidenceConfig(
    images=12,
    own=SharedTrainingConfig(steps=1, batch_size=8),
    fresh=SharedTrainingConfig(steps=1, batch_size=8),
    batch_size=4,
    network=NetworkConfig("cifar", channels=2, layers=2, device="cpu"),
)
CONFIGS = {
    "reptile": CONFIG,
    "first_order": replace(CONFIG, outer=OuterConfig("first_order", "sgd", 0.1)),
    "unrolled": replace(CONFIG, outer=OuterConfig("unrolled", "adam", 0.05, step_size_lr=0.1)),
}


class Unequal(toys.Tasks):
    """Tasks whose costs differ, as do those of different resolutions."""

    def cost(self, task_key: torch.Tensor) -> float:
        return float(int(task_key[0]) % 3)


class Stopped(Exception):
    """What ends a run between two iterations."""


def stop() -> None:
    raise Stopped("a cut")


@contextmanager
def world_of(worlds: dict[int, Distributed | None], size: int) -> Iterator[bool]:
    """The first ranks as an engine; False on the others."""
    engine = worlds[size]
    if engine is None:
        yield False
        return
    with using(engine):
        yield True


def fitted(config: MetaConfig, folder: Path | None = None, tasks: toys.Tasks | None = None) -> toys.Posterior:
    run = None if folder is None else RunFolder.create(folder, "meta-train", config, resume=True)
    try:
        return MetaTrainer(config, NET).fit(tasks or Unequal(), run=run, start=START)  # type: ignore[arg-type]
    finally:
        if run is not None:
            run.close()


def rows(folder: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if k not in ("time", "times")} for row in RunFolder.open(folder).rows()]


def same_for_every_world(worlds: dict[int, Distributed | None], folder: Path) -> None:
    for name, config in CONFIGS.items():
        with alone():
            whole = folder / f"{name}-alone-{dist.get_rank()}"
            expected = fitted(config, whole)
        for size in worlds if name == "unrolled" else (2, 3):
            with world_of(worlds, size) as member:
                if member:
                    found = fitted(config, folder / f"{name}-{size}")
                    assert toys.same_bits(found, expected), (name, size)
                    assert rows(folder / f"{name}-{size}") == rows_alone(whole), (name, size)


def rows_alone(folder: Path) -> list[dict[str, object]]:
    with alone():
        return rows(folder)


def adaptation_is_shared(worlds: dict[int, Distributed | None]) -> None:
    """Microbatches, measured cells, evaluations and a play-off: of one task, on several ranks."""
    task = toys.task(key(1), train=24, valid=15)
    inner = InnerConfig(
        batch_size=8, microbatches=4, architecture=ArchitectureConfig(cells=3, every=2), evidence=EVIDENCE
    )
    config = AdaptConfig(inner, Budget(steps=3), evaluate_every=2, device="cpu")

    def both() -> tuple[Adaptation, PlayOffRecord]:
        found = adapt(START, task, config)
        return found, play_off(found, task, PlayOffConfig(cells=2, neighbours=1, rounds=2, steps=1), config)

    with alone():
        expected, record = both()
    for size in (2, 3):
        with world_of(worlds, size) as member:
            if member:
                found, played = both()
                assert toys.same_bits(found.posterior, expected.posterior), size
                assert found.accuracy == expected.accuracy and played == record, size


def a_task_is_shared(worlds: dict[int, Distributed | None]) -> None:
    inner = replace(CONFIG.inner, microbatches=2)
    with alone():
        expected = fitted(replace(CONFIG, inner=inner))
    with world_of(worlds, 4) as member:
        if member:
            assert toys.same_bits(fitted(replace(CONFIG, inner=inner, ranks_per_task=2)), expected)


def training_is_shared(worlds: dict[int, Distributed | None], folder: Path) -> None:
    """Of a derived network: microbatches, running statistics, evaluation; and of several, as an objective."""
    task = toys.task(key(2), train=24, valid=15)
    genotype = Genotype.random(toys.TOY, 0)
    config = TrainConfig(steps=3, batch_size=8, microbatches=4, augmentation="none", log_every=1, checkpoint_every=1)
    choices = torch.from_numpy(np.stack([encode(Genotype.random(toys.TOY, i), toys.TOY) for i in range(3)]))

    def both(path: Path | None) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        small = NetworkConfig("cifar", channels=2, layers=2, device="cpu")
        network = small.build(genotype, 3, 0)
        run = None if path is None else RunFolder.create(path, "train", config, resume=True)
        train(network, task, config, run=run)
        judge = Trained(toys.TOY, task, small, replace(config, steps=1))
        return network.state_dict(), judge.measure(choices, key(3)).values

    with alone():
        expected, values = both(None)
    for size in (2, 3):
        with world_of(worlds, size) as member:
            if member:
                weights, measured = both(folder / f"train{size}")
                assert weights.keys() == expected.keys()
                assert all(torch.equal(x, expected[name]) for name, x in weights.items()), size
                assert torch.equal(measured, values), size


def same_after_a_cut_and_another_world(worlds: dict[int, Distributed | None], folder: Path) -> None:
    config = CONFIGS["unrolled"]
    with alone():
        expected = fitted(config)
    path = folder / "cut"
    for size, cut in ((2, 2), (3, 1), (4, None), (1, None)):
        with world_of(worlds, size) as member:
            if member:
                # Every rank draws its own tasks; the cut comes in the second iteration that it sees.
                tasks = Unequal() if cut is None else Unequal(at=cut, action=stop)
                if cut is None:
                    assert toys.same_bits(fitted(config, path, tasks), expected), size
                else:
                    with pytest.raises((Stopped, RankFailed), match="a cut"):
                        fitted(config, path, tasks)
        current().gather(None)


def errors_reach_all(engine: Distributed) -> None:
    def work(i: int) -> int:
        if i == 2:
            raise Diverged("task 2 is NaN")
        return i

    with pytest.raises(Diverged, match="task 2 is NaN"):
        engine.map(range(5), work)
    assert engine.map(range(5), lambda i: i * i) == [0, 1, 4, 9, 16]  # and all go on together

    def unknown(i: int) -> int:
        return {}[i]  # type: ignore[no-any-return]

    kind = KeyError if engine.rank == 0 else RankFailed
    with pytest.raises(kind):
        engine.map(range(2), unknown)
    with pytest.raises(InputError, match="no such file"):
        engine.first(lambda: (_ for _ in ()).throw(InputError("no such file")))
    with pytest.raises(Diverged, match="rank 3: lost" if engine.rank != 3 else "lost"):
        engine.mean(range(8), lambda i: (_ for _ in ()).throw(Diverged("lost")) if i == 3 else (torch.ones(3), i))


def values_travel_whole(engine: Distributed) -> None:
    long = {"rank": engine.rank, "x": torch.full((1000,), float(engine.rank)), "text": "ü" * engine.rank * 300}
    for rank, found in enumerate(engine.gather(long)):
        assert found["rank"] == rank and found["x"].eq(rank).all() and found["text"] == "ü" * rank * 300
    assert engine.first(lambda: "z" * 5000) == "z" * 5000
    assert engine.first(lambda: engine.rank) == 0
    with pytest.raises(AssertionError, match="another") if engine.rank == 0 else pytest.raises(RankFailed):
        engine.first(lambda: (_ for _ in ()).throw(AssertionError("another")))
    for size in (1, 2, 3, 5):  # vectors shorter than there are ranks, too
        mean, order = engine.mean(range(3), lambda i, n=size: (torch.arange(n) + float(i), i))
        assert mean.tolist() == [1.0 + k for k in range(size)] and order == [0, 1, 2]


def a_task_is_alone(engine: Distributed) -> None:
    assert set(engine.map(range(4), lambda i: current().world)) == {1}
    mesh = engine.mesh(2)
    assert mesh.world == 2
    # Two ranks share a task: their columns do the same, and rows agree within a task.
    assert mesh.map(range(3), lambda i: (current().world, current().map(range(2), lambda j: 10 * i + j))) == [
        (2, [10 * i, 10 * i + 1]) for i in range(3)
    ]
    assert engine.mesh(4).map([7], lambda i: current().gather(i)) == [[7] * 4]
    with pytest.raises(InputError, match="ranks_per_task: got 3"):
        engine.mesh(3)


def different_states_are_seen(engine: Distributed, folder: Path) -> None:
    mine = replace(START, mu=START.mu + (1e-7 if engine.rank == 2 else 0.0))
    with pytest.raises(RankFailed, match="rank 2 holds another state than rank 0"):
        MetaTrainer(CONFIG, NET).fit(toys.Tasks(), start=mine)  # type: ignore[arg-type]
    other = replace(CONFIG, seed=engine.rank // 3)
    with pytest.raises(InputError, match=r"rank [03] differs from rank [0-3] in seed"):
        RunFolder.create(folder / "unequal", "meta-train", other)


def main(folder: Path) -> None:
    warnings.simplefilter("ignore", UserWarning)
    with launched() as engine:
        assert isinstance(engine, Distributed)
        worlds: dict[int, Distributed | None] = {}
        for size in (1, 2, 3):
            group = dist.new_group(list(range(size)))
            inside = engine.rank < size
            worlds[size] = Distributed(group, range(size), engine.watch, engine.timeout) if inside else None
        worlds[4] = engine
        checks: list[Callable[[], None]] = [
            lambda: values_travel_whole(engine),
            lambda: a_task_is_alone(engine),
            lambda: errors_reach_all(engine),
            lambda: same_for_every_world(worlds, folder),
            lambda: adaptation_is_shared(worlds),
            lambda: a_task_is_shared(worlds),
            lambda: training_is_shared(worlds, folder),
            lambda: same_after_a_cut_and_another_world(worlds, folder),
            lambda: different_states_are_seen(engine, folder),
        ]
        for check in checks:
            check()
            engine.gather(None)
    if engine.rank == 0:
        print("all checks passed")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
