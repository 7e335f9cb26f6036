"""PC-DARTS: DARTS on partial channels, with weights of the edges that compete for a node."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.meta.config import StepRule
from base_fast.objectives.shared_training import SharedTrainingConfig
from base_fast.random import fold_in
from base_fast.reference import philox
from base_fast.space import Space
from base_fast.space.space import NONE
from base_fast.strategies.one_shot import INITIAL_SCALE, GradientStrategy, Tensors
from base_fast.supernet import SupernetConfig


@dataclass(frozen=True)
class PcDarts(GradientStrategy):
    """Settings of PC-DARTS: z_e = β_e·softmax(α_e), where β is a softmax over the edges that enter a node.

    Mixtures see one of `partial` parts of the channels; the others pass an edge, weighted by β_e as well. The variables
    are α (T, E, L) and, per node, the logits of its incoming edges' β (T, predecessors).

    Source: Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020, and
    its code's `train_search.py` and `model_search.py`: 50 epochs of 25,000 images, of which 15 warm the weights up.
    """

    training: SharedTrainingConfig = SharedTrainingConfig(4_900, 256, 0.1, 0.0)
    architecture: StepRule = StepRule("adam", 6e-4, beta1=0.5)
    warm_up: float = 0.3
    partial: int = 4
    """K: one of so many parts of the channels meets the primitives; the supernet is made with it."""
    edge_normalization: bool = True
    """Whether edges have weights β; without, all have 1, as in DARTS."""

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("partial", self.partial, 1)

    def supernet(self, config: SupernetConfig) -> SupernetConfig:
        if config.partial not in (1, self.partial):
            raise InputError(
                f"supernet.partial: got {config.partial}, expected {self.partial} as in pc_darts.partial, or 1, which "
                "that replaces"
            )
        return replace(config, partial=self.partial)

    def initial(self, space: Space, logits: Tensor, key: Tensor) -> Tensors:
        alpha = super().initial(space, logits, key)
        if not self.edge_normalization:
            return alpha
        cells = len(space.cell_types)
        betas = [
            INITIAL_SCALE * philox.normal(fold_in(key, node), cells * node).view(cells, node).to(logits)
            for node in space.node_numbers
        ]
        return *alpha, *betas

    def z(self, variables: Tensors, key: Tensor, progress: float) -> Tensor:
        return mixture(variables)

    def mean(self, space: Space, variables: Tensors) -> Tensor:
        return mixture(variables)

    def logits(self, space: Space, variables: Tensors) -> Tensor:
        """(T, E, L): an edge has primitive l with probability z_el, and is absent with what z_e lacks.

        DARTS's rule then reads α·β off it, as the source derives. Where all edges are kept none competes, and it is α.
        """
        alpha, *betas = variables
        if space.arity is None or not betas:
            return alpha
        none = space.primitives.index(NONE)
        log_beta = torch.cat([torch.log_softmax(beta.double(), dim=-1) for beta in betas], dim=-1)
        log_pi = torch.log_softmax(alpha.double(), dim=-1) + log_beta.unsqueeze(-1)
        # z_e sums to β_e: 1 − β_e more are absent.
        absent = torch.log((log_pi[..., none].exp() - torch.expm1(log_beta)).clamp_min(torch.finfo(torch.float64).tiny))
        return torch.cat([log_pi[..., :none], absent.unsqueeze(-1), log_pi[..., none + 1 :]], dim=-1)


def mixture(variables: Tensors) -> Tensor:
    """z (T, E, L) of α and the nodes' β, which have no part in it where there are none."""
    alpha, *betas = variables
    z = torch.softmax(alpha, dim=-1)
    if not betas:
        return z
    # Edges are ordered by the node that they enter.
    return z * torch.cat([torch.softmax(beta, dim=-1) for beta in betas], dim=-1).unsqueeze(-1)
