"""What meta-training will take on many processes: which rank does which tasks, the bytes between them, the time.

The engine sends a task's gradient on the prior, S floats, slice by slice to the ranks that add it (`all_to_all`), and
the sums back to all (`all_gather`). Of W ranks each sends and receives 4·S·(W − 1)/W bytes for every task that it does,
and as many once in an iteration for the whole: for as many tasks as ranks the volume of a ring's all-reduce.
"""

from __future__ import annotations

from dataclasses import dataclass

from base_fast.arguments import integer, positive
from base_fast.engine.fold import in_order
from base_fast.forecast.model import BYTES, Forecast


@dataclass(frozen=True)
class Hardware:
    """A rank of a cluster, and how it talks to others: a message takes latency + bytes/bandwidth."""

    speed: float = 1.0
    """How many times as fast as this machine it computes."""
    bandwidth: float = 12.5e9
    """Bytes per second that a rank sends while it receives as many; 12.5 GB/s is a link of 100 Gbit/s."""
    latency: float = 20e-6
    """Seconds of a message between two ranks."""

    def __post_init__(self) -> None:
        positive("speed", self.speed)
        positive("bandwidth", self.bandwidth)
        positive("latency", self.latency)


def rounds(order: list[int], world: int) -> list[list[int]]:
    """The tasks that run at the same time, one on each rank from the first on: those that follow in their order."""
    return [order[i : i + world] for i in range(0, len(order), world)]


@dataclass(frozen=True)
class Work:
    """A meta-iteration, wherever it is done.

    Attributes:
        costs: seconds of each task on this machine.
        numbers: S, floats of a task's gradient.
        memory: bytes of one process that does them all, pages of files left out.
    """

    costs: tuple[float, ...]
    numbers: int
    memory: int = 0

    @classmethod
    def of(cls, forecast: Forecast) -> Work:
        """As if the resolutions took turns; which ones an iteration draws is its own."""
        seconds = [part.task().wall for part in forecast.parts.values()]
        costs = tuple(seconds[i % len(seconds)] for i in range(forecast.meta.tasks))
        return cls(costs, max(part.small.numbers for part in forecast.parts.values()), forecast.memory())


@dataclass(frozen=True)
class Cluster:
    """A meta-iteration on so many ranks."""

    work: Work
    world: int
    hardware: Hardware = Hardware()

    def __post_init__(self) -> None:
        integer("world", self.world, 1)

    @property
    def costs(self) -> list[float]:
        """Seconds of each task on a rank."""
        return [cost / self.hardware.speed for cost in self.work.costs]

    @property
    def rounds(self) -> list[list[int]]:
        """Numbers of the tasks, round by round; a round's first belongs to rank 0, and so on."""
        return rounds(in_order(len(self.costs), self.costs), self.world)

    def tasks_of(self, rank: int) -> list[int]:
        """Numbers of the tasks that a rank does, in its order."""
        return [own[rank] for own in self.rounds if rank < len(own)]

    @property
    def sent(self) -> float:
        """Bytes that the first rank, which has the most tasks, sends in an iteration; it receives about as many."""
        return BYTES * self.work.numbers * (self.world - 1) / self.world * (len(self.rounds) + 1)

    @property
    def compute(self) -> float:
        """Seconds in which at least one rank is at work."""
        costs = self.costs
        return sum(max(costs[i] for i in own) for own in self.rounds)

    @property
    def busy(self) -> float:
        """Share of that time in which the average rank is at work."""
        return sum(self.costs) / (self.world * self.compute)

    @property
    def communication(self) -> float:
        """Seconds of exchanges: in every round one of records and one of slices, and at the end the gathering."""
        if self.world == 1:
            return 0.0
        messages = (2 * len(self.rounds) + 1) * (self.world - 1)
        return self.sent / self.hardware.bandwidth + messages * self.hardware.latency

    @property
    def seconds(self) -> float:
        """Of a meta-iteration."""
        return self.compute + self.communication

    @property
    def speedup(self) -> float:
        """Against one rank of the same kind."""
        return sum(self.costs) / self.seconds

    @property
    def memory(self) -> int:
        """Bytes of a rank, pages of files left out: what one process takes, and the slices that it receives."""
        slices = 0 if self.world == 1 else 2 * BYTES * self.work.numbers
        return self.work.memory + slices

    @property
    def bottleneck(self) -> str:
        """What most of the time goes to that more ranks do not shorten, and what would."""
        lost = {
            "communication": self.communication,
            "ranks without a task": self.compute * (1.0 - self.busy) if self.world > len(self.costs) else 0.0,
            "ranks that wait for a task": self.compute * (1.0 - self.busy) if self.world <= len(self.costs) else 0.0,
        }
        what = max(lost, key=lost.__getitem__)
        if lost[what] < 0.1 * self.seconds:
            return "compute: more ranks, faster ones or fewer steps shorten it"
        return f"{what}: {REMEDIES[what]}"


REMEDIES = {
    "communication": "a faster network, or more inner steps a task",
    "ranks without a task": "more tasks a meta-iteration (meta.tasks), or fewer ranks",
    "ranks that wait for a task": "a number of tasks that the ranks divide, of one resolution",
}
