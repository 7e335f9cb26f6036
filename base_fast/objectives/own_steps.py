"""What a genotype is worth after a few steps of its own from a supernet's weights."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError, Interrupted
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.objectives.shared_weights import path_scores
from base_fast.objectives.workers import map_on_cores
from base_fast.runs import interruptible
from base_fast.supernet import Supernet
from base_fast.tasks import Task


@dataclass(frozen=True)
class OwnStepsConfig:
    """How a path is trained by itself, and on what it is judged."""

    training: SharedTrainingConfig = SharedTrainingConfig(
        steps=30, batch_size=64, lr=0.05, lr_min=0.0, momentum=0.9, weight_decay=0.0
    )
    """Steps of the path's weights."""
    images: int | None = 1000
    """The largest number of validation images; all if unset."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.images is not None and self.images < 1:
            raise InputError(f"images: got {self.images}, expected an integer ≥ 1")


class OwnSteps(Objective):
    """What a genotype's path through a supernet comes to in a few steps of its own from the shared weights: accuracy
    and loss on validation images after them, and the mean training loss on the way.

    The shared weights alone rank cells by how well they live with all the others; what a task would do with a cell is
    adapt it, and this is that, cut short: the view that MAML takes of a path (Finn et al. 2017). All genotypes of one
    call take the same batches, in the same order, and are judged on the same images, so that what is hard about them
    cancels in comparisons. The mean training loss needs no validation images and averages over all batches (training
    speed estimation, Ru et al., Speedy Performance Estimation for NAS, NeurIPS 2021).

    Genotypes are measured side by side, one to a core, with the same bits on any number of them.

    Args:
        supernet: with the task's head.
        theta: (P,) shared weights; not changed.
        task: its training images move a path's weights, its validation images judge.
        config: how many steps of which kind.

    Raises:
        Interrupted: from `measure`, between two genotypes, when SIGINT or SIGTERM came.
    """

    quantities = (
        Quantity("accuracy", "larger", "%"),
        Quantity("loss", "smaller", "nats"),
        Quantity("training_loss", "smaller", "nats"),
    )
    costs = ("training steps",)

    def __init__(self, supernet: Supernet, theta: Tensor, task: Task, config: OwnStepsConfig | None = None) -> None:
        self.space = supernet.space
        self.config = config or OwnStepsConfig()
        self.supernet, self.theta, self.task = supernet, theta.detach(), task

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        training = SharedTraining(self.supernet, self.task.train, self.config.training, key)
        paths = F.one_hot(choices, self.space.num_primitives).to(self.theta)
        with interruptible() as interruption:

            def score(z: Tensor) -> list[float]:
                if interruption.requested:
                    raise Interrupted("stopped while genotypes were measured")
                weights, training_loss = trained_path(training, self.theta, z)
                accuracy, loss = path_scores(self.supernet, weights, z, self.task.valid, True, self.config.images)
                return [100.0 * accuracy, loss, training_loss]

            values = map_on_cores(score, list(paths))
        costs = torch.full((len(choices), 1), float(self.config.training.steps), dtype=torch.float64, device="cpu")
        return Measurements(torch.tensor(values, dtype=torch.float64, device="cpu").view(-1, 3), costs)


def trained_path(training: SharedTraining, theta: Tensor, z: Tensor) -> tuple[Tensor, float]:
    """(P,) weights after all steps of `training` on the path z (T, E, L), from θ (P,), and the mean loss on the way.

    Raises:
        Diverged: a loss or a gradient is NaN or infinite.
    """
    momentum, losses = torch.zeros_like(theta), []
    for step in range(training.config.steps):
        trained = training.step(theta, momentum, z, step)
        theta, momentum = trained.theta, trained.momentum
        losses.append(trained.loss)
    return theta, fmean(losses)
