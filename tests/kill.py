"""Runs of every kind, ended by a signal at a random moment and resumed: the results have the same bits.

    python -m tests.kill --tries 10 [KIND ...]

Each run is a child that this process forks after all imports, so that a try costs the run's own time. The moment is
drawn from the whole length of a run, start and end included; each try is hit twice, then left to finish. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before torch: threads do not survive a fork.
os.environ["OMP_NUM_THREADS"] = "1"

import sklearn.datasets  # noqa: F401
import torch
import torch.utils.tensorboard

import base_fast.cli.adapt
import base_fast.cli.collect
import base_fast.cli.compare
import base_fast.cli.meta_train
import base_fast.cli.search
import base_fast.cli.train
from base_fast.cli import main
from base_fast.random import key
from base_fast.runs import load_tensors
from base_fast.supernet import Supernet, SupernetConfig

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)

SUPERNET = """
nodes = 1
channels = 2
layers = 2
reductions = [1]
num_classes = 5
"""
# Inline tables, for the inner loops of [meta] and [adapt] alike.
EVIDENCE = """
architecture = { cells = 3, every = 4 }
evidence = { images = 20, own = { steps = 1, batch_size = 8 }, batch_size = 4, network = { channels = 2, layers = 2 } }
"""
META = f"""
[meta]
iterations = 12
warmup = 2
inner_steps = 2
checkpoint_every = 3
record_every = 2
[meta.inner]
batch_size = 8
rho = {{ rule = "adam", lr = 0.01 }}
{EVIDENCE}
[meta.supernet]{SUPERNET}
[tasks]
ways = 5
resolutions = [8]
[[tasks.sources]]
kind = "digits"
classes = "0-4"
"""
ADAPT = f"""
[adapt]
evaluate_every = 5
evaluate_images = 50
checkpoint_every = 4
warmup = 6
budget = {{ steps = 30 }}
[adapt.inner]
batch_size = 8
{EVIDENCE}
[play_off]
cells = 3
neighbours = 1
rounds = 2
steps = 1
[target]
resolution = 8
train = {{ kind = "digits", classes = "5-9" }}
"""
TRAIN = """
[network]
channels = 2
layers = 3
[train]
steps = 24
batch_size = 16
evaluate_every = 6
checkpoint_every = 5
log_every = 3
"""
DIGITS = """
[target]
resolution = 8
train = { kind = "digits", classes = "5-9" }
"""
SEARCH = """
[search]
strategy = "random_sharing"
[search.random_sharing]
children = 8
finalists = 2
score_images = 16
training = { steps = 12, batch_size = 16 }
[objective]
kinds = ["shared_weights"]
[supernet]
space = "nas_bench_201"
channels = 2
layers = 2
"""
COLLECT = """
cells = 6
[network]
channels = 2
layers = 2
[train]
steps = 3
batch_size = 16
augmentation = "none"
"""
SUPERNET_OF_ADAPT = SupernetConfig(nodes=1, channels=2, layers=2, reductions=(1,), num_classes=5)
COMPARE = """
seeds = 1
random_genotypes = 1
search_accuracy = 0.2
network_accuracy = 0.2
"""
CONFIGS = {
    "meta-train": META,
    "adapt": ADAPT,
    "train": TRAIN + DIGITS,
    "compare": COMPARE + META + ADAPT + TRAIN,
    "search": SEARCH + DIGITS,
    "collect": COLLECT + DIGITS,
}


def arguments(kind: str, folder: Path) -> list[str]:
    """The command of a kind of run, without its run folder; its files are written to `folder`."""
    config = folder / f"{kind}.toml"
    config.write_text(CONFIGS[kind])
    words = [kind, "--config", str(config)]
    if kind == "adapt":
        prior = folder / "prior.safetensors"
        Supernet.from_config(SUPERNET_OF_ADAPT).prior(key(0)).save(prior)
        words += ["--posterior", str(prior)]
    if kind == "train":
        words += ["--genotype", "DARTS_V2"]
    return words


def run(words: Sequence[str], log: Path, number: int = 0, after: float = 0.0) -> tuple[int, float]:
    """Run a command in a child, with a signal after so many seconds of its work; its status and its seconds of work."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            with log.open("a") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            base_fast.cli.compare.write_report = lambda path: path  # its figures take longer than the run
            status = main(words)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    found, status, used = os.wait4(child, os.WNOHANG if number else 0)
    # By the child's own clock, so that a busy machine does not move all moments to its start.
    while not found and seconds_of(child) < after:
        time.sleep(0.002)
        found, status, used = os.wait4(child, os.WNOHANG)
    if not found:
        os.kill(child, number)
        _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


def seconds_of(process: int) -> float:
    """Processor time of another process; this is how Linux numbers its clock."""
    return time.clock_gettime(~process << 3 | 2)


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in ("time", "times")} for line in lines
    ]


def timeless(value: Any) -> Any:
    """JSON without the times, and sizes of the process, in it."""
    if isinstance(value, dict):
        measured = ("seconds", "bytes")
        return {name: timeless(item) for name, item in value.items() if not any(word in name for word in measured)}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def difference(whole: Path, resumed: Path) -> str | None:
    """The first thing in which two run folders differ, times aside."""
    names = [
        {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            # Which checkpoints there were before the last one depends on when a run was hit.
            if path.suffix in (".json", ".safetensors", ".csv", ".tmp")
            and not re.search(r"\.\d\.safetensors$", path.name)
        }
        for folder in (whole, resumed)
    ]
    if names[0] != names[1]:
        return f"the files {sorted(names[0] ^ names[1])}"
    for name in sorted(names[0] - {"run.json"}):
        one, other = whole / name, resumed / name
        if name.startswith("checkpoints"):
            tensors = [load_tensors(path)[0] for path in (one, other)]
            same = tensors[0].keys() == tensors[1].keys() and all(
                torch.equal(x, tensors[1][key]) for key, x in tensors[0].items()
            )
        elif name.endswith(".json"):
            same = timeless(json.loads(one.read_text())) == timeless(json.loads(other.read_text()))
        else:
            same = one.read_bytes() == other.read_bytes()
        if not same:
            return name
    return None if rows(whole) == rows(resumed) else "metrics.jsonl"


def check(kind: str, tries: int, seed: int, folder: Path) -> None:
    """Raise AssertionError when a run of `kind` that was hit does not resume to the same bits."""
    words, drawn = arguments(kind, folder), random.Random(f"{kind} {seed}")
    log, whole = folder / "log", folder / "whole"
    status, _ = run([*words, "--run", str(whole)], log)
    assert status == 0, log.read_text()
    # Once more for its length, with everything warm.
    _, length = run([*words, "--run", str(folder / "again")], log)
    differs = difference(whole, folder / "again")
    assert differs is None, f"{kind}: two runs differ in {differs}"
    print(f"{kind}: {length:.1f} s of work", flush=True)
    for i in range(tries):
        resumed = folder / f"hit{i}"
        command = [*words, "--run", str(resumed), "--resume"]
        told = []
        for number in (SIGNALS[i % len(SIGNALS)], drawn.choice(SIGNALS)):
            after = drawn.uniform(0.0, length)
            status, _ = run(command, log, number, after)
            told.append(f"{signal.Signals(number).name} after {after:.2f} s: {status}")
            # Finished before the signal, stopped by it in order, or ended by it before or without a handler.
            assert status in (0, 130, -number), f"{told[-1]}\n{log.read_text()}"
        status, _ = run(command, log)
        assert status == 0, log.read_text()
        differs = difference(whole, resumed)
        print(f"{kind} {i}: {', '.join(told)}; {'differs in ' + differs if differs else 'same bits'}", flush=True)
        assert differs is None, f"{kind}: {differs} differs after {told}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(CONFIGS), metavar="KIND", help=", ".join(CONFIGS))
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as temporary:
            check(kind, given.tries, given.seed, Path(temporary))
