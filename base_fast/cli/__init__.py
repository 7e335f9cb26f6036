"""The command line, `base-fast`."""

from __future__ import annotations

from base_fast.cli.main import main

__all__ = ["main"]
