"""How good a network is on images that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.runs.artefacts import ClassScore, Scored
from base_fast.tasks import Split


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores on a split: shares in [0, 1], loss in nats per image."""

    accuracy: float
    """Share of images whose largest logit is the label's."""
    loss: float
    """Mean cross-entropy, without label smoothing or auxiliary loss."""
    top5: float
    """Share of images whose label is among the five largest logits; 1 with five classes or fewer."""
    confusion: Tensor
    """int64 (num_classes, num_classes) on the CPU: images of class [row] that were taken for class [column]."""

    def scored(self, data: str, class_names: Sequence[str]) -> Scored:
        """What stays of it in a run folder; `data` says what was scored."""
        counts, right = self.confusion.sum(1).tolist(), self.confusion.diagonal().tolist()
        classes = tuple(
            ClassScore(name, n, hits / n if n else None)
            for name, n, hits in zip(class_names, counts, right, strict=True)
        )
        confusion = tuple(map(tuple, self.confusion.tolist()))
        return Scored(data, sum(counts), self.accuracy, self.top5, self.loss, classes, confusion)


def evaluate(network: nn.Module, split: Split, batch_size: int = 256) -> Evaluation:
    """Score a network in evaluation mode, on its device and in its dtype; its mode is restored.

    Several processes share the batches, with the same result for any number of them.

    Raises:
        InputError: the network's logits are not one per class of the split.
    """
    place = next(network.parameters())

    def scored(x: Tensor, y: Tensor) -> tuple[float, int, list[int]]:
        with torch.inference_mode():
            logits = network(x.to(place)).float().cpu()
            check_classes(logits, split.num_classes)
            loss = F.cross_entropy(logits, y, reduction="sum").item()
            top5 = int((logits.topk(min(5, split.num_classes)).indices == y[:, None]).sum())
            return loss, top5, (y * split.num_classes + logits.argmax(1)).tolist()

    training = network.training
    network.eval()
    try:
        found = split.over_batches(batch_size, scored)
    finally:
        network.train(training)
    pairs = torch.tensor([pair for _, _, some in found for pair in some], device="cpu")
    confusion = torch.bincount(pairs, minlength=split.num_classes**2).view(split.num_classes, split.num_classes)
    count = len(split)
    loss, top5 = sum(loss for loss, _, _ in found), sum(right for _, right, _ in found)
    return Evaluation(int(confusion.trace()) / count, loss / count, top5 / count, confusion)


def check_classes(logits: Tensor, num_classes: int) -> None:
    """Raise InputError unless the logits are (B, num_classes)."""
    if logits.dim() != 2 or logits.shape[1] != num_classes:
        raise InputError(
            f"network: got logits of shape {tuple(logits.shape)}, expected (B, {num_classes}) for this task"
        )
