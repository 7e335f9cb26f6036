"""Cells of single primitives, dense convolutions among them, against their definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from base_fast.ops import mixed_cell
from base_fast.ops.mixed_cell_path import STEPS, live
from base_fast.ops.registry import registered
from base_fast.space import NAS_BENCH_201, Space
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients
from tests.ops.test_mixed_cell import Calls, assert_same, cell, definition, draw, picks
from tests.tolerances import assert_close

pytestmark = pytest.mark.skipif(not registered("mixed_cell_path", "CPU"), reason="the compiled extension lacks it")

NONE, SKIP, CONV_1, CONV_3, POOL = range(5)
TWO_INPUTS = Space("two inputs", NAS_BENCH_201.primitives, 2, 2, ("normal",), (3,), None)
PATHS = {
    "convolutions": [CONV_3, CONV_1, CONV_3, CONV_3, CONV_1, CONV_3],
    "of equal steps": [CONV_3] * 6,
    "pools and identities": [POOL, SKIP, POOL, SKIP, POOL, SKIP],
    "one edge": [NONE, NONE, NONE, CONV_3, NONE, NONE],
    "a node that nothing reads": [CONV_3, CONV_1, SKIP, SKIP, NONE, CONV_1],
    "a node without edges": [NONE, POOL, CONV_3, CONV_1, SKIP, CONV_3],
    "nothing": [NONE, CONV_3, NONE, NONE, NONE, NONE],
}


@pytest.mark.parametrize("size", [(2, 4, 8, 8), (3, 1, 7, 5), (3, 20, 6, 9), (5, 3, 2, 1), (4, 16, 4, 4)], ids=str)
@pytest.mark.parametrize("chosen", PATHS.values(), ids=PATHS)
def test_value_and_gradients(chosen: list[int], size: tuple[int, ...]) -> None:
    inputs = draw(NAS_BENCH_201, size, False)
    with Calls() as calls:
        found = gradients(cell(NAS_BENCH_201, False, chosen), inputs)
    assert set(calls.names) == {"mixed_cell_path", "mixed_cell_path_backward"}
    assert_same(found, gradients(definition(NAS_BENCH_201, False, chosen), inputs), tolerances.CELL_FLOAT64)


@pytest.mark.parametrize("seed", range(4))
def test_several_inputs(seed: int) -> None:
    inputs, chosen = draw(TWO_INPUTS, (2, 4, 6, 5), False), picks(TWO_INPUTS, seed)
    found = gradients(cell(TWO_INPUTS, False, chosen), inputs)
    assert_same(found, gradients(definition(TWO_INPUTS, False, chosen), inputs), tolerances.CELL_FLOAT64)


def test_what_starts_at_zeros_or_leads_nowhere_is_left_out() -> None:
    primitives = NAS_BENCH_201.primitives
    assert live([NONE, CONV_1, CONV_3, CONV_1, CONV_3, SKIP], primitives, 1) == [
        *(NONE, CONV_1, NONE),  # node 1 is zeros
        *(CONV_1, NONE, SKIP),
    ]
    assert live([CONV_3, CONV_1, CONV_3, CONV_1, NONE, NONE], primitives, 1) == [NONE] * 3 + [CONV_1, NONE, NONE]
    assert live(PATHS["nothing"], primitives, 1) == [NONE] * 6
    assert live(PATHS["convolutions"], primitives, 1) == PATHS["convolutions"]


def test_weights_off_the_path_take_no_part() -> None:
    x, z, weights = draw(NAS_BENCH_201, (2, 4, 6, 6), False)
    own = weights.numel() // 6
    poisoned = torch.full_like(weights, float("nan"))
    poisoned[3 * own + 16 : 4 * own] = weights[3 * own + 16 : 4 * own]
    chosen = PATHS["one edge"]
    value, found = gradients(cell(NAS_BENCH_201, False, chosen), [x, z, poisoned])
    expected = gradients(definition(NAS_BENCH_201, False, chosen), [x, z, weights])
    assert_same((value, found), expected, tolerances.CELL_FLOAT64)


def test_a_constant_z_gets_no_gradient() -> None:
    x, z, weights = draw(NAS_BENCH_201, (2, 4, 6, 6), False)
    chosen = [CONV_3, SKIP, CONV_1, POOL, SKIP, CONV_3]
    f, g = cell(NAS_BENCH_201, False, chosen), definition(NAS_BENCH_201, False, chosen)
    found = gradients(lambda x, w: f(x, z, w), [x, weights])
    assert_same(found, gradients(lambda x, w: g(x, z, w), [x, weights]), tolerances.CELL_FLOAT64)


def test_derivatives() -> None:
    space = replace(NAS_BENCH_201, nodes=2, concat=(2,))
    x, z, weights = draw(space, (2, 2, 3, 3), False)
    for chosen in ([CONV_3, POOL, CONV_1], [SKIP, CONV_1, POOL]):
        f = cell(space, False, chosen)
        check_twice_differentiable(lambda x, z, f=f: f(x, z, weights), [x, z])
        check_twice_differentiable(lambda w, f=f: f(x, z, torch.cat((w, weights[40:]))), [weights[:40]])


def test_registration() -> None:
    numbers = [STEPS.index(p) for p in NAS_BENCH_201.primitives]
    for chosen in ([CONV_3, POOL, CONV_1, SKIP, SKIP, POOL], [CONV_3] * 6, [NONE] * 6):
        *states, z, weights = (t.requires_grad_() for t in draw(NAS_BENCH_201, (2, 2, 4, 4), False))
        path = live(chosen, NAS_BENCH_201.primitives, 1)
        check_registration("mixed_cell_path", (states, z, weights, numbers, path))
        kept = [t.detach() for t in torch.ops.base_fast.mixed_cell_path(states, z, weights, numbers, path)]
        plain = [t.detach() for t in (*states, z, weights)]
        grad = torch.ones_like(kept[0])
        check_registration("mixed_cell_path_backward", (grad, plain[:1], plain[1], plain[2], numbers, path, True, kept))


def test_compiled() -> None:
    inputs = draw(NAS_BENCH_201, (2, 4, 6, 6), False, torch.float32)
    check_compiled(cell(NAS_BENCH_201, False, [CONV_3, POOL, CONV_1, SKIP, CONV_3, CONV_1]), inputs)


def test_strides_and_memory_formats_do_not_matter() -> None:
    x, z, weights = draw(NAS_BENCH_201, (2, 4, 6, 8), False)
    chosen = [CONV_3, CONV_1, POOL, SKIP, CONV_3, CONV_1]

    def both(x: Tensor, z: Tensor, w: Tensor, upstream: Tensor) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in (x, z, w)]
        y = mixed_cell(leaves[:1], leaves[1], leaves[2], NAS_BENCH_201, chosen=chosen)
        return [y, *torch.autograd.grad(y, leaves, upstream)]

    upstream = torch.randn_like(x)
    expected = both(x, z, weights, upstream)
    last = torch.channels_last
    for own in (
        (x.contiguous(memory_format=last), z, weights, upstream.contiguous(memory_format=last)),
        (
            torch.stack((x, x), -1)[..., 0],
            torch.stack((z, z), 1)[:, 0],
            weights,
            torch.stack((upstream,) * 2, -1)[..., 1],
        ),
        (x, z, torch.stack((weights, weights), 1)[:, 1], upstream),
        (x, z, torch.cat((z[0], weights))[5:], upstream),
    ):
        for one, other in zip(both(*own), expected, strict=True):
            assert_close(one, other, tolerances.CELL_FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(dtype: torch.dtype) -> None:
    inputs, chosen = draw(NAS_BENCH_201, (4, 8, 8, 8), False, dtype), PATHS["convolutions"]
    found = gradients(cell(NAS_BENCH_201, False, chosen), inputs)
    assert {t.dtype for t in (found[0], *found[1])} == {dtype}
    tolerance = tolerances.CELL_FLOAT32 if dtype == torch.float32 else tolerances.CELL_BFLOAT16
    expected = definition(NAS_BENCH_201, False, chosen)(*(t.double() for t in inputs))
    assert_close(found[0], expected, tolerance)


def test_autocast() -> None:
    x, z, weights = draw(NAS_BENCH_201, (2, 4, 6, 6), False, torch.float32)
    f = cell(NAS_BENCH_201, False, PATHS["convolutions"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = f(x, z, weights)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, f(x.bfloat16(), z, weights))


def test_no_images() -> None:
    assert cell(NAS_BENCH_201, False, [CONV_3] * 6)(*draw(NAS_BENCH_201, (0, 4, 6, 6), False)).shape == (0, 4, 6, 6)


def test_the_same_bits_on_any_number_of_threads() -> None:
    """Of what PyTorch does not convolve."""
    inputs = draw(NAS_BENCH_201, (7, 18, 9, 8), False, torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(gradients(cell(NAS_BENCH_201, False, PATHS["pools and identities"]), inputs))
    finally:
        torch.set_num_threads(before)
    for value, found in results[1:]:
        assert torch.equal(value, results[0][0])
        assert all(torch.equal(one, other) for one, other in zip(found, results[0][1], strict=True))
