"""Scalar functions that Triton lacks or approximates too roughly; float32 and float64, elementwise."""

from __future__ import annotations

import triton
import triton.language as tl

# log2(e) and ln(2), each as the nearest float32 and what that leaves.
LOG2E_HIGH = tl.constexpr(1.4426950216293335)
LOG2E_LOW = tl.constexpr(1.9259629911266175e-8)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def wide(x):
    """float64 as it is, everything else as float32: what arithmetic is done in."""
    return x if x.dtype == tl.float64 else x.to(tl.float32)


@triton.jit
def zeros(shape: tl.constexpr, pointer):
    """At the width of arithmetic for what `pointer` points to."""
    return wide(tl.zeros(shape, pointer.dtype.element_ty))


@triton.jit
def scalar(value, dtype: tl.constexpr):
    """A float64 argument in the dtype of the arithmetic (a wider one would widen every tensor that it meets)."""
    return tl.full((), value, dtype)


@triton.jit
def exp(x):
    """eˣ for x ≤ 0 to one rounding: the hardware's 2ʸ with the part of y = x·log₂e that float32 cannot hold."""
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        # Below −150 the result is 0, and −inf·0 must not get in.
        x = tl.where(x < -150.0, -150.0, x)
        high = x * LOG2E_HIGH
        low = tl.fma(x, LOG2E_HIGH, -high) + x * LOG2E_LOW
        y = tl.exp2(high)
        return y + y * (low * LN2)


@triton.jit
def log1p(x):
    """log(1 + x) to a few roundings however small |x| is (Kahan): log u is off as far as u − 1 is from x."""
    u = 1.0 + x
    small = u == 1.0
    return tl.where(small, x, tl.log(u) * (x / tl.where(small, 1.0, u - 1.0)))


@triton.jit
def softplus(x):
    """log(1 + eˣ), with full relative precision on both sides."""
    y = exp(-tl.abs(x))
    if x.dtype == tl.float64:
        tail = log1p(y)
    else:
        # 2·artanh s, half the work of a logarithm; its series in s² ≤ 1/9, refitted there, is good to 4e-9.
        s = y / (2.0 + y)
        z = s * s
        series = 0.33333161 + z * (0.20012298 + z * (0.13982579 + z * 0.14078889))
        tail = 2.0 * (s + s * z * series)
    return tl.where(x > 0.0, x, 0.0) + tail


@triton.jit
def sigmoid(x):
    """1/(1 + e⁻ˣ), the derivative of softplus."""
    y = exp(-tl.abs(x))
    return tl.where(x >= 0.0, 1.0, y) / (1.0 + y)
