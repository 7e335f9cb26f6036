"""Latency on a new device from a few measurements, with what other devices take for the same genotypes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.objectives.correlation import rank_correlation
from base_fast.objectives.table import Table
from base_fast.random import fold_in
from base_fast.reference import philox
from base_fast.space import AnySpace
from base_fast.space.connected import connected

# Prior variances of what a device's standardized log-latency is made of, in units of the noise's.
COMMON, OWN, PRIMITIVES, EDGES, LEVEL = 20.0, 20.0, 0.1, 0.01, 9.0
# Latencies below this share of the median are taken for as much: cells that compute nothing.
FLOOR = 0.22
# Of those, drawn once, the ones to measure are chosen, and by as many others is judged how well they inform.
CANDIDATES = 400

_BATCH = re.compile(r"_\d+$")


class KnownDevices:
    """Latencies of genotypes on devices that are known, as a prior for another one.

    The logarithm of a device's latencies, standardized, is taken for a sum of what the devices have in common, of where
    each of them departs from that, of the numbers of each primitive and of the primitives on the edges, each with a
    Gaussian weight: a linear model whose posterior given some measurements is exact. Devices of a family, such as
    one GPU at several batch sizes, count as one.

    Args:
        table: a column for each device, smaller is better; rows are what can be predicted and measured.
        families: of the columns; by `family` of their names if not given.

    Raises:
        InputError: fewer than two devices, latencies below 0, or nothing that connects.
    """

    def __init__(self, table: Table, families: Sequence[str] = ()) -> None:
        names = [quantity.name for quantity in table.quantities]
        families = tuple(families) or tuple(family(name) for name in names)
        if len(names) < 2 or len(families) != len(names):
            raise InputError(f"known: got {len(names)} devices, {len(families)} families, expected two or more of each")
        if bool((table.values < 0.0).any()):
            raise InputError("known: got a latency below 0, expected milliseconds")
        self.table, self.devices = table, tuple(names)
        self.connected = torch.from_numpy(connected(table.choices.numpy(), table.space))
        if int(self.connected.sum()) < 2:
            raise InputError("known: got fewer than two genotypes that connect something, expected more")
        self.features = self._features([families.count(one) for one in families], len(set(families)))

    def _features(self, relatives: list[int], count: int) -> Tensor:
        """(n, F), scaled by the prior's deviations, so that the prior is standard normal; the last one is constant."""
        logs = torch.stack([floored(column, self.connected) for column in self.table.values.T], dim=1)
        inside = logs[self.connected]
        spread = inside.std(dim=0, unbiased=False)
        standard = (logs - inside.mean(dim=0)) / torch.where(spread > 0.0, spread, 1.0)
        weights = 1.0 / (count * torch.tensor(relatives, dtype=torch.float64, device="cpu"))
        common = standard @ weights
        own = (standard - common.unsqueeze(1)) * weights.sqrt()
        edges = one_hot(self.table.choices, self.table.space)
        primitives = edges.sum(dim=1)
        parts = (
            (common.unsqueeze(1), COMMON),
            (own, OWN),
            (primitives - primitives.mean(dim=0), PRIMITIVES),
            ((edges - edges.mean(dim=0)).flatten(1), EDGES),
            (torch.ones(len(logs), 1, dtype=torch.float64, device="cpu"), LEVEL),
        )
        return torch.cat([variance**0.5 * part for part, variance in parts], dim=1)

    def choose(self, count: int, key: Tensor) -> Tensor:
        """(count,) rows to measure: one after another, each what lowers the sum of the variances of all most.

        Chosen among `CANDIDATES` drawn genotypes that connect something.
        """
        rows = self.connected.nonzero().flatten()
        count = integer("choose", count, 1, min(CANDIDATES, len(rows)))
        pool, judges = (
            rows[torch.argsort(philox.uniform(fold_in(key, i), len(rows)), stable=True)[:CANDIDATES]] for i in (0, 1)
        )
        features, others = self.features[pool], self.features[judges]
        covariance = torch.eye(features.shape[1], dtype=torch.float64, device="cpu")
        chosen: list[int] = []
        for _ in range(count):
            moved = features @ covariance
            variance = (moved * features).sum(dim=1) + 1.0
            gain = (others @ moved.T).square().sum(dim=0) / variance
            gain[chosen] = -1.0
            best = int(gain.argmax())
            covariance = covariance - torch.outer(moved[best], moved[best]) / variance[best]
            chosen.append(best)
        return pool[chosen]

    def predict(self, rows: Tensor, measured: Tensor) -> Tensor:
        """(n,) milliseconds of all genotypes of the table on a device on which some were measured.

        Args:
            rows: (m,) of them.
            measured: (m,) milliseconds.

        Raises:
            InputError: fewer than two, or all equal, or not above 0.
        """
        if len(rows) < 2 or not bool((measured > 0.0).all()) or bool((measured == measured[0]).all()):
            raise InputError(
                f"measured: got {measured.tolist()}, expected two latencies or more above 0 that are not all equal"
            )
        logs = floored(measured, torch.ones_like(measured, dtype=torch.bool))
        level, spread = logs.mean(), logs.std(unbiased=False)
        # The constant is what the mean of the measured ones has taken away.
        features = self.features[:, :-1]
        seen = features[rows] - features[rows].mean(dim=0)
        noisy = seen @ seen.T + torch.eye(len(rows), dtype=torch.float64, device="cpu")
        weights = seen.T @ torch.linalg.solve(noisy, (logs - level) / spread)
        standard = (features - features[rows].mean(dim=0)) @ weights
        return (level + spread * standard).exp()

    def nearest(self, rows: Tensor, measured: Tensor) -> int:
        """The known device that ranks the measured ones best, by Spearman's ρ; the first of equal ones."""
        scores = [rank_correlation(self.table.values[rows, i], measured).spearman for i in range(len(self.devices))]
        return max(range(len(scores)), key=lambda i: (scores[i] if scores[i] == scores[i] else -2.0, -i))


def family(device: str) -> str:
    """A device's name without the batch size behind it: 1080ti_32 is of the family 1080ti."""
    return _BATCH.sub("", device)


def floored(latencies: Tensor, kept: Tensor) -> Tensor:
    """Logarithms of (n,) milliseconds, at least that of `FLOOR` of the median of those kept (n,)."""
    least = FLOOR * latencies[kept].median().clamp_min(torch.finfo(torch.float64).tiny)
    return latencies.clamp_min(float(least)).log()


def one_hot(choices: Tensor, space: AnySpace) -> Tensor:
    """(n, T, E) → (n, T · E, L) float64."""
    return torch.nn.functional.one_hot(choices, space.num_primitives).double().flatten(1, 2)
