"""Meta-training on a cluster from Python, by submitit (pip install 'base-fast[slurm]').

    python examples/submit_imagenet.py --nodes 8 --gpus 8 -- --config examples/imagenet.toml --run runs/imagenet

What follows `--` are options of `base-fast meta-train`. Each process is a task of slurm's; a job that is preempted or
runs out of time is submitted again, and goes on to the same bits. `--cluster local` runs the processes on this machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission, TorchDistributedEnvironment


@dataclass
class MetaTraining:
    """One process of the job."""

    words: list[str]

    def __call__(self) -> int:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        # After the environment, which says which process this is.
        from base_fast.cli import main

        status = main(["meta-train", "--resume", *self.words])
        if status:
            raise SystemExit(status)
        return status

    def checkpoint(self) -> DelayedSubmission:
        """What submitit submits when the job is preempted or out of time: the same, from the last checkpoint."""
        return DelayedSubmission(self)


def submit(words: Sequence[str], given: argparse.Namespace) -> Any:
    """Submit the job; returns it at once."""
    executor = submitit.AutoExecutor(folder=given.logs, cluster=given.cluster)
    executor.update_parameters(
        name="base-fast",
        nodes=given.nodes,
        tasks_per_node=max(given.gpus, 1) if given.processes is None else given.processes,
        gpus_per_node=given.gpus,
        cpus_per_task=given.cpus,
        timeout_min=60 * given.hours,
        **({"slurm_partition": given.partition} if given.partition else {}),
    )
    return executor.submit(MetaTraining(list(words)))


def main(arguments: Sequence[str]) -> int:
    before = list(arguments[: arguments.index("--")]) if "--" in arguments else list(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=0, help="of a node")
    parser.add_argument("--processes", type=int, help="of a node; one for each GPU unless given")
    parser.add_argument("--cpus", type=int, default=8, help="of a process")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--partition", default="")
    parser.add_argument("--logs", default="runs/submitit")
    parser.add_argument("--cluster", default=None, help="slurm or local; found out unless given")
    given = parser.parse_args(before)
    job = submit(arguments[len(before) + 1 :], given)
    print(f"job {job.job_id}: logs in {given.logs}", flush=True)
    if given.cluster == "local":
        job.results()
        print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
