"""Whole experiments: each a comparison that ends in one table."""

from __future__ import annotations

from base_fast.experiments.collect import CollectConfig, collect, draw, read_cells
from base_fast.experiments.comparison import compare, prepare
from base_fast.experiments.config import CompareConfig
from base_fast.experiments.controller_study import ControllerStudy, Examined, StudyConfig, study
from base_fast.experiments.ground_truth import Placed, Placements
from base_fast.experiments.placement import Placement, place
from base_fast.experiments.table_search import compare_on_table

__all__ = [
    "CollectConfig",
    "CompareConfig",
    "ControllerStudy",
    "Examined",
    "Placed",
    "Placement",
    "Placements",
    "StudyConfig",
    "collect",
    "compare",
    "compare_on_table",
    "draw",
    "place",
    "prepare",
    "read_cells",
    "study",
]
