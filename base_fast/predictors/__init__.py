"""Learned guesses of what a genotype is worth, before it is trained, and the rows that they are learned from."""

from __future__ import annotations

from base_fast.predictors.ascent import AscentConfig, Climbed, climb
from base_fast.predictors.database import Database
from base_fast.predictors.fitting import Fitting, fit
from base_fast.predictors.value_network import ValueConfig, ValueNetwork

__all__ = [
    "AscentConfig",
    "Climbed",
    "Database",
    "Fitting",
    "ValueConfig",
    "ValueNetwork",
    "climb",
    "fit",
]
