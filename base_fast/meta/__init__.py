"""Bayesian meta architecture search: ELBO, inner loop, outer step, meta-training and adaptation."""

from __future__ import annotations

from base_fast.meta.adapt import Adaptation, accuracy_and_loss, adapt
from base_fast.meta.architecture import ArchitectureConfig
from base_fast.meta.config import AdaptConfig, Budget, InnerConfig, MetaConfig, OuterConfig, Schedule, StepRule
from base_fast.meta.elbo import Elbo, elbo
from base_fast.meta.evidence import CellEvidenceConfig
from base_fast.meta.play_off import PlayOff, PlayOffConfig, PlayOffRecord, Rule, derived, play_off
from base_fast.meta.trainer import MetaTrainer
from base_fast.meta.variables import Variables

__all__ = [
    "AdaptConfig",
    "Adaptation",
    "ArchitectureConfig",
    "Budget",
    "CellEvidenceConfig",
    "Elbo",
    "InnerConfig",
    "MetaConfig",
    "MetaTrainer",
    "OuterConfig",
    "PlayOff",
    "PlayOffConfig",
    "PlayOffRecord",
    "Rule",
    "Schedule",
    "StepRule",
    "Variables",
    "accuracy_and_loss",
    "adapt",
    "derived",
    "elbo",
    "play_off",
]
