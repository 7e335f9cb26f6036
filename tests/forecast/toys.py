"""A forecast from probes whose findings are made up, so that its arithmetic can be done by hand."""

from __future__ import annotations

from typing import Any

from base_fast.forecast import Cost, Forecast, OneResolution
from base_fast.forecast.probe import Found
from base_fast.meta import ArchitectureConfig, InnerConfig, MetaConfig, OuterConfig

MIB = 2**20


def found(batch: int, **more: Any) -> Found:
    """100 MiB before the first step, 20 for any step and 3 for each image; 0.1 s a step and 0.01 s an image."""
    own: dict[str, Any] = {
        "batch": batch,
        "numbers": MIB,
        "held": 100 * MIB,
        "stepping": (120 + 3 * batch) * MIB,
        "chained": 0,
        "sample": Cost(1.0, 2.0),
        "step": Cost(0.1 + 0.01 * batch, 2 * (0.1 + 0.01 * batch)),
        "around": Cost(),
        "measuring": 150 * MIB,
        "warm_cell": Cost(3.0, 3.0),
        "cold_cell": Cost(1.0, 1.0),
        "different": 0.5,
    }
    return Found(**(own | more))


def meta(**more: Any) -> MetaConfig:
    inner = InnerConfig(batch_size=64, architecture=ArchitectureConfig(cells=8, every=40))
    own: dict[str, Any] = {"inner": inner, "iterations": 10, "tasks": 4, "inner_steps": 100, "warmup": 3}
    return MetaConfig(**(own | more))


def one(config: MetaConfig | None = None, **more: Any) -> OneResolution:
    return OneResolution(config or meta(), found(16, **more), found(32, **more))


def forecast(config: MetaConfig | None = None, **more: Any) -> Forecast:
    config = config or meta()
    return Forecast(config, {32: one(config, **more)})


def unrolled() -> OneResolution:
    """Each step of the chain takes 1 MiB and 0.5 for each image; the probes' shorter chain is of two."""
    config = meta(inner=InnerConfig(z="soft", batch_size=64), outer=OuterConfig("unrolled"))
    small, large = (
        found(b, stepping=(120 + 2 * (1 + b // 2)) * MIB, chained=(1 + b // 2) * MIB, measuring=0) for b in (16, 32)
    )
    return OneResolution(config, small, large)
