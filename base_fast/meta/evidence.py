"""What a cell is worth to a task, as the search sees it: several measures with weights, from cheap to expensive."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.evaluation import NetworkConfig
from base_fast.objectives import (
    Evidence,
    OwnSteps,
    OwnStepsConfig,
    Part,
    SharedTrainingConfig,
    SharedWeights,
    TrainingFree,
    TrainingFreeConfig,
)
from base_fast.objectives.training_free import Score
from base_fast.random import fold_in, key
from base_fast.supernet import Supernet
from base_fast.tasks import Task

FOR_SHORTCUTS: tuple[Score, ...] = ("jacov", "synflow", "gain", "identity", "parameters")
"""Two say how much a cell can do, two how much of its input it passes on, and one how large it is."""
FOR_OTHERS: tuple[Score, ...] = ("naswot", "synflow", "gain", "parameters")
"""Where batch norms are summed and a convolution mixes every input: there is no jacov, and no channel of its own."""


@dataclass(frozen=True)
class CellEvidenceConfig:
    """Weights of the measures, each in standard deviations of a draw, and their settings; 0 leaves a measure out."""

    shared: float = 0.7
    """Validation loss with the shared weights as they are."""
    own_steps: float = 1.0
    """Validation loss after a few steps of the cell's own from the shared weights."""
    alone: float = 0.0
    """Validation loss of the cell trained alone, from fresh weights, always the same ones."""
    training_free: float = 0.7
    """Each of the scores of untrained networks."""
    images: int = 1000
    """The largest number of validation images, for all measures."""
    own: SharedTrainingConfig = OwnStepsConfig().training
    """Steps of the cell's own."""
    fresh: SharedTrainingConfig = replace(OwnStepsConfig().training, steps=400, lr=0.1)
    """Training from fresh weights."""
    scores: tuple[Score, ...] | None = None
    """Which scores of untrained networks; by default jacov, synflow, gain, identity and parameters for NAS-Bench-201's
    networks, naswot, synflow, gain and parameters for DARTS's."""
    batch_size: int = 32
    """Images that they look at."""
    resolution: int = 16
    """Side to which these are shrunk, if they are larger."""
    network: NetworkConfig | None = None
    """Of which networks: by default as deep as NAS-Bench-201's own (17 blocks) or DARTS's (20 cells), with 8 channels.
    Depth is what the scores need to see what a shortcut is good for; in a shallow network they miss it."""

    @property
    def cold(self) -> CellEvidenceConfig | None:
        """What counts while the shared weights are cold, whose losses mislead: scores of untrained networks, if any."""
        if self.training_free == 0.0:
            return None
        return replace(self, shared=0.0, own_steps=0.0, alone=0.0)

    def __post_init__(self) -> None:
        whole_numbers(self)
        weights = (self.shared, self.own_steps, self.alone, self.training_free)
        if not any(weights) or any(weight < 0.0 for weight in weights):
            raise InputError(
                f"shared, own_steps, alone, training_free: got {weights}, expected weights ≥ 0, and one that is not 0"
            )
        if self.images < 1:
            raise InputError(f"images: got {self.images}, expected an integer ≥ 1")


def evidence_on(config: CellEvidenceConfig, supernet: Supernet, theta: Tensor, task: Task) -> Evidence:
    """The evidence of a task's cells, at shared weights θ (P,).

    Raises:
        InputError: a score that the space's networks don't have.
    """
    own = OwnStepsConfig(config.own, config.images)
    parts = []
    if config.shared > 0.0:
        judge = SharedWeights(supernet, theta, task.valid, config.images)
        parts.append(Part(judge, "loss", config.shared, "shared_loss"))
    if config.own_steps > 0.0:
        parts.append(Part(OwnSteps(supernet, theta, task, own), "loss", config.own_steps, "own_steps_loss"))
    if config.alone > 0.0:
        fresh = supernet.prior(fold_in(key(0), 0)).mu.to(theta)
        alone = OwnSteps(supernet, fresh, task, OwnStepsConfig(config.fresh, config.images))
        parts.append(Part(alone, "loss", config.alone, "alone_loss"))
    if config.training_free > 0.0:
        network = config.network or full_depth(supernet)
        scores = config.scores or (FOR_SHORTCUTS if network.skeleton == "nas_bench_201" else FOR_OTHERS)
        free = TrainingFree(
            supernet.space, task, network, TrainingFreeConfig(scores, config.batch_size, config.resolution)
        )
        parts += [Part(free, score, config.training_free) for score in scores]
    return Evidence(parts)


def full_depth(supernet: Supernet) -> NetworkConfig:
    """A narrow network of a supernet's space, as deep as the published ones."""
    if supernet.space.inputs == 1:
        return NetworkConfig("nas_bench_201", channels=8, layers=17)
    return NetworkConfig("cifar", channels=8, layers=20)
