"""Whether data keeps up with meta-training: decoding once, reading batches, waiting for them, and memory.

    python -m benchmarks.data_pipeline --data data/tiny_imagenet

Times are of this machine as it is, so the CPU seconds of decoding stand beside them. Data wait is what a row of a
meta-training calls `data`: drawing tasks and reading batches.
"""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from base_fast.engine.meter import METER
from base_fast.meta import InnerConfig, MetaTrainer, Variables
from base_fast.meta.config import MetaConfig
from base_fast.meta.inner import InnerLoop
from base_fast.meta.variables import for_task
from base_fast.random import key
from base_fast.reports.tables import ResultTable, print_table
from base_fast.runs.workers import usable_cores
from base_fast.supernet import SupernetConfig
from base_fast.tasks import Augmentation, SourceConfig, Split, TaskConfig, open_source, open_tasks, whole_task
from base_fast.tasks.config import open_listing
from base_fast.tasks.prepare import prepare
from base_fast.tasks.store import folder_of

# In the process that is limited: the command line, then what it held at most.
LIMITED = """
import resource, sys, json
from base_fast.cli import main
from base_fast.runs.memory import _status
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
status = main(sys.argv[2:])
print(json.dumps({"status": status, **_status()}))
"""


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    data: Path = Path("data/tiny_imagenet")
    """Folder of tar shards."""
    split: str = "val"
    """Part of the data."""
    out: Path | None = None
    """Folder for the stores; a temporary one if unset."""
    resolutions: tuple[int, ...] = (32, 64)
    """Pixels of the stores that tasks are read from."""
    decoded: int = 224
    """Pixels at which images are decoded on the fly, from unpacked shards."""
    large: int = 320
    """Pixels of the store that is larger than the memory allowed."""
    limit_mb: int = 1400
    """Memory that its meta-training may take: RLIMIT_DATA, which counts all but pages of files."""
    batch: int = 64
    """Images of a step."""
    channels: int = 16
    """Channels of the first cell."""
    layers: int = 8
    """Cells in the stack."""
    steps: int = 20
    """Steps that are timed."""
    ways: int = 10
    """Classes of a task."""


def decoding(sizes: Sizes, out: Path) -> ResultTable:
    """Rates of `prepare`: of all resolutions in one pass, and of the large one."""
    config = SourceConfig("shards", str(sizes.data), split=sizes.split)
    rows = []
    for resolutions in (sizes.resolutions, (sizes.large,)):
        listing = open_listing(config)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        prepare(listing, resolutions, out / sizes.split, workers=usable_cores())
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        count = len(listing.labels)
        size = sum(folder_of(out / sizes.split, r).joinpath("images.npy").stat().st_size for r in resolutions)
        pixels = ", ".join(map(str, resolutions))
        rows.append((pixels, count, usable_cores(), count / seconds, count / cpu if cpu else 0.0, size / 1e9))
    columns = ("pixels", "images", "processes", "images/s", "images a CPU second", "GB")
    return ResultTable("prepare", columns, tuple(rows))


def reading(sizes: Sizes, out: Path) -> ResultTable:
    """Images a second that batches of a whole data set come with: from the store, and decoded on the fly."""
    rows = []
    store = SourceConfig("store", str(out), split=sizes.split)
    for resolution in sizes.resolutions:
        for name, augmentation in (("plain", None), ("crop and flip", Augmentation())):
            task = whole_task(open_source(store, resolution), resolution=resolution, key=key(0))
            rows.append((f"store, {name}", resolution, *_rates(task.train, sizes.batch, 200, augmentation)))
    plain = out / "unpacked"
    plain.mkdir()
    for shard in sorted(sizes.data.glob(f"*-{sizes.split}-*.tar.gz")):
        with gzip.open(shard) as packed, (plain / shard.name.removesuffix(".gz")).open("wb") as file:
            shutil.copyfileobj(packed, file)
    for workers in sorted({0, usable_cores()}):
        config = SourceConfig("shards", str(plain), split=sizes.split, cache=False, workers=workers)
        task = whole_task(open_source(config, sizes.decoded), resolution=sizes.decoded, key=key(0))
        rows.append((f"on the fly, {workers} processes", sizes.decoded, *_rates(task.train, sizes.batch, 10, None)))
    columns = ("source", "pixels", "images/s", "ms a batch", "CPU ms of this process")
    return ResultTable(f"batches of {sizes.batch}", columns, tuple(rows))


def _rates(split: Split, size: int, batches: int, augmentation: Augmentation | None) -> tuple[float, float, float]:
    """Images a second, milliseconds of a batch, and those that the processor was busy for this process."""
    split.batch(key(0), 0, size, augmentation)
    began, cpu = time.monotonic(), time.process_time()
    for step in range(1, batches + 1):
        split.batch(key(0), step, size, augmentation)
    seconds, busy = time.monotonic() - began, time.process_time() - cpu
    return batches * size / seconds, 1e3 * seconds / batches, 1e3 * busy / batches


def waiting(sizes: Sizes, out: Path) -> ResultTable:
    """Steps of inner loops on tasks from the store: their rate, and the share of them that data takes."""
    rows = []
    stem = {32: "32", 64: "64"}
    for resolution in sizes.resolutions:
        config = MetaConfig(
            SupernetConfig(
                channels=sizes.channels,
                layers=sizes.layers,
                num_classes=sizes.ways,
                stems=(stem.get(resolution, "224"),),
            ),
            inner=InnerConfig(batch_size=sizes.batch, augmentation=Augmentation()),
        )
        store = SourceConfig("store", str(out), split=sizes.split)
        tasks = open_tasks(TaskConfig((store,), sizes.ways, (resolution,)))
        trainer = MetaTrainer(config)
        supernet, prior = for_task(trainer.supernet, Variables.of(trainer.initial()), config.inner.head, sizes.ways)
        task = tasks.sample(key(1))
        loop = InnerLoop(supernet, prior, task, key(2), config.inner)
        state = loop.start()
        for step in range(sizes.steps + 1):
            if step == 1:  # the first one warms up
                began, spent = time.monotonic(), METER.seconds["data"]
            state, _, _ = loop.step(state)
        seconds, data = time.monotonic() - began, METER.seconds["data"] - spent
        rows.append((resolution, sizes.steps * sizes.batch / seconds, seconds / sizes.steps, 100.0 * data / seconds))
    title = f"steps on tasks from the store: batch {sizes.batch}, {sizes.channels} channels, {sizes.layers} cells"
    return ResultTable(title, ("pixels", "images/s", "seconds a step", "data wait (%)"), tuple(rows))


def limited(sizes: Sizes, out: Path, run: Path) -> ResultTable:
    """Meta-training under a limit of memory, in a process of its own: on the large store, and on the shards."""
    common = ["--meta.iterations", "1", "--meta.warmup", "1", "--meta.inner-steps", "4", "--meta.tasks", "2"]
    common += ["--meta.inner.batch-size", "8", "--meta.supernet.channels", "4", "--meta.supernet.layers", "2"]
    common += ["--meta.supernet.stems", "224", "--meta.supernet.reductions", "1"]
    common += ["--meta.inner.evidence.images", "32", "--meta.inner.evidence.batch-size", "8"]
    common += ["--meta.inner.architecture.cells", "2", "--tasks.ways", "10", "--tasks.resolutions", str(sizes.large)]
    sources = {"store": str(out), "shards": str(sizes.data)}
    rows = []
    for kind, path in sources.items():
        words = ["meta-train", "--run", str(run / kind), *common, "--tasks.sources.0.kind", kind]
        words += ["--tasks.sources.0.path", path, "--tasks.sources.0.split", sizes.split]
        limit = str(sizes.limit_mb * 10**6)
        done = subprocess.run([sys.executable, "-c", LIMITED, limit, *words], capture_output=True, text=True)
        try:
            told = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            told = {"status": done.returncode}
        held = folder_of(out / sizes.split, sizes.large).joinpath("images.npy").stat().st_size
        said = "done" if told["status"] == 0 else done.stderr.strip().splitlines()[-1].partition(": ")[2]
        private, peak = told.get("VmHWM", 0) - told.get("RssFile", 0), told.get("VmHWM", 0)
        rows.append((kind, held / 1e6, sizes.limit_mb, private / 1e6, peak / 1e6, said))
    title = f"meta-training at {sizes.large} pixels under RLIMIT_DATA, which leaves out pages of files"
    columns = ("source", "images (MB)", "limit (MB)", "peak without files (MB)", "with files (MB)", "end")
    return ResultTable(title, columns, tuple(rows))


def main(sizes: Sizes) -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        out = sizes.out or Path(folder) / "stores"
        print_table(decoding(sizes, out))
        print_table(reading(sizes, out))
        print_table(waiting(sizes, out))
        print_table(limited(sizes, out, Path(folder) / "runs"))
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Sizes, description=__doc__)))
