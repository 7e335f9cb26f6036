"""`python -m benchmarks.precision`: what bfloat16 activations save in memory, cost in time, and do to accuracy.

Every line is a fresh process. Memory is what it holds at most during steps, less what it holds before them, pages of
files aside. Time is seconds of the process, the median of some steps. Accuracy is that on validation images after an
adaptation or a training, on scikit-learn's digits at 16 pixels, the mean and the range of three seeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median

import torch
import tyro
from torch.nn import functional as F

from base_fast.evaluation import NetworkConfig, TrainConfig, train
from base_fast.meta import AdaptConfig, Budget, InnerConfig, StepRule, adapt
from base_fast.meta.adapt import Adapting
from base_fast.ops import autocast
from base_fast.ops.autocast import PRECISIONS, Precision
from base_fast.random import key
from base_fast.runs.memory import PeakMemory
from base_fast.runs.provenance import cpu_model
from base_fast.space import genotypes
from base_fast.supernet import Supernet
from base_fast.tasks import SourceConfig, TargetConfig, Task, open_target

BATCH, STEPS, SEEDS = 64, 5, 3
MIB = 2**20
SUPERNETS = {
    "mixtures": (Supernet("darts", 16, 4), InnerConfig(z="soft", batch_size=BATCH)),
    # The weights alone learn, on cells drawn uniformly.
    "paths": (
        Supernet("nas_bench_201", 16, 5),
        InnerConfig(batch_size=BATCH, uniform=1.0, alpha=StepRule("sgd", 0.0)),
    ),
}
WHAT = {
    "mixtures": "mixtures of DARTS's space, 16 channels, 4 cells",
    "paths": "single paths of NAS-Bench-201's space, 16 channels, 5 blocks",
    "network": "a derived network of 16 channels, 5 cells",
}


@dataclass(frozen=True)
class Options:
    """bfloat16 against float32."""

    only: tuple[str, ...] = tuple(WHAT)
    """What computes."""
    steps: int = 60
    """Steps of an adaptation or a training; 0 measures no accuracies."""


@dataclass(frozen=True)
class Work:
    """A step by its number, and an accuracy after so many steps with a seed; none of weights that no cell owns."""

    step: Callable[[int], object]
    accuracy: Callable[[int, int], float] | None


def supernet(what: str, task: Task, precision: Precision) -> Work:
    net, inner = SUPERNETS[what]
    posterior = net.prior(key(0))

    def config(steps: int, seed: int) -> AdaptConfig:
        return AdaptConfig(
            inner, Budget(steps=steps), evaluate_every=0, evaluate_images=256, precision=precision, seed=seed
        )

    loop = Adapting.of(posterior, task, config(1, 0)).loop
    state = loop.start()
    return Work(
        lambda step: loop.step(state._replace(step=step)),
        (lambda steps, seed: adapt(posterior, task, config(steps, seed)).accuracy) if inner.z == "soft" else None,
    )


def network(task: Task, precision: Precision) -> Work:
    settings = NetworkConfig(channels=16, layers=5)
    net = settings.build(genotypes.BASE_CIFAR_TUNED, task.num_classes, 0)

    def step(number: int) -> object:
        x, y = task.train.batch(key(1), number, BATCH)
        with autocast.activations(precision, "cpu"):
            logits = net(x)
        return torch.autograd.grad(F.cross_entropy(logits.float(), y), list(net.parameters()), allow_unused=True)

    def accuracy(steps: int, seed: int) -> float:
        config = TrainConfig(
            steps=steps, batch_size=BATCH, lr=0.05, drop_path=0.0, augmentation="none", evaluate_every=steps,
            precision=precision, seed=seed,
        )  # fmt: skip
        return train(settings.build(genotypes.BASE_CIFAR_TUNED, task.num_classes, seed), task, config).accuracy

    return Work(step, accuracy)


def measure(what: str, precision: Precision, steps: int) -> dict[str, list[float]]:
    """MiB, seconds a step, and accuracies in per cent; in this process, which does nothing else."""
    task = open_target(TargetConfig(train=SourceConfig("digits"), resolution=16))
    work = network(task, precision) if what == "network" else supernet(what, task, precision)
    peak, seconds = PeakMemory(), []
    for number in range(STEPS + 1):
        began = time.process_time()
        work.step(number)
        seconds.append(time.process_time() - began)
    memory = peak.bytes / MIB
    accuracy = work.accuracy if steps else None
    accuracies = [] if accuracy is None else [100.0 * accuracy(steps, seed) for seed in range(SEEDS)]
    # The first step looks for algorithms.
    return {"memory": [memory], "seconds": [median(seconds[1:])], "accuracies": accuracies}


def main() -> int:
    if sys.argv[1:2] == ["one"]:
        what, precision, steps = sys.argv[2:]
        assert precision in PRECISIONS
        print(json.dumps(measure(what, precision, int(steps))))  # type: ignore[arg-type]
        return 0
    options = tyro.cli(Options, description=__doc__)
    unit, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    print(f"{cpu_model()} with {unit}, threads: {threads}, batches of {BATCH}")
    for what in options.only:
        print(WHAT[what])
        for precision in PRECISIONS:
            command = [sys.executable, "-m", "benchmarks.precision", "one", what, precision, str(options.steps)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            line = f"  {precision:<9} {found['memory'][0]:7.1f} MiB  {1e3 * found['seconds'][0]:7.0f} CPU ms a step"
            if found["accuracies"]:
                own = found["accuracies"]
                line += f"  {fmean(own):5.1f} % ({min(own):.1f} to {max(own):.1f}) after {options.steps} steps"
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
