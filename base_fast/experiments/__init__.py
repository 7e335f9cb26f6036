"""Whole experiments: each a comparison that ends in one table."""

from __future__ import annotations

from base_fast.experiments.comparison import compare, prepare
from base_fast.experiments.config import CompareConfig

__all__ = ["CompareConfig", "compare", "prepare"]
