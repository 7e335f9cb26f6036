"""Whole experiments: each a comparison that ends in one table."""

from __future__ import annotations

from base_fast.experiments.collect import CollectConfig, collect, draw, read_cells
from base_fast.experiments.comparison import compare, prepare
from base_fast.experiments.config import CompareConfig
from base_fast.experiments.controller_study import ControllerStudy, Examined, StudyConfig, study
from base_fast.experiments.entrants import CompareStrategiesConfig, Variant
from base_fast.experiments.ground_truth import Placed, Placements
from base_fast.experiments.placement import Placement, place
from base_fast.experiments.strategy_comparison import ComparedStrategies, compare_strategies

__all__ = [
    "CollectConfig",
    "CompareConfig",
    "CompareStrategiesConfig",
    "ComparedStrategies",
    "ControllerStudy",
    "Examined",
    "Placed",
    "Placement",
    "Placements",
    "StudyConfig",
    "Variant",
    "collect",
    "compare",
    "compare_strategies",
    "draw",
    "place",
    "prepare",
    "read_cells",
    "study",
]
