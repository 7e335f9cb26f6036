"""`python -m benchmarks.cluster_plan`: what the cost model says of ImageNet meta-search on 8, 64 and 1024 GPUs.

Nothing here was measured on a GPU. What a GPU takes, and how fast its network is, are assumptions, named below and
printed; images of a batch, the floats of a gradient and the model itself are this package's.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import cycle, islice

import tyro

from base_fast.forecast import Cluster, Hardware, Work
from base_fast.supernet import Supernet


@dataclass(frozen=True)
class Plan:
    """Meta-training on 10-way tasks of ImageNet at 64 and 224 pixels in turn, on single paths."""

    gpus: tuple[int, ...] = (8, 64, 1024)
    tasks: tuple[int, ...] = (64, 1024)
    """Tasks of a meta-iteration."""
    inner_steps: int = 200
    batch_size: int = 64
    cells: int = 24
    """Cells of a task's draw, each with `own_steps` steps of its own."""
    own_steps: int = 30
    step: float = 0.010
    """Assumed: seconds of a GPU for a step of one path; some 1,500 kernels of a few µs each, whatever the batch."""
    scores: float = 0.3
    """Assumed: seconds of a GPU for the scores of a cell's untrained networks, and its shared loss."""
    images: tuple[float, float] = (0.085e-3, 1.10e-3)
    """Measured: seconds of a CPU core for an augmented image of 64 and of 224 pixels on its way into a batch."""
    bandwidth: float = 12.5e9
    """Assumed: bytes per second between GPUs, 100 Gbit/s each."""
    latency: float = 20e-6
    """Assumed: seconds of a message."""

    @property
    def parts(self) -> tuple[dict[str, float], ...]:
        """Seconds of a task by what they go to, for each resolution."""
        taken = self.inner_steps + self.cells * self.own_steps
        return tuple(
            {
                "steps": self.inner_steps * self.step,
                "cells": self.cells * (self.own_steps * self.step + self.scores),
                "batches": taken * self.batch_size * image,
            }
            for image in self.images
        )

    def cluster(self, gpus: int, tasks: int) -> Cluster:
        """The model, with the floats of a gradient of the published search network's size."""
        supernet = Supernet("darts", 16, 8, 10, ("64", "224"))
        numbers = 2 * supernet.layout.numel + len(supernet.space.cell_types) * (
            supernet.space.num_edges * supernet.space.num_primitives
        )
        costs = [sum(parts.values()) for parts in self.parts]
        return Cluster(
            Work(tuple(islice(cycle(costs), tasks)), numbers), gpus, Hardware(1.0, self.bandwidth, self.latency)
        )


def main() -> int:
    plan = tyro.cli(Plan, description=__doc__)
    for resolution, parts in zip((64, 224), plan.parts, strict=True):
        told = ", ".join(f"{seconds:.1f} s {what}" for what, seconds in parts.items())
        print(f"a task at {resolution} pixels: {sum(parts.values()):.1f} s ({told})")
    print("GPUs  tasks  rounds  s/iteration  MiB sent  communication  at work  speed-up  bottleneck")
    for gpus in plan.gpus:
        for tasks in plan.tasks:
            one = plan.cluster(gpus, tasks)
            print(
                f"{gpus:4}  {tasks:5}  {len(one.rounds):6}  {one.seconds:11.1f}  {one.sent / 2**20:8.1f}  "
                f"{100 * one.communication / one.seconds:11.2f} %  {100 * one.busy:5.0f} %  {one.speedup:8.1f}  "
                f"{one.bottleneck}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
