"""Lines over steps: thinning, running means, and bands over several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from base_fast.reports.contents import Row, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_POINTS = 250  # more would add bytes, not detail


def thin(length: int, points: int = _POINTS) -> NDArray[np.int64]:
    """At most `points` indices, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, length - 1, min(length, points)).round().astype(np.int64))


def running_mean(values: Sequence[float], window: int) -> Array:
    """Centred mean over `window` values, shorter at the ends; what is not a number is left out."""
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, array, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(array))
    low, high = np.maximum(index - window // 2, 0), np.minimum(index + window // 2 + 1, len(array))
    return (sums[high] - sums[low]) / np.maximum(counts[high] - counts[low], 1)


def common_steps(runs: Sequence[Sequence[Row]], key: str) -> tuple[Array, Array]:
    """Steps (S,) that all runs cover and their values (R, S), interpolated where a run was not recorded at a step."""
    found = [(np.array(s), np.array(v)) for s, v in (series(rows, key) for rows in runs) if s]
    if not found:
        return np.empty(0), np.empty((0, 0))
    first, last = max(steps[0] for steps, _ in found), min(steps[-1] for steps, _ in found)
    union = np.unique(np.concatenate([steps for steps, _ in found]))
    grid = union[(union >= first) & (union <= last)]
    return grid, np.array([np.interp(grid, steps, values) for steps, values in found])


def band(
    axes: Axes, runs: Sequence[Sequence[Row]], key: str, scale: float = 1.0, smooth: bool = False, **look: Any
) -> bool:
    """The mean over runs as a line and their range as a band; says whether there was anything to draw."""
    steps, values = common_steps(runs, key)
    if not len(steps):
        return False
    values = values * scale
    if smooth:
        window = max(len(steps) // 25, 1)
        values = np.array([running_mean(row, window) for row in values])
    keep = thin(len(steps))
    steps, values = steps[keep], values[:, keep]
    if len(steps) == 1:
        look.setdefault("marker", "o")
    axes.plot(steps, values.mean(0), **look)
    if len(values) > 1:
        axes.fill_between(steps, values.min(0), values.max(0), color=look.get("color"), alpha=0.18, linewidth=0)
    return True


def over_runs(count: int) -> str:
    """What lines and bands mean, for the end of an axis label."""
    return " (mean and range over runs)" if count > 1 else ""
