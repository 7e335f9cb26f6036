"""SNAS: relaxed samples of the architecture, which learns from the training loss together with the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from base_fast import ops
from base_fast.errors import InputError
from base_fast.meta.config import Schedule
from base_fast.objectives.shared_training import SharedTrainingConfig
from base_fast.strategies.one_shot import GradientStrategy, Tensors


@dataclass(frozen=True)
class Snas(GradientStrategy):
    """Settings of SNAS: z = softmax((α + ξ)/τ), ξ ~ Gumbel(0, 1); α and the weights move along one training loss.

    Source: Xie, Zheng, Liu, Lin, "SNAS: Stochastic Neural Architecture Search", ICLR 2019: 150 epochs of 25,000 images,
    optimizers as in DARTS, τ from 1 to 0.03. Without its resource costs.
    """

    training: SharedTrainingConfig = SharedTrainingConfig(steps=58_500)
    tau: Schedule = Schedule(1.0, 0.03, "exponential")
    """Temperature of the samples over the steps."""

    learns_from: ClassVar[Literal["valid", "train"]] = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.tau)

    def z(self, variables: Tensors, key: Tensor, progress: float) -> Tensor:
        return ops.gumbel_softmax(variables[0], key, self.tau(progress))


def check_temperature(tau: Schedule) -> None:
    """Raises InputError for a temperature that is not positive throughout."""
    if not (tau.start > 0.0 and tau.end > 0.0):
        raise InputError(f"tau: got {tau.start} → {tau.end}, expected both > 0")
