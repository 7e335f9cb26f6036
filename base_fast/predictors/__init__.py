"""Learned guesses of what a genotype is worth, before it is trained, and the rows that they are learned from."""

from __future__ import annotations

from base_fast.predictors.database import Database

__all__ = ["Database"]
