"""What a genotype is worth: looked up, judged by shared weights, trained, untrained, or timed; several at once."""

from __future__ import annotations

from base_fast.objectives.belief import Belief, open_belief
from base_fast.objectives.config import (
    EvidenceConfig,
    ObjectiveConfig,
    PartConfig,
    SharedWeightsConfig,
    TableConfig,
    open_objective,
)
from base_fast.objectives.correlation import (
    Correlation,
    Quality,
    evidence_quality,
    pairwise_accuracy,
    rank_correlation,
    spearman_interval,
)
from base_fast.objectives.evidence import Evidence, Part
from base_fast.objectives.networks import Latency, Size, Trained
from base_fast.objectives.objective import Measurements, Objective, Quantity, Together
from base_fast.objectives.own_steps import OwnSteps, OwnStepsConfig
from base_fast.objectives.pareto import front, hypervolume
from base_fast.objectives.ranks import normal_scores
from base_fast.objectives.reward import Limit, RewardConfig, Rewarded, Term
from base_fast.objectives.shared_training import SharedTraining, SharedTrainingConfig
from base_fast.objectives.shared_weights import SharedWeights
from base_fast.objectives.table import Table
from base_fast.objectives.training_free import TrainingFree, TrainingFreeConfig

__all__ = [
    "Belief",
    "Correlation",
    "Evidence",
    "EvidenceConfig",
    "Latency",
    "Limit",
    "Measurements",
    "Objective",
    "ObjectiveConfig",
    "OwnSteps",
    "OwnStepsConfig",
    "Part",
    "PartConfig",
    "Quality",
    "Quantity",
    "RewardConfig",
    "Rewarded",
    "SharedTraining",
    "SharedTrainingConfig",
    "SharedWeights",
    "SharedWeightsConfig",
    "Size",
    "Table",
    "TableConfig",
    "Term",
    "Together",
    "Trained",
    "TrainingFree",
    "TrainingFreeConfig",
    "evidence_quality",
    "front",
    "hypervolume",
    "normal_scores",
    "open_belief",
    "open_objective",
    "pairwise_accuracy",
    "rank_correlation",
    "spearman_interval",
]
