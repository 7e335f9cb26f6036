"""Spaces small enough to list, with a frozen supernet: the gradient that PARSEC estimates, and estimates of it."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.distributions import IndependentEdges
from base_fast.random import key
from base_fast.space import Space
from base_fast.strategies.likelihood_weights import architecture_gradient
from base_fast.supernet import Supernet

PRIMITIVES = ("none", "skip_connect", "sep_conv_3x3", "avg_pool_3x3", "max_pool_3x3")
CLASSES, PIXELS = 3, 8
HEAD = 0.3


def two_edges(primitives: int) -> Space:
    """Two edges that are both kept: primitives² architectures."""
    return Space("listed", PRIMITIVES[:primitives], inputs=2, nodes=1, cell_types=("normal",), concat=(2,), arity=None)


class Listed:
    """All architectures (A, 1, 2) of two edges, with weights and a policy drawn at random.

    Args:
        primitives: L, up to 5.
        images: in the batch; the more, the further apart are likelihoods.

    Attributes:
        logits: (1, 2, L) of the policy π.
        log_likelihoods: (A,) of the batch, in nats, float64.
        scores: (A, 2·L), ∇_π log p(α | π).
    """

    def __init__(self, primitives: int, images: int) -> None:
        self.space = two_edges(primitives)
        draws = torch.Generator().manual_seed(1)
        self.logits = 0.5 * torch.randn(1, 2, primitives, generator=draws, dtype=torch.float64)
        self.choices = torch.tensor(list(itertools.product(range(primitives), repeat=2))).unsqueeze(1)
        net = Supernet(self.space, channels=2, layers=2, num_classes=CLASSES, reductions=())
        theta = net.prior(key(0), mu_scale=1.0, dtype=torch.float64).mu
        theta[net.head] = HEAD * torch.randn(net.head.stop - net.head.start, generator=draws, dtype=torch.float64)
        x = torch.randn(images, 3, PIXELS, PIXELS, generator=draws, dtype=torch.float64)
        y = torch.arange(images) % CLASSES
        paths = F.one_hot(self.choices, primitives).double()
        with torch.no_grad():
            losses = [F.cross_entropy(net(x, theta, z, True), y, reduction="sum") for z in paths]
        self.log_likelihoods = -torch.stack(losses)
        alone = torch.ones(1, dtype=torch.float64)
        found = [architecture_gradient(self.space, self.logits, one.unsqueeze(0), alone) for one in self.choices]
        self.scores = torch.stack(found).flatten(1)

    def exact(self) -> Tensor:
        """∇_π log Σ_α p(y | α) p(α | π) (2·L,), by autograd."""
        logits = self.logits.clone().requires_grad_(True)
        joint = self.log_likelihoods + IndependentEdges(self.space, logits).log_prob(self.choices)
        return torch.autograd.grad(torch.logsumexp(joint, dim=0), logits)[0].flatten()

    def estimates(self, children: int, number: int) -> Tensor:
        """(number, 2·L): Σ_k w_k ∇_π log p(α_k | π) of so many draws of children, without tempering."""
        p = IndependentEdges(self.space, self.logits).log_prob(self.choices).exp()
        draws = torch.Generator().manual_seed(children)
        drawn = torch.multinomial(p, number * children, True, generator=draws).view(number, children)
        weights = torch.softmax(self.log_likelihoods[drawn], dim=-1)
        # Few architectures: the weights of each add up, and their scores are then a matrix product away.
        together = weights.new_zeros(number, len(p)).scatter_add(1, drawn, weights)
        return together @ self.scores
