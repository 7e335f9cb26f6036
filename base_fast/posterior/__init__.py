"""Flat posteriors: their layout, storage and derivation."""

from __future__ import annotations

from base_fast.posterior.derivation import Derivation, derive
from base_fast.posterior.layout import Layout
from base_fast.posterior.merge import Gap, gaps, merge
from base_fast.posterior.posterior import Posterior, inverse_softplus, mean_entropy

__all__ = ["Derivation", "Gap", "Layout", "Posterior", "derive", "gaps", "inverse_softplus", "mean_entropy", "merge"]
