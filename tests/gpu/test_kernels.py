"""Every op on a GPU against its reference in float64, whatever kernel serves it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

import base_fast as bf
from tests import tolerances
from tests.ops.samples import DTYPES, SAMPLES, Draws

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is available"),
]


def mapped(x: Any, f: Any) -> Any:
    return [mapped(y, f) for y in x] if isinstance(x, (list, tuple)) else f(x) if isinstance(x, Tensor) else x


@pytest.fixture(autouse=True)
def float32_proper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SAMPLES)
def test_values(name: str, dtype: torch.dtype) -> None:
    column = importlib.import_module(f"base_fast.reference.{name.removesuffix('_backward')}")
    for arguments in SAMPLES[name](Draws(dtype)):
        exact = getattr(column, name)(*mapped(arguments, lambda x: x.double() if x.is_floating_point() else x))
        found = getattr(torch.ops.base_fast, name)(*mapped(arguments, lambda x: x.cuda()))
        for y, e in zip(*([t] if isinstance(t, Tensor) else t for t in (found, exact)), strict=True):
            # A GPU sums in other orders than the CPU's kernels, of which these tolerances are.
            assert tolerances.error(y.cpu(), e) <= 2.0 * tolerances.KERNEL[name][dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_an_edge(stride: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    edge, x = bf.nn.MixedOp(16, stride), torch.randn(4, 16, 12, 12)
    weights = torch.softmax(torch.randn(len(edge.primitives)), 0)
    expected = edge.double()(x.double(), weights.double())
    found = edge.to("cuda", dtype)(x.to("cuda", dtype), weights.to("cuda", dtype))
    tolerance = tolerances.EDGE_KERNEL_FLOAT32 if dtype == torch.float32 else tolerances.EDGE_KERNEL_BFLOAT16
    assert tolerances.error(found.cpu(), expected) <= tolerance
