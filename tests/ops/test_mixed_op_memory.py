"""What an edge keeps for backward, and an edge on bfloat16."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.nn import MixedOp
from base_fast.ops import extension, mixed_op
from base_fast.ops.memory import MEMORY
from base_fast.ops.mixed_op import _computed
from base_fast.reference.primitives import weight_shapes
from benchmarks.plain_darts import PRIMITIVES
from tests import tolerances
from tests.ops.contract import check_compiled, gradients
from tests.ops.test_mixed_op import draw
from tests.tolerances import assert_close, error

compiled = pytest.mark.skipif(extension.CPU.module is None, reason="the reference keeps what PyTorch keeps")
SIZE = (4, 20, 9, 10)


def run(inputs: list[Tensor], stride: int, memory: str) -> tuple[Tensor, list[Tensor]]:
    return gradients(lambda x, z, *w: mixed_op(x, z, w, PRIMITIVES, stride, memory=memory), inputs)


def kept(inputs: list[Tensor], stride: int, memory: str, primitives: Sequence[str] = PRIMITIVES) -> int:
    """Bytes that backward keeps beside its inputs."""
    own = {t.data_ptr() for t in inputs}
    saved: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        if t.data_ptr() not in own:
            saved[t.data_ptr()] = t.numel() * t.element_size()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        mixed_op(inputs[0], inputs[1], inputs[2:], primitives, stride, memory=memory).sum()
    return sum(saved.values())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_recomputed_is_what_was_computed(dtype: torch.dtype, stride: int) -> None:
    inputs = draw(SIZE, PRIMITIVES, stride, dtype)
    (value, found), (expected, stored) = run(inputs, stride, "recompute"), run(inputs, stride, "store")
    assert torch.equal(value, expected)
    assert all(map(torch.equal, found, stored))


@pytest.mark.parametrize("stride", [1, 2])
def test_values_rounded_to_bfloat16(stride: int) -> None:
    inputs = draw(SIZE, PRIMITIVES, stride, torch.float32)
    value, found = run(inputs, stride, "store_bf16")
    exact, expected = run([t.double() for t in inputs], stride, "store")
    assert_close(value, exact, tolerances.EDGE_STORED_BFLOAT16)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerances.EDGE_GRADIENT_STORED_BFLOAT16)


@compiled
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_that_are_kept(dtype: torch.dtype, stride: int) -> None:
    inputs = [t.requires_grad_() for t in draw((8, 16, 16, 16), PRIMITIVES, stride, dtype)]
    output = 8 * 16 * (16 // stride) ** 2
    stages = 6 if stride == 1 else 7
    statistics = (stages + 2) * 2 * 16 * 8
    sizes = {memory: kept(inputs, stride, memory) - statistics for memory in MEMORY}
    wide = 4 if dtype == torch.float32 else 2
    # All but the dilated 3×3 convolution's, which are computed again.
    values = (stages - 1) * output
    assert sizes == {"store": values * wide, "store_bf16": values * 2, "recompute": 0}


@compiled
def test_a_dilated_convolution_alone_is_kept() -> None:
    """Beside others it is what costs least to compute again; alone it would be all that backward computes again."""
    alone, beside = (
        kept([t.requires_grad_() for t in draw((8, 16, 16, 16), primitives, 1, torch.float32)], 1, "store", primitives)
        for primitives in (("dil_conv_3x3",), ("dil_conv_3x3", "none"))
    )
    assert alone - beside == 4 * 8 * 16 * 16 * 16


@compiled
@pytest.mark.parametrize("memory", MEMORY)
def test_any_number_of_threads_gives_the_same_bits(memory: str) -> None:
    before = torch.get_num_threads()
    inputs = draw((7, 5, 6, 6), PRIMITIVES, 1, torch.float32)
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            value, found = run(inputs, 1, memory)
            results.append([value, *found])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("weights_dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_is_computed_in_float32(weights_dtype: torch.dtype, stride: int) -> None:
    x, z, *weights = draw(SIZE, PRIMITIVES, stride, torch.bfloat16)
    inputs = [x, z.to(weights_dtype), *(w.to(weights_dtype) for w in weights)]
    value, found = run(inputs, stride, "store")
    exact, expected = run([t.double() for t in inputs], stride, "store")
    assert [t.dtype for t in (value, *found)] == [torch.bfloat16, *(t.dtype for t in inputs)]
    assert_close(value, exact, tolerances.EDGE_BFLOAT16)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerances.EDGE_GRADIENT_STORED_BFLOAT16)


def test_autocast_rounds_x_and_keeps_the_weights() -> None:
    x, z, *weights = draw(SIZE, PRIMITIVES, 1, torch.float32)
    expected, expected_gradients = run([x.bfloat16(), z, *weights], 1, "store")
    with torch.autocast("cpu", torch.bfloat16):
        value, found = run([x, z, *weights], 1, "store")
    assert value.dtype == torch.bfloat16
    assert torch.equal(value, expected)
    assert [t.dtype for t in found] == [torch.float32] * len(found)
    assert torch.equal(found[1], expected_gradients[1])
    with torch.autocast("cpu", torch.bfloat16):
        assert mixed_op(x.double(), z.double(), [w.double() for w in weights], PRIMITIVES).dtype == torch.float64


def test_bfloat16_twice_differentiated() -> None:
    x, z, *weights = (t.requires_grad_() for t in draw((2, 3, 4, 4), PRIMITIVES, 1, torch.bfloat16))
    (first,) = torch.autograd.grad(mixed_op(x, z, weights, PRIMITIVES).sum(), x, create_graph=True)
    second = torch.autograd.grad(first.float().square().sum(), [x, z, *weights])
    assert all(bool(t.isfinite().all()) for t in second)


@pytest.mark.parametrize("memory", MEMORY)
def test_compiled(memory: str) -> None:
    check_compiled(
        lambda x, z, *w: mixed_op(x, z, w, PRIMITIVES, memory=memory), draw((2, 4, 6, 6), PRIMITIVES, 1, torch.float32)
    )


def test_module() -> None:
    edge = MixedOp(4, memory="recompute")
    x, z = torch.randn(2, 4, 6, 6), torch.full((len(PRIMITIVES),), 0.125)
    other = MixedOp(4)
    other.load_state_dict(edge.state_dict())
    assert error(edge(x, z), other(x, z)) == 0.0
    assert "memory='recompute'" in repr(edge)


def test_unknown_level() -> None:
    with pytest.raises(InputError, match="^memory: got 'none', expected one of store, store_bf16, recompute"):
        mixed_op(torch.zeros(2, 3, 4, 4), torch.ones(1), [], ["skip_connect"], memory="none")
    with pytest.raises(InputError, match="^memory: got 'none'"):
        MixedOp(3, memory="none")


def test_the_reference_of_bfloat16_is_computed_in_float32_under_autocast_too() -> None:
    """PyTorch's bfloat16 weight gradients of dilated convolutions on channels-last images are wrong by any factor."""
    x = torch.randn(4, 16, 12, 12, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    primitives = ("dil_conv_3x3", "sep_conv_3x3")
    weights = [torch.randn(s) for p in primitives for s in weight_shapes(p, 16, 1).values()]
    z, grad = torch.tensor([0.4, 0.6]), torch.randn(4, 16, 12, 12, dtype=torch.bfloat16)

    def run() -> list[Tensor]:
        leaves = [t.clone().requires_grad_() for t in (x, z, *weights)]
        y = _computed(leaves[0], leaves[1], leaves[2:], primitives, 1)
        return [y, *torch.autograd.grad(y, leaves, grad)]

    plain = run()
    with torch.autocast("cpu", torch.bfloat16):
        cast = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))
