"""Edges of any shape, stride, primitives, memory level, dtype and layout, drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis
import pytest
import torch
from hypothesis import strategies
from torch import Tensor

from base_fast.ops.memory import MEMORY
from base_fast.reference.mixed_op import mixed_op as reference
from base_fast.space import PRIMITIVES
from tests import tolerances
from tests.ops.contract import gradients
from tests.ops.edges import draw, edge
from tests.ops.samples import channels_last, every_other, shifted
from tests.tolerances import assert_close

pytestmark = pytest.mark.usefixtures("fresh_memory_is_nan")

sizes = strategies.tuples(
    *(strategies.integers(1, most) for most in (5, 40, 14, 14)),
)
edges = strategies.lists(strategies.sampled_from([*PRIMITIVES]), min_size=1, max_size=10).map(tuple)
layouts = strategies.sampled_from([torch.Tensor.contiguous, channels_last, every_other, shifted])


def count(size: tuple[int, ...], stride: int) -> int:
    """Values per channel of the output. Two or three may be so close to each other that their batch norm is all
    rounding; tests of fixed sizes have such channels.
    """
    return size[0] * -(-size[2] // stride) * -(-size[3] // stride)


@hypothesis.settings(max_examples=400)
@hypothesis.given(
    sizes,
    strategies.sampled_from([1, 2]),
    edges,
    strategies.one_of(strategies.none(), strategies.integers(0, 9)),
    strategies.sampled_from(MEMORY),
    layouts,
    layouts,
    strategies.integers(0, 2**32),
)
def test_an_edge_is_its_reference(
    size: tuple[int, ...],
    stride: int,
    primitives: tuple[str, ...],
    chosen: int | None,
    memory: str,
    of_x: Callable[[Tensor], Tensor],
    of_weights: Callable[[Tensor], Tensor],
    seed: int,
) -> None:
    hypothesis.assume(count(size, stride) > 3 and (chosen is None or chosen < len(primitives)))
    inputs = draw(size, primitives, stride, seed=seed)

    def expected(x: Tensor, z: Tensor, *weights: Tensor) -> Tensor:
        return reference(x, z, list(weights), list(primitives), stride, chosen)

    def found(x: Tensor, z: Tensor, *weights: Tensor) -> Tensor:
        return edge(primitives, stride, chosen, memory)(of_x(x), of_weights(z), *map(of_weights, weights))

    value, derivatives = gradients(found, inputs)
    expected_value, expected_derivatives = gradients(expected, inputs)
    assert_close(value, expected_value, tolerances.EDGE_ANY_FLOAT64)
    for one, other in zip(derivatives, expected_derivatives, strict=True):
        assert_close(one, other, tolerances.EDGE_ANY_FLOAT64)


@hypothesis.settings(max_examples=200)
@hypothesis.given(
    sizes,
    strategies.sampled_from([1, 2]),
    edges,
    strategies.sampled_from(MEMORY),
    layouts,
    strategies.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_neither_layout_nor_threads_change_a_bit(
    size: tuple[int, ...],
    stride: int,
    primitives: tuple[str, ...],
    memory: str,
    layout: Callable[[Tensor], Tensor],
    dtype: torch.dtype,
) -> None:
    # PyTorch's own convolutions, which compute what has no number, promise no such thing.
    primitives = tuple(p for p in primitives if PRIMITIVES[p].number is not None) or ("max_pool_3x3",)
    hypothesis.assume(count(size, stride) > 1)
    inputs = draw(size, primitives, stride, dtype)
    f = edge(primitives, stride, memory=memory)
    value, derivatives = gradients(f, inputs)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again, others = gradients(lambda *xs: f(*map(layout, xs)), inputs)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again, value)
    for one, other in zip(others, derivatives, strict=True):
        assert torch.equal(one, other)
