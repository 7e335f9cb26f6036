"""`python -m benchmarks.scaling`: one meta-training on 1, 2 and 4 processes of one thread each, started by torchrun.

Seconds of a meta-iteration, what shares of them went to exchanging bytes and to waiting for other ranks, and the
speed-up. Where others are at work on the machine, or there are more processes than cores, the seconds of the wall say
little: beside them stand those that the busiest process was at work, which is what an iteration takes where every
process has a core to itself. The model's prediction has two constants, measured here with exchanges of vectors of which
nothing is computed, and the seconds of one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from base_fast.forecast import Cluster, Hardware, Work
from base_fast.runs import from_dict
from base_fast.runs.provenance import cpu_model
from benchmarks.meta_runs import SCALED
from benchmarks.scaling_rank import SIZES, Scaled

AIM = 1.8


@dataclass(frozen=True)
class Options:
    """Scaling over processes."""

    processes: tuple[int, ...] = (1, 2, 4)
    """How many, the first of them one."""


def scaled(processes: int) -> Scaled:
    """What so many processes measure."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [*launcher, "-m", "benchmarks.scaling_rank", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return from_dict(Scaled, json.loads((Path(folder) / "scaled.json").read_text()))


def hardware(found: Scaled, world: int) -> Hardware:
    """The constants with which `Cluster.communication` gives what exchanges took."""
    small, large = found.exchanges
    of_bytes = 2 * 4 * (SIZES[1] - SIZES[0]) * (world - 1) / world
    bandwidth = of_bytes / max(large - small, 1e-9)
    latency = max(small - of_bytes / (SIZES[1] - SIZES[0]) * SIZES[0] / bandwidth, 1e-7) / (3 * (world - 1))
    return Hardware(bandwidth=bandwidth, latency=latency)


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    tasks = SCALED.meta.tasks
    print(f"{cpu_model()}, {os.cpu_count()} cores; {SCALED.what}; {tasks} tasks of {SCALED.meta.inner_steps} steps")
    print("processes  s/iteration  at work  bytes  waiting  speed-up  at work  model")
    base_wall = base_cpu = 0.0
    for world in options.processes:
        found = scaled(world)
        first = found.ranks[0]
        wall = first.wall / first.iterations
        cpu = max(own.cpu for own in found.ranks) / first.iterations
        if world == options.processes[0]:
            base_wall, base_cpu = wall, cpu
        wire = hardware(found, world) if world > 1 else Hardware()
        model = Cluster(Work((base_cpu / tasks,) * tasks, found.numbers), world, wire)
        print(
            f"{world:9}  {wall:11.3f}  {cpu:7.3f}  {100 * first.communication / first.wall:4.1f} %"
            f"  {100 * first.waiting / first.wall:5.1f} %  {base_wall / wall:8.2f}  {base_cpu / cpu:7.2f}"
            f"  {model.speedup:5.2f}",
            flush=True,
        )
        if world > 1:
            print(
                f"           gloo: {wire.bandwidth / 1e9:.2f} GB/s, {1e6 * wire.latency:.0f} µs a message; "
                f"{model.sent / 2**20:.2f} MiB a rank and iteration"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
