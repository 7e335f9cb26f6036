"""From two probes to a forecast: memory and time are linear in the batch, the steps, the cells and the tasks."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from base_fast.errors import InputError
from base_fast.forecast.cost import Cost
from base_fast.forecast.probe import CHAINS, PROBE, Found, Question, ask
from base_fast.meta import MetaConfig
from base_fast.tasks import TaskConfig

BYTES = 4
"""Of a float of the posterior."""
MOST_IMAGES = 2**24
"""Beyond so many images in a batch nobody looks."""


def probe_sizes(batch: int) -> tuple[int, int]:
    """Batches of the two probes, for a forecast of this one: both smaller, unless it is small itself."""
    if batch >= 16:
        return batch // 4, batch // 2
    return max(batch // 2, 2), max(batch, 3)


@dataclass(frozen=True)
class OneResolution:
    """What meta-training takes on one process, if all tasks are of one resolution.

    Attributes:
        meta: the run.
        small, large: what probes found at two batch sizes; cells were measured in one of them.
    """

    meta: MetaConfig
    small: Found
    large: Found

    @classmethod
    def of(cls, meta: MetaConfig, tasks: TaskConfig, command: Sequence[str] = PROBE) -> OneResolution:
        """Probe, in fresh processes one after the other.

        Raises:
            InputError: a probe failed, and why.
        """
        sizes = probe_sizes(meta.inner.batch_size)
        small, large = (ask(Question(meta, tasks, batch, timed=batch == sizes[0]), command) for batch in sizes)
        return cls(meta, small, large)

    def _at(self, small: float, large: float, batch: int) -> float:
        """The line through what the two probes found."""
        slope = (large - small) / (self.large.batch - self.small.batch)
        return small + slope * (batch - self.small.batch)

    def _cost_at(self, small: Cost, large: Cost, batch: int) -> Cost:
        return Cost(self._at(small.cpu, large.cpu, batch), self._at(small.wall, large.wall, batch))

    @property
    def batch(self) -> int:
        return self.meta.inner.batch_size

    @property
    def step(self) -> Cost:
        """Of an inner step."""
        return self._cost_at(self.small.step, self.large.step, self.batch)

    @property
    def around(self) -> Cost:
        """Of the outer rule's gradient of a task, besides the steps."""
        return self._cost_at(self.small.around, self.large.around, self.batch)

    @property
    def draws(self) -> int:
        """Draws of cells of a task: at intervals, and after the last step."""
        if self.meta.inner.z != "single" or self.meta.inner.alpha.lr == 0.0:
            return 0
        return math.ceil(self.meta.inner_steps / self.meta.inner.architecture.every)

    def draw(self, warm: bool) -> Cost:
        """Of a draw of cells."""
        cells = self.meta.inner.architecture.cells * self.small.different
        return (self.small.warm_cell if warm else self.small.cold_cell) * cells

    def task(self, warm: bool = True) -> Cost:
        """Of a task: its data, its inner loop, its gradient."""
        sample = (self.small.sample + self.large.sample) / 2
        return sample + self.step * self.meta.inner_steps + self.around + self.draw(warm) * self.draws

    @property
    def vectors(self) -> int:
        """Bytes of the tasks' gradients that are held at once: one, and the partial sums of a tree over the others."""
        sums = self.meta.tasks.bit_length() if self.meta.tasks > 1 else 0
        return sums * BYTES * self.small.numbers

    @property
    def image(self) -> float:
        """Bytes that one more image of a batch takes."""
        return (self._stepping(self.large) - self._stepping(self.small)) / (self.large.batch - self.small.batch)

    def _stepping(self, found: Found) -> int:
        more = self.meta.inner_steps - CHAINS[0] if found.chained else 0
        return found.stepping + more * found.chained

    def memory(self, batch: int | None = None) -> int:
        """Bytes of the process at its largest, pages of files left out, with so many images a step."""
        batch = batch or self.batch
        stepping = self._at(self._stepping(self.small), self._stepping(self.large), batch)
        # After steps of larger batches the allocator holds more, which cells use again in part.
        measuring = self._at(self.small.measuring, self.large.measuring, batch)
        return round(max(stepping, measuring, self.small.held) + self.vectors)


@dataclass(frozen=True)
class Forecast:
    """What meta-training takes on one process: of each resolution that a task may draw, all of them equally often."""

    meta: MetaConfig
    parts: Mapping[int, OneResolution]

    @classmethod
    def of(cls, meta: MetaConfig, tasks: TaskConfig, command: Sequence[str] = PROBE) -> Forecast:
        """Probe every resolution, in fresh processes one after the other, each of which runs `command` (see `ask`).

        Raises:
            InputError: a probe failed, and why.
        """
        resolutions = sorted(set(tasks.resolutions))
        return cls(meta, {r: OneResolution.of(meta, replace(tasks, resolutions=(r,)), command) for r in resolutions})

    def iteration(self, warm: bool = True) -> Cost:
        """Of a meta-iteration."""
        tasks = sum((part.task(warm) for part in self.parts.values()), Cost()) / len(self.parts)
        return tasks * self.meta.tasks

    @property
    def run(self) -> Cost:
        """Of all meta-iterations."""
        cold = min(self.meta.warmup, self.meta.iterations)
        return self.iteration(False) * cold + self.iteration(True) * (self.meta.iterations - cold)

    def memory(self, batch: int | None = None) -> int:
        """Bytes of the process at its largest, pages of files left out, with so many images a step."""
        return max(part.memory(batch) for part in self.parts.values())

    def largest_batch(self, memory: int) -> int:
        """The most images of a step with which the process stays within so many bytes; 0 if one is too many.

        Raises:
            InputError: memory does not grow with the batch, as far as the probes tell.
        """
        if self.memory(1) > memory:
            return 0
        high = 2
        while self.memory(high) <= memory:
            high *= 2
            if high > MOST_IMAGES:
                raise InputError("memory: it hardly grows with the batch here, expected a larger network or batch")
        return bisect(range(1, high), memory, key=self.memory)
