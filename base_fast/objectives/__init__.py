"""What a genotype is worth: looked up, judged by shared weights, trained, or timed; several at once."""

from __future__ import annotations

from base_fast.objectives.config import ObjectiveConfig, SharedWeightsConfig, TableConfig, open_objective
from base_fast.objectives.networks import Latency, Size, Trained
from base_fast.objectives.objective import Measurements, Objective, Quantity, Together
from base_fast.objectives.shared_weights import SharedWeights
from base_fast.objectives.table import Table

__all__ = [
    "Latency",
    "Measurements",
    "Objective",
    "ObjectiveConfig",
    "Quantity",
    "SharedWeights",
    "SharedWeightsConfig",
    "Size",
    "Table",
    "TableConfig",
    "Together",
    "Trained",
    "open_objective",
]
