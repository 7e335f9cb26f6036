"""A supernet's weights as the judge: one set of weights for all genotypes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.objectives.workers import map_on_cores
from base_fast.supernet import Supernet
from base_fast.tasks import Split

BATCH_SIZE = 256


class SharedWeights(Objective):
    """Accuracy and loss of a genotype's path through a supernet, without any training of its own.

    Every genotype sees the same images, in the same batches, and batch norm takes the statistics of the batches: a
    supernet has no running ones, and those of one path would not fit another.

    Args:
        supernet: with the task's head.
        theta: (P,) its weights.
        split: images that the weights were not trained on, in random order.
        images: how many to take, from the first on; None for all.
        batch_size: the largest number of images in a batch; they are divided evenly.
    """

    quantities = (Quantity("accuracy", "larger", "%"), Quantity("loss", "smaller", "nats"))
    costs = ("images",)

    def __init__(
        self, supernet: Supernet, theta: Tensor, split: Split, images: int | None = None, batch_size: int = BATCH_SIZE
    ) -> None:
        if images is not None and images < 1:
            raise InputError(f"images: got {images}, expected an integer ≥ 1")
        self.space = supernet.space
        self.supernet, self.theta, self.split, self.batch_size = supernet, theta, split, batch_size
        self.images = split.at_most(images)

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        paths = F.one_hot(choices, self.space.num_primitives).to(self.theta)

        def scored(z: Tensor) -> tuple[float, float]:
            return path_scores(self.supernet, self.theta, z, self.split, True, self.images, self.batch_size)

        scores = map_on_cores(scored, list(paths))
        values = [[100.0 * accuracy, loss] for accuracy, loss in scores]
        costs = torch.full((len(choices), 1), float(self.images), dtype=torch.float64, device="cpu")
        return Measurements(torch.tensor(values, dtype=torch.float64, device="cpu"), costs)


def path_scores(
    supernet: Supernet,
    theta: Tensor,
    z: Tensor,
    split: Split,
    hard: bool,
    images: int | None,
    batch_size: int = BATCH_SIZE,
) -> tuple[float, float]:
    """Accuracy (a share) and cross-entropy (nats) of a supernet at weights θ (P,) and architecture z (T, E, L).

    Batch norm takes the statistics of the batches, so these are cut evenly: a small last one would have others.

    Args:
        hard: z is one-hot; only the chosen primitives run.
        images: how many to take, the first of a split, which is in random order; None for all.
        batch_size: the largest number of images in a batch.
    """
    count = split.at_most(images)
    size = -(-count // -(-count // batch_size))

    def scored(x: Tensor, y: Tensor) -> tuple[int, float]:
        with torch.no_grad():
            y = y.to(theta.device)
            logits = supernet(x.to(theta), theta, z, hard)
            return int((logits.argmax(dim=1) == y).sum()), F.cross_entropy(logits, y, reduction="sum").item()

    found = split.over_batches(size, scored, count)
    return sum(right for right, _ in found) / count, sum(loss for _, loss in found) / count
