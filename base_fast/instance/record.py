"""What an instance-aware network comes to: its accuracy and cost, and whether its choices are about the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from base_fast.instance.costs import Costs
from base_fast.instance.meta_graph import MetaGraph
from base_fast.instance.network import InstanceNetwork
from base_fast.random import fold_in, generator
from base_fast.tasks import Split

COMMON = 0.01


@dataclass(frozen=True)
class InstanceRecord:
    """results.json of an instance-aware network, on the images that it was not trained on.

    Attributes:
        accuracy: by the policies that the controller chooses, a share.
        permuted: the mean over permutations of these policies among the images, at the same cost to the digit.
        permuted_p: how often a permutation is as good, the unpermuted one counted.
        cost, full: of an image on average, and with all blocks; unit says in what.
        common: policies that at least 1 % of the images take.
        information: between policy and class, in nats; information_p as permuted_p, of labels.
        controller: the controller's share of the cost.
        steps, parameters: of the training; of both networks.
    """

    accuracy: float
    permuted: float
    permuted_p: float
    cost: float
    full: float
    unit: str
    common: int
    information: float
    information_p: float
    controller: float
    steps: int
    parameters: int

    @property
    def share(self) -> float:
        """The cost as a share of that of all blocks."""
        return self.cost / self.full


def judged(
    network: InstanceNetwork, split: Split, costs: Costs, unit: str, steps: int, key: Tensor, permutations: int = 20
) -> InstanceRecord:
    """Measure a network on all images of a split; `key` draws the permutations."""
    policies = chosen(network, split)
    accuracy = accuracy_of(network.graph, split, policies)
    orders = [_order(len(split), fold_in(key, i)) for i in range(permutations)]
    permuted = [accuracy_of(network.graph, split, policies[order]) for order in orders]
    kinds, of_image, counts = torch.unique(policies.flatten(1), dim=0, return_inverse=True, return_counts=True)
    information = mutual_information(of_image, split.labels, len(kinds), split.num_classes)
    shuffled = []
    for i in range(10 * permutations):
        labels = split.labels[_order(len(split), fold_in(key, permutations + i))]
        shuffled.append(mutual_information(of_image, labels, len(kinds), split.num_classes))
    return InstanceRecord(
        accuracy,
        sum(permuted) / max(1, permutations),
        _p(accuracy, permuted),
        costs.of(policies).mean().item(),
        costs.highest,
        unit,
        int((counts >= COMMON * len(split)).sum()),
        information,
        _p(information, shuffled),
        costs.controller / costs.of(policies).mean().item(),
        steps,
        sum(x.numel() for x in network.parameters()),
    )


def chosen(network: InstanceNetwork, split: Split, batch_size: int = 256) -> Tensor:
    """The controller's policy for every image of a split: bool (N, L, A)."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network.policies(x) for x, _ in split.batches(batch_size)])


def accuracy_of(graph: MetaGraph, split: Split, policies: Tensor, batch_size: int = 256) -> float:
    """The share of a split's images that is classified right, by policies (N, L, A), or one for all (L, A)."""
    graph.eval()
    right, start = 0, 0
    if policies.dim() == 2:
        policies = policies.expand(len(split), -1, -1)
    with torch.inference_mode():
        for x, y in split.batches(batch_size):
            right += int((graph(x, policies[start : start + len(x)]).argmax(dim=1) == y).sum())
            start += len(x)
    return right / len(split)


def mutual_information(a: Tensor, b: Tensor, kinds_a: int, kinds_b: int) -> float:
    """Of two labellings (N,) int64, in nats, from their counts."""
    joint = torch.bincount(a * kinds_b + b, minlength=kinds_a * kinds_b).double().view(kinds_a, kinds_b) / len(a)
    product = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    return torch.where(joint > 0.0, joint * (joint / product).log(), 0.0).nansum().item()


def _order(n: int, key: Tensor) -> Tensor:
    return torch.randperm(n, generator=generator(key), device="cpu")


def _p(own: float, others: list[float]) -> float:
    return (1 + sum(other >= own for other in others)) / (1 + len(others))
