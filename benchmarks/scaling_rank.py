"""What each process of `benchmarks.scaling` does: its share of a meta-training, and exchanges without any work.

torchrun --nproc-per-node 2 -m benchmarks.scaling_rank FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from base_fast.engine import METER, Engine, launched
from base_fast.meta import MetaConfig, MetaTrainer
from base_fast.runs import RunFolder, to_dict
from base_fast.runs.storage import atomic_write
from base_fast.tasks import open_tasks
from benchmarks.meta_runs import SCALED, Watched, now

SIZES = (1_000, 4_000_000)
"""Floats of the vectors that are exchanged for the constants."""
EXCHANGES = 7


@dataclass(frozen=True)
class Shares:
    """Of a rank, over all iterations but the first."""

    iterations: int
    wall: float
    """Seconds, of which so many went to exchanging bytes, and to waiting for others."""
    cpu: float
    communication: float
    waiting: float


@dataclass(frozen=True)
class Scaled:
    """All ranks' shares, the floats of a task's gradient, and seconds of an exchange of vectors of the two `SIZES`."""

    ranks: tuple[Shares, ...]
    numbers: int
    exchanges: tuple[float, float]


def shares(meta: MetaConfig, folder: Path, engine: Engine) -> Shares:
    tasks = Watched(open_tasks(SCALED.tasks))
    with RunFolder.create(folder / "run", "meta-train", meta) as run:
        MetaTrainer(meta).fit(tasks, run=run)  # type: ignore[arg-type]
    # Where the second iteration's first task of this rank is drawn.
    second = meta.tasks // engine.world
    taken, before = now() - tasks.moments[second], tasks.spent[second]
    spent = {kind: METER.seconds[kind] - before[kind] for kind in before}
    return Shares(meta.iterations - 1, taken.wall, taken.cpu, spent["communication"], spent["waiting"])


def exchange(engine: Engine, size: int) -> float:
    """Seconds of a mean over as many tasks as ranks, of which nothing is computed; the fastest counts."""
    vector, seconds = torch.ones(size), []
    for _ in range(EXCHANGES):
        began = time.perf_counter()
        engine.mean(range(engine.world), lambda _: (vector, None))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main(folder: Path) -> int:
    with launched() as engine:
        meta = SCALED.meta
        ranks = engine.gather(shares(meta, folder, engine))
        prior = MetaTrainer(meta).initial()
        numbers = prior.mu.numel() + prior.rho.numel() + prior.alpha.numel()
        small, large = (exchange(engine, size) for size in SIZES)
        if engine.rank == 0:
            scaled = Scaled(tuple(ranks), numbers, (small, large))
            atomic_write(folder / "scaled.json", json.dumps(to_dict(scaled)).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
