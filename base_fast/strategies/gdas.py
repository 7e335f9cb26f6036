"""GDAS: one drawn primitive runs on every edge, and the gradient passes through its weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from base_fast import ops
from base_fast.meta.config import Schedule
from base_fast.objectives.shared_training import SharedTrainingConfig
from base_fast.strategies.one_shot import GradientStrategy, Tensors
from base_fast.strategies.snas import check_temperature


@dataclass(frozen=True)
class Gdas(GradientStrategy):
    """Settings of GDAS: z = one-hot(argmax(α + ξ)), ξ ~ Gumbel(0, 1), with the gradient of softmax((α + ξ)/τ).

    Only the drawn primitives run, in the validation step as in the training step. An edge gives z_i·op_i for the drawn
    i, so the loss has a gradient for z_i alone; the softmax passes it on to the logits of all primitives. The code of
    the source also adds Σ_{j≠i} z_j to the edge, zero by value, which gives each z_j the sum of the edge's gradient,
    as if the primitives that do not run gave ones; here they give nothing.

    Source: Dong & Yang, "Searching for A Robust Neural Architecture in Four GPU Hours", CVPR 2019, and AutoDL-Projects:
    250 epochs of 25,000 images, τ from 10 to 0.1, Nesterov momentum.
    """

    training: SharedTrainingConfig = SharedTrainingConfig(steps=97_500, weight_decay=5e-4, nesterov=True)
    tau: Schedule = Schedule(10.0, 0.1)
    """Temperature of the gradient over the steps."""

    hard: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.tau)

    def z(self, variables: Tensors, key: Tensor, progress: float) -> Tensor:
        return ops.gumbel_softmax(variables[0], key, self.tau(progress), hard=True)
