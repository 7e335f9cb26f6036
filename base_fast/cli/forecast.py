"""Say what a meta-training will take, before it is begun: memory, time, the largest batch, a cluster's share."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch

from base_fast.arguments import integer
from base_fast.cli.command import Command, Flat, required
from base_fast.cli.meta_train import MetaTrainSettings
from base_fast.cli.register import OPTION, registered
from base_fast.errors import InputError
from base_fast.forecast import Cluster, Cost, Forecast, Hardware, Work
from base_fast.runs.provenance import cpu_model

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
MIB = 2**20
# Characters of a line of the task map.
WIDTH = 100


@dataclass(frozen=True)
class ForecastCommand(Command):
    """`base-fast forecast CONFIG` probes the run of a file of settings with a few real steps and cells, at two small
    batch sizes, in processes of their own. Nothing is written."""

    config: Path | None = None
    """File (.toml) of a meta-training."""
    memory: str | None = None
    """Memory to fill, such as 16GiB: the largest batch that fits is named."""
    dry_run_world: int | None = None
    """Ranks of a cluster: prints its task map, bytes, memory and time."""
    hardware: Hardware = Hardware()
    """A rank of that cluster."""
    Settings: ClassVar = MetaTrainSettings
    settings: Annotated[MetaTrainSettings, Flat] = MetaTrainSettings()

    @classmethod
    def prepared(cls, words: Sequence[str]) -> list[str]:
        return ["--config", *words] if words and not words[0].startswith("-") else list(words)

    def execute(self) -> int:
        required("config", self.config, "a .toml file of a meta-training")
        memory = None if self.memory is None else parse_bytes(self.memory)
        if self.dry_run_world is not None:
            integer("dry_run_world", self.dry_run_world, 1)
        meta, tasks = self.settings.meta, self.settings.tasks
        # Probes know the primitives of one's own, too.
        words = [word for file in registered() for word in (OPTION, file)]
        forecast = Forecast.of(meta, tasks, (sys.executable, "-m", "base_fast.cli.probe", *words))
        threads = torch.get_num_threads()
        print(f"{self.config}: on {cpu_model()}, {threads} thread{'' if threads == 1 else 's'}, {meta.precision}")
        for line in _lines(forecast):
            print(line)
        if memory is not None:
            print(_row("largest batch", f"{_fitting(forecast, memory)} in {memory / MIB:,.0f} MiB"))
        if self.dry_run_world is not None:
            for line in _cluster(Cluster(Work.of(forecast), self.dry_run_world, self.hardware)):
                print(line)
        return 0


def parse_bytes(text: str) -> int:
    """ "16GiB", "16G", "512 MiB" or a number of bytes.

    Raises:
        InputError: anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    if match is None or not float(match[1]) > 0.0:
        raise InputError(f"memory: got {text!r}, expected bytes such as 16GiB or 512MiB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def _row(what: str, value: str) -> str:
    return f"  {what:<16} {value}"


def _seconds(cost: Cost) -> str:
    return f"{_number(cost.wall)} s ({_number(cost.cpu)} CPU s)"


def _number(x: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def _lines(forecast: Forecast) -> list[str]:
    meta = forecast.meta
    lines = []
    for resolution, part in forecast.parts.items():
        lines += [
            _row("probes", f"batches of {part.small.batch} and {part.large.batch} at {resolution} pixels"),
            _row("inner step", _seconds(part.step)),
        ]
        if part.draws:
            cells = meta.inner.architecture.cells
            lines.append(_row("draw of cells", f"{_seconds(part.draw(True))} of {cells}, {part.draws} a task"))
        lines.append(_row("an image more", f"{part.image / MIB:,.2f} MiB"))
    iteration = _seconds(forecast.iteration())
    if meta.warmup and forecast.iteration(False) != forecast.iteration():
        iteration += f"; {_seconds(forecast.iteration(False))} in the warm-up of {meta.warmup}"
    held = max(part.small.held for part in forecast.parts.values())
    return [
        *lines,
        _row("meta-iteration", iteration),
        _row("whole run", f"{_seconds(forecast.run)}, {meta.iterations} meta-iterations"),
        _row("peak memory", f"{forecast.memory() / MIB:,.0f} MiB, of which {held / MIB:,.0f} before the first step"),
    ]


def _fitting(forecast: Forecast, memory: int) -> str:
    batch = forecast.largest_batch(memory)
    return f"{batch:,} images" if batch else "none fits"


def _cluster(cluster: Cluster) -> list[str]:
    wire = cluster.hardware
    lines = [
        f"on {cluster.world} ranks, assumed {wire.speed:g} times as fast as this machine, with "
        f"{wire.bandwidth / 1e9:g} GB/s and {1e6 * wire.latency:g} µs between them",
        _row("task map", f"{len(cluster.costs)} tasks in {len(cluster.rounds)} rounds; rank: tasks"),
    ]
    told, line = [f"{rank}: {_numbers(cluster.tasks_of(rank))}" for rank in range(cluster.world)], ""
    for one in told:
        if line and len(line) + len(one) > WIDTH:
            lines.append(f"    {line}")
            line = ""
        line += f"{one:<12}"
    share = cluster.communication / cluster.seconds
    return [
        *lines,
        f"    {line}".rstrip(),
        _row("bytes sent", f"{cluster.sent / MIB:,.2f} MiB a rank and meta-iteration"),
        _row("memory", f"{cluster.memory / MIB:,.0f} MiB a rank"),
        _row("meta-iteration", f"{_number(cluster.seconds)} s, of which {100 * share:.1f} % communication"),
        _row(
            "speed-up",
            f"{cluster.speedup:.2f} against one rank; ranks are at work {100 * cluster.busy:.0f} % of the time",
        ),
        _row("bottleneck", cluster.bottleneck),
    ]


def _numbers(tasks: list[int]) -> str:
    return ",".join(map(str, tasks)) or "–"
