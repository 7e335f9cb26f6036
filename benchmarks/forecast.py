"""`python -m benchmarks.forecast`: what `base-fast forecast` says of small meta-trainings, and what then happens.

Each is forecast, and then run in a process of its own, with run folder, metrics and checkpoints. Seconds of the process
are compared, which others on the machine lengthen little, and those of the wall beside them. The first iteration of a
run, in which libraries and data are read, is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from base_fast.forecast import Cost, Forecast
from base_fast.meta import MetaTrainer
from base_fast.runs import RunFolder, from_dict, to_dict
from base_fast.runs.provenance import cpu_model
from base_fast.tasks import TaskDistribution
from benchmarks.meta_runs import RUNS, MetaRun, Truth, measured

MIB = 2**20
AIM = 0.1


@dataclass(frozen=True)
class Options:
    """Forecast against truth."""

    only: tuple[str, ...] = tuple(RUNS)
    """Which meta-trainings."""


def expected(forecast: Forecast, truth: Truth) -> Cost:
    """The mean of the iterations after the first, of the resolutions that they drew."""
    meta = forecast.meta
    drawn = truth.resolutions[meta.tasks :]
    tasks = [
        forecast.parts[resolution].task(warm=1 + i // meta.tasks >= meta.warmup) for i, resolution in enumerate(drawn)
    ]
    return sum(tasks, Cost()) / (len(drawn) / meta.tasks)


def lines(name: str, run: MetaRun) -> list[str]:
    forecast = Forecast.of(run.meta, run.tasks)
    command = [sys.executable, "-m", "benchmarks.forecast", "truth", name]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    truth = from_dict(Truth, json.loads(done.stdout.splitlines()[-1]))
    taken = sum(truth.iterations[1:], Cost()) / (len(truth.iterations) - 1)
    said = expected(forecast, truth)
    pairs = {
        "memory, MiB": (forecast.memory() / MIB, truth.memory / MIB),
        "CPU s an iteration": (said.cpu, taken.cpu),
        "s an iteration": (said.wall, taken.wall),
    }
    shown = [f"{name}: {run.what}"]
    for what, (forecast_of, true) in pairs.items():
        off = forecast_of / true - 1.0
        verdict = "" if abs(off) <= AIM else "  more than 10 % off"
        shown.append(f"  {what:<20} forecast {forecast_of:9.3g}   truth {true:9.3g}   {100 * off:+5.1f} %{verdict}")
    return shown


def truth_of(name: str) -> Truth:
    run = RUNS[name]

    def fit(trainer: MetaTrainer, tasks: TaskDistribution) -> object:
        with (
            tempfile.TemporaryDirectory() as folder,
            RunFolder.create(Path(folder) / "run", "meta-train", run.meta) as own,
        ):
            return trainer.fit(tasks, run=own)

    return measured(run, fit)


def main() -> int:
    if sys.argv[1:2] == ["truth"]:
        print(json.dumps(to_dict(truth_of(sys.argv[2]))))
        return 0
    options = tyro.cli(Options, description=__doc__)
    print(f"{cpu_model()}, {torch.get_num_threads()} threads")
    for name in options.only:
        for line in lines(name, RUNS[name]):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
