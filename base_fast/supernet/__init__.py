"""Supernets over flat weights."""

from __future__ import annotations

from base_fast.supernet.config import SupernetConfig
from base_fast.supernet.stems import STEMS
from base_fast.supernet.supernet import Supernet

__all__ = ["STEMS", "Supernet", "SupernetConfig"]
