"""Drop-in layers."""

from __future__ import annotations

from base_fast.nn.mixed_op import MixedOp

__all__ = ["MixedOp"]
