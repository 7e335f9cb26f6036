"""Distributions over the genotypes of a space: drawn, scored, read and saved alike."""

from __future__ import annotations

from base_fast.distributions.controller import Controller
from base_fast.distributions.distribution import Distribution
from base_fast.distributions.empirical import Empirical
from base_fast.distributions.files import load_distribution, save_distribution
from base_fast.distributions.independent import IndependentEdges

__all__ = ["Controller", "Distribution", "Empirical", "IndependentEdges", "load_distribution", "save_distribution"]
