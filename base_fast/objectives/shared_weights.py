"""A supernet's weights as the judge: one set of weights for all genotypes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.supernet import Supernet
from base_fast.tasks import Split


class SharedWeights(Objective):
    """Accuracy and loss of a genotype's path through a supernet, without any training of its own.

    Every genotype sees the same images, in the same batches, and batch norm takes the statistics of the batches: a
    supernet has no running ones, and those of one path would not fit another.

    Args:
        supernet: with the task's head.
        theta: (P,) its weights.
        split: images that the weights were not trained on, in random order.
        images: take the first so many only; None for all.
        batch_size: at most so many images a batch, which are cut evenly.
    """

    quantities = (Quantity("accuracy", "larger", "%"), Quantity("loss", "smaller", "nats"))
    costs = ("images",)

    def __init__(
        self, supernet: Supernet, theta: Tensor, split: Split, images: int | None = None, batch_size: int = 256
    ) -> None:
        if images is not None and images < 1:
            raise InputError(f"images: got {images}, expected an integer ≥ 1")
        self.space = supernet.space
        self.supernet, self.theta = supernet, theta
        self.count = min(images or len(split), len(split))
        # Even batches: a small last one would have other statistics.
        self.batch_size = -(-self.count // -(-self.count // batch_size))
        self.split = replace(split, images=split.images[: self.count], labels=split.labels[: self.count])

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        values = torch.tensor([self._score(z) for z in choices], dtype=torch.float64)
        return Measurements(values, torch.full((len(choices), 1), float(self.count), dtype=torch.float64))

    def _score(self, choices: Tensor) -> tuple[float, float]:
        z = F.one_hot(choices, self.space.num_primitives).to(self.theta)
        right, loss = 0, 0.0
        with torch.no_grad():
            for x, y in self.split.batches(self.batch_size):
                y = y.to(self.theta.device)
                logits = self.supernet(x.to(self.theta), self.theta, z, hard=True)
                right += int((logits.argmax(dim=1) == y).sum())
                loss += F.cross_entropy(logits, y, reduction="sum").item()
        return 100.0 * right / self.count, loss / self.count
