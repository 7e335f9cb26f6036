"""Static children of a meta-graph, which give all images one policy, and whether costs are what is measured."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.instance.costs import Costs, seconds
from base_fast.instance.meta_graph import MetaGraph
from base_fast.instance.network import InstanceNetwork
from base_fast.instance.record import accuracy_of
from base_fast.objectives import rank_correlation
from base_fast.reference import philox
from base_fast.tasks import Split


def best_static(graph: MetaGraph, split: Split, costs: Costs, limit: float, key: Tensor, draws: int = 64) -> Tensor:
    """The policy bool (L, A) that does best for all images alike among those that cost at most `limit`.

    Candidates are `draws` random policies within the limit, and a greedy one: from all blocks, that goes whose loss of
    accuracy for its cost was least when it alone was left out.

    Raises:
        InputError: a limit below the cost of no block.
    """
    if limit < costs.lowest:
        raise InputError(f"limit: got {limit}, expected at least the cost of no block, {costs.lowest}")
    candidates = [_greedy(graph, split, costs, limit), *_random(graph.shape, costs, limit, key, draws)]
    scores = [accuracy_of(graph, split, policy) for policy in candidates]
    return candidates[scores.index(max(scores))]


def _greedy(graph: MetaGraph, split: Split, costs: Costs, limit: float) -> Tensor:
    policy = torch.ones(graph.shape, dtype=torch.bool, device="cpu")
    whole, lost = accuracy_of(graph, split, policy), torch.zeros(graph.shape, dtype=torch.float64, device="cpu")
    for place in policy.nonzero().tolist():
        without = policy.clone()
        without[tuple(place)] = False
        lost[tuple(place)] = (whole - accuracy_of(graph, split, without)) / costs.blocks[tuple(place)].clamp(min=1e-12)
    for index in lost.flatten().argsort().tolist():
        if costs.of(policy.unsqueeze(0)).item() <= limit:
            break
        policy.view(-1)[index] = False
    return policy


def _random(shape: tuple[int, int], costs: Costs, limit: float, key: Tensor, draws: int) -> list[Tensor]:
    """Blocks in random order, each taken where it still fits."""
    orders = philox.uniform(key, draws * shape[0] * shape[1]).view(draws, -1).argsort(dim=1)
    found = []
    for order in orders.tolist():
        policy = torch.zeros(shape, dtype=torch.bool, device="cpu")
        for index in order:
            policy.view(-1)[index] = True
            if costs.of(policy.unsqueeze(0)).item() > limit:
                policy.view(-1)[index] = False
        found.append(policy)
    return found


class Agreement(NamedTuple):
    """Predicted and measured milliseconds for an image, (n,) float64 each."""

    predicted: Tensor
    measured: Tensor

    @property
    def spearman(self) -> float:
        """Rank correlation of the two."""
        return rank_correlation(self.predicted, self.measured).spearman

    @property
    def error(self) -> float:
        """Mean relative error."""
        return ((self.predicted - self.measured).abs() / self.measured).mean().item()


def agreement(network: InstanceNetwork, costs: Costs, policies: Tensor, resolution: int, repeats: int = 5) -> Agreement:
    """Times of whole passes, controller included, in which every image of a batch has its policy.

    Args:
        policies: bool (n, B, L, A): of each of n batches.
    """
    place, found = next(network.parameters()), []
    network.eval()
    with torch.inference_mode():
        x = torch.zeros(policies.shape[1], 3, resolution, resolution, device="cpu").to(place)
        for policy in policies:

            def work(policy: Tensor = policy) -> None:
                network.controller(x)
                network.graph(x, policy)

            found.append(1e3 * seconds(work, place.device, repeats) / len(x))
    predicted = torch.stack([costs.of(policy).mean() for policy in policies])
    return Agreement(predicted, torch.tensor(found, dtype=torch.float64, device="cpu"))
