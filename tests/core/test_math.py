"""The core's float functions against NumPy's in float64, in units in the last place of float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STRIDE = 997


def floats_between(low: float, high: float) -> NDArray[np.float32]:
    """Every 997th float from one to the other, which are of one sign."""
    a, b = sorted(np.array([low, high], np.float32).view(np.uint32).tolist())
    return np.arange(a, b, STRIDE, dtype=np.uint32).view(np.float32)


def softplus(x: Floats) -> Floats:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


# name, exact function, range, largest error in ulps: without fused products and sums where it is larger than with them.
CASES: list[tuple[str, Callable[[Floats], Floats], float, float, float]] = [
    ("log", np.log, 1e-44, 3.4e38, 1.3),
    ("exp", np.exp, -1e-10, -103.9, 1.1),
    ("exp", np.exp, 1e-10, 88.72283, 1.1),
    ("exp_negative", np.exp, -1e-10, -87.3, 1.1),
    ("log1p_unit", np.log1p, 1e-30, 1.0, 1.3),
    ("softplus", softplus, -1e-10, -87.3, 2.0),
    ("softplus", softplus, 1e-10, 100.0, 2.2),
    ("sigmoid", sigmoid, -1e-10, -87.3, 2.4),
    ("sigmoid", sigmoid, 1e-10, 100.0, 2.4),
]


def ulps(found: NDArray[np.float32], exact: Floats) -> float:
    spacing = np.spacing(np.maximum(np.abs(exact), 2.0**-126).astype(np.float32)).astype(np.float64)
    return float((np.abs(found.astype(np.float64) - exact) / spacing).max())


def call(core, name, x):
    return core.apply(getattr(core.module.Function, name), np.ascontiguousarray(x, np.float32))


@pytest.mark.parametrize(("name", "exact", "low", "high", "bound"), CASES, ids=[f"{c[0]} {c[2]:g}" for c in CASES])
def test_accuracy(core, name, exact, low, high, bound):
    x = floats_between(low, high)
    assert ulps(call(core, name, x), exact(x.astype(np.float64))) <= bound


def test_accuracy_at_uniforms(core):
    u = ((np.arange(0, 2**23, 7) + 0.5) * 2.0**-23).astype(np.float32)
    wide = u.astype(np.float64)
    logs = call(core, "log_positive", u)
    assert ulps(logs, np.log(wide)) <= 1.1
    assert ulps(call(core, "log_positive", -logs), np.log(-logs.astype(np.float64))) <= 1.1
    # From an argument within an eighth of a turn of 0: the rounding of pi would show near a zero.
    quarter = np.rint(4.0 * wide)
    rest = (4.0 * wide - quarter) * (np.pi / 2.0)
    turn = quarter.astype(np.int64) % 4
    cos, sin = np.cos(rest), np.sin(rest)
    assert ulps(call(core, "cos_turn", u), np.choose(turn, (cos, -sin, -cos, sin))) <= 2.0
    assert ulps(call(core, "sin_turn", u), np.choose(turn, (sin, cos, -sin, -cos))) <= 2.0


INF, NAN = float("inf"), float("nan")
ENDS: dict[str, tuple[tuple[float, float], ...]] = {
    "log": ((0.0, -INF), (-0.0, -INF), (INF, INF), (-1.0, NAN), (-INF, NAN), (NAN, NAN), (1.0, 0.0)),
    "exp": ((88.7229, INF), (INF, INF), (1e30, INF), (-INF, 0.0), (-200.0, 0.0), (NAN, NAN), (0.0, 1.0)),
    "exp_negative": ((-INF, 0.0), (-88.0, 0.0), (NAN, NAN), (0.0, 1.0), (-0.0, 1.0)),
    "softplus": ((INF, INF), (-INF, 0.0), (NAN, NAN), (20.0, 20.0), (3e38, 3e38)),
    "sigmoid": ((INF, 1.0), (-INF, 0.0), (NAN, NAN), (0.0, 0.5)),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends(core, name):
    x, expected = np.array(ENDS[name], np.float32).T
    found = call(core, name, x)
    assert np.array_equal(found, expected, equal_nan=True)
    assert not np.signbit(found[expected == 0.0]).any()


def test_exp_keeps_denormal_numbers(core):
    assert call(core, "exp", [-103.0])[0] > 0.0
