"""A searched cell against its definition, and against a plain cell of torch.nn modules."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from base_fast.errors import InputError
from base_fast.ops import extension, mixed_cell
from base_fast.ops.extension import CPU
from base_fast.reference.mixed_cell import edge_shapes, strides
from base_fast.reference.mixed_cell import mixed_cell as reference
from base_fast.space import DARTS, NAS_BENCH_201, Space
from tests import tolerances
from tests.ops.contract import (
    check_compiled,
    check_registration,
    check_twice_differentiable,
    gradients,
    saved,
)
from tests.tolerances import assert_close

KERNEL = pytest.mark.skipif(CPU.module is None, reason="the compiled extension is not built")

# A single chain of edges, nodes that the output leaves out or puts in another order, one that nothing reads.
SPACES = {
    "darts": DARTS,
    "one node": DARTS.with_nodes(1),
    "some nodes": replace(DARTS, concat=(5, 2)),
    "an idle node": replace(DARTS, nodes=3, concat=(3,)),
    "one input": replace(NAS_BENCH_201, primitives=("none", "skip_connect", "avg_pool_3x3", "sep_conv_3x3")),
    "nas_bench_201": NAS_BENCH_201,
}
SIZES = [(2, 4, 8, 8), (3, 1, 7, 5), (3, 20, 6, 9), (5, 3, 2, 1)]


def draw(space: Space, size: tuple[int, ...], reduction: bool, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """The states, z, the weights."""
    generator = torch.Generator().manual_seed(11)
    of_edges = strides(space.inputs, space.num_edges, reduction)
    shapes = [shape for s in of_edges for shape in edge_shapes(space.primitives, size[1], s)]
    wanted = (*[size] * space.inputs, (space.num_edges, space.num_primitives), (sum(map(math.prod, shapes)),))
    *states, z, weights = (torch.randn(shape, dtype=torch.float64, generator=generator).to(dtype) for shape in wanted)
    return [*states, torch.softmax(z, -1), weights]


class Calls(TorchDispatchMode):
    """The package's own ops that are called while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "base_fast":
            self.names.append(func._schema.name.removeprefix("base_fast::"))
        return func(*args, **(kwargs or {}))


def picks(space: Space, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(space.num_primitives, (space.num_edges,), generator=generator).tolist()


def cell(
    space: Space, reduction: bool, chosen: Sequence[int] | None = None, memory: str = "store"
) -> Callable[..., Tensor]:
    return lambda *t: mixed_cell(t[:-2], t[-2], t[-1], space, reduction, chosen, memory)


def definition(space: Space, reduction: bool, chosen: Sequence[int] | None = None) -> Callable[..., Tensor]:
    of_edges = chosen or [None] * space.num_edges
    return lambda *t: reference(
        list(t[:-2]), t[-2], t[-1], list(space.primitives), list(space.concat), reduction, of_edges
    )


def assert_same(found: tuple[Tensor, list[Tensor]], expected: tuple[Tensor, list[Tensor]], tolerance: float) -> None:
    for one, other in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        assert_close(one, other, tolerance)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_value_and_gradients(space: Space, size: tuple[int, ...], reduction: bool, hard: bool) -> None:
    inputs = draw(space, size, reduction)
    chosen = picks(space) if hard else None
    found = gradients(cell(space, reduction, chosen), inputs)
    if CPU.module is not None and space is not NAS_BENCH_201:
        assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert_same(found, gradients(definition(space, reduction, chosen), inputs), tolerances.CELL_FLOAT64)


def test_edges_are_those_of_the_space() -> None:
    """Node j gets one edge from each node before it, in DARTS order: a cell of identities counts paths."""
    space = replace(DARTS, primitives=("none", "skip_connect"))
    x, y, z, weights = draw(space, (1, 1, 2, 2), False)
    for e, (predecessor, node) in enumerate(space.edges):
        alone = torch.zeros_like(z)
        alone[e, 1] = 2.0
        out = mixed_cell([x, y], alone, weights, space)
        expected = torch.zeros_like(out)
        if predecessor < 2:
            expected[:, node - 2] = 2.0 * (x, y)[predecessor][:, 0]
        assert torch.equal(out, expected)


@pytest.mark.parametrize("reduction", [False, True])
def test_nothing_chosen_but_none(reduction: bool) -> None:
    inputs = draw(DARTS, (2, 3, 5, 5), reduction)
    value, found = gradients(cell(DARTS, reduction, [0] * 14), inputs)
    assert torch.equal(value, torch.zeros_like(value))
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in found)


def test_only_the_chosen_primitives_run() -> None:
    *states, z, weights = draw(DARTS, (2, 4, 6, 6), False)
    poisoned = torch.full_like(weights, float("nan"))
    without_weights = [1, 2, 3, 0] * 3 + [3, 3]
    assert mixed_cell(states, z, poisoned, DARTS, chosen=without_weights).isfinite().all()
    assert not mixed_cell(states, z, poisoned, DARTS).isfinite().all()


@pytest.mark.parametrize("hard", [False, True])
def test_edges_that_lead_nowhere_take_no_part(hard: bool) -> None:
    """Weights of edges into a node that nothing reads: not even NaN among them reaches anything."""
    space = SPACES["an idle node"]
    inputs = draw(space, (2, 4, 6, 6), False)
    chosen = [4, 5, 6, 7, 1] + [4] * 4 if hard else None
    *states, z, weights = inputs
    idle = sum(node == 4 for _, node in space.edges) * len(weights) // space.num_edges
    poisoned = torch.cat((weights[:-idle], torch.full_like(weights[-idle:], float("nan"))))
    found = gradients(cell(space, False, chosen), [*states, z, poisoned])
    assert_same(found, gradients(definition(space, False, chosen), inputs), tolerances.CELL_FLOAT64)


@KERNEL
@pytest.mark.parametrize("hard", [False, True])
def test_derivatives(hard: bool) -> None:
    space = replace(DARTS.with_nodes(2), primitives=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"))
    *states, z, weights = draw(space, (2, 2, 3, 3), True)
    chosen = [3, 1, 2, 3, 2] if hard else None
    check_twice_differentiable(lambda *t: cell(space, True, chosen)(*t, weights), [*states, z])
    tail = weights[-30:]
    check_twice_differentiable(
        lambda w: cell(space, True, chosen)(*states, z, torch.cat((weights[:-30].detach(), w))), [tail]
    )


def test_registration() -> None:
    space = replace(DARTS, nodes=2, concat=(3,), primitives=("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"))
    numbers = [0, 1, 3, 4]  # as csrc/cpu/edge/primitives.h counts them
    for reduction, chosen, memory in ((False, [], 0), (True, [], 1), (True, [3, 1, 0, 2, 3], 2)):
        *states, z, weights = (t.requires_grad_() for t in draw(space, (2, 2, 4, 4), reduction))
        settings = (numbers, list(space.concat), reduction, chosen, memory)
        check_registration("mixed_cell", (states, z, weights, *settings))
        outputs = torch.ops.base_fast.mixed_cell(states, z, weights, *settings)
        plain = [x.detach() for x in states]
        arguments = (torch.ones_like(outputs[0]), plain, z.detach(), weights.detach(), *settings, *outputs)
        check_registration("mixed_cell_backward", tuple(t.detach() if isinstance(t, Tensor) else t for t in arguments))


@pytest.mark.parametrize("hard", [False, True])
def test_compiled(hard: bool) -> None:
    space = DARTS.with_nodes(2)
    check_compiled(cell(space, True, picks(space) if hard else None), draw(space, (2, 4, 6, 6), True, torch.float32))


@pytest.mark.parametrize("reduction", [False, True])
def test_strides_and_memory_formats_do_not_matter(reduction: bool) -> None:
    *states, z, weights = draw(DARTS, (2, 4, 6, 8), reduction)
    expected = mixed_cell(states, z, weights, DARTS, reduction)
    channels_last = [x.contiguous(memory_format=torch.channels_last) for x in states]
    apart = [torch.stack((x, x), -1)[..., 0] for x in states]
    strided = torch.stack((z, z), 1)[:, 0], torch.stack((weights, weights), 1)[:, 1]
    for own in (channels_last, apart, [channels_last[0], apart[1]]):
        assert torch.equal(mixed_cell(own, *strided, DARTS, reduction), expected)
    f = cell(DARTS, reduction)
    leaves = [t.detach().requires_grad_() for t in (*states, z, weights)]
    upstream = torch.randn_like(expected)
    want = torch.autograd.grad(f(*leaves), leaves, upstream)
    for other in (upstream.contiguous(memory_format=torch.channels_last), torch.stack((upstream,) * 2, -1)[..., 1]):
        for one, gradient in zip(torch.autograd.grad(f(*leaves), leaves, other), want, strict=True):
            assert torch.equal(one, gradient)


def test_one_state_for_both_inputs() -> None:
    x, _, z, weights = draw(DARTS, (2, 4, 6, 6), False)
    found = gradients(lambda x, z, w: mixed_cell([x, x], z, w, DARTS), [x, z, weights])
    assert_same(found, gradients(lambda x, *t: definition(DARTS, False)(x, x, *t), [x, z, weights]), 1e-13)


@pytest.mark.parametrize("space", [DARTS, SPACES["an idle node"]], ids=["darts", "an idle node"])
def test_results_have_the_same_bits_on_any_number_of_threads(space: Space) -> None:
    inputs = draw(space, (7, 18, 9, 8), True, torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(gradients(cell(space, True), inputs))
    finally:
        torch.set_num_threads(before)
    for value, found in results[1:]:
        assert torch.equal(value, results[0][0])
        assert all(torch.equal(one, other) for one, other in zip(found, results[0][1], strict=True))


@KERNEL
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_computed_again_is_what_would_have_been_stored(dtype: torch.dtype, hard: bool) -> None:
    inputs, chosen = draw(DARTS, (3, 18, 6, 5), True, dtype), picks(DARTS) if hard else None
    # What bfloat16 images keep is bfloat16 at every level.
    stored = gradients(cell(DARTS, True, chosen), inputs)
    again = gradients(cell(DARTS, True, chosen, "recompute"), inputs)
    assert torch.equal(stored[0], again[0])
    assert all(torch.equal(one, other) for one, other in zip(stored[1], again[1], strict=True))


@KERNEL
def test_values_stored_in_bfloat16() -> None:
    inputs = draw(DARTS, (4, 8, 8, 8), False, torch.float32)
    value, found = gradients(cell(DARTS, False, memory="store_bf16"), inputs)
    exact, expected = gradients(cell(DARTS, False), inputs)
    assert value.dtype == torch.float32
    assert not torch.equal(value, exact)
    assert_close(value, exact, tolerances.CELL_STORED_BFLOAT16)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerances.CELL_GRADIENT_STORED_BFLOAT16)


@KERNEL
def test_what_each_level_keeps() -> None:
    *states, z, weights = (t.requires_grad_() for t in draw(DARTS, (2, 16, 8, 8), False, torch.float32))
    image, stages = states[0].numel(), 14 * 5
    own = z.numel() + weights.numel() + 6 * image
    for memory, expected in (
        ("store", own + stages * image),
        ("store_bf16", own + stages * image / 2),
        ("recompute", own),
    ):
        kept = saved(mixed_cell(states, z, weights, DARTS, memory=memory))
        assert sum(t.numel() * t.element_size() for t in kept if t.dtype != torch.float64) == 4 * expected


@pytest.mark.parametrize("wide", [False, True])
def test_bfloat16_beside_float32_weights(wide: bool) -> None:
    *states, z, weights = draw(DARTS, (2, 4, 6, 6), False, torch.bfloat16)
    own = (z.float(), weights.float()) if wide else (z, weights)
    leaves = [t.requires_grad_() for t in (*states, *own)]
    y = mixed_cell(leaves[:2], *leaves[2:], DARTS)
    assert y.dtype == torch.bfloat16
    assert [g.dtype for g in torch.autograd.grad(y.sum(), leaves)] == [t.dtype for t in leaves]


def test_autocast() -> None:
    *states, z, weights = draw(DARTS, (2, 4, 6, 6), False, torch.float32)
    expected = mixed_cell([x.bfloat16() for x in states], z, weights, DARTS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = mixed_cell(states, z, weights, DARTS)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(dtype: torch.dtype) -> None:
    inputs = draw(DARTS, (4, 8, 8, 8), True, dtype)
    value = cell(DARTS, True)(*inputs)
    assert value.dtype == dtype
    tolerance = tolerances.CELL_FLOAT32 if dtype == torch.float32 else tolerances.CELL_BFLOAT16
    assert_close(value, definition(DARTS, True)(*(t.double() for t in inputs)), tolerance)


@KERNEL
def test_the_nodes_are_saved_once() -> None:
    """They are read from the output."""
    *states, z, weights = (t.requires_grad_() for t in draw(DARTS, (2, 16, 8, 8), False, torch.float32))
    y = mixed_cell(states, z, weights, DARTS)
    assert [t.data_ptr() for t in saved(y) if t.shape == y.shape] == [y.data_ptr()]


def test_no_images() -> None:
    inputs = draw(DARTS, (0, 4, 6, 6), True)
    assert cell(DARTS, True)(*inputs).shape == (0, 16, 3, 3)


def test_without_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = draw(DARTS, (2, 3, 5, 4), True)
    expected = gradients(definition(DARTS, True), inputs)
    monkeypatch.setattr(extension, "CPU", replace(CPU, module=None))
    assert_same(gradients(cell(DARTS, True), inputs), expected, tolerances.CELL_FLOAT64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"states": [torch.zeros(2, 3, 4, 4)]}, r"states: got 1, expected 2, the inputs of darts"),
        ({"states": [torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 5)]}, r"states\[1\]: got float32 tensor of shape"),
        ({"states": [torch.zeros(2, 3, 4)] * 2}, r"states\[0\]: got .* expected 4 dimension"),
        ({"states": [torch.zeros(2, 3, 4, 4).int()] * 2}, r"states\[0\]: got int32"),
        ({"states": [torch.zeros(1, 3, 1, 1)] * 2}, r"states: got shape \(1, 3, 1, 1\), expected more than one value"),
        ({"states": [torch.zeros(1, 3, 2, 2)] * 2, "reduction": True}, r"states: got shape \(1, 3, 2, 2\), expected"),
        ({"z": torch.zeros(5, 3)}, r"z: got float32 tensor of shape \(5, 3\) on cpu, expected shape \(5, 2\)"),
        ({"z": torch.zeros(5, 2).double()}, r"z: got float64 .* expected torch.float32 on cpu, as the states"),
        ({"weights": torch.zeros(7)}, r"weights: got float32 tensor of shape \(7,\) on cpu, expected shape \(180,\)"),
        ({"weights": torch.zeros(180).double()}, r"weights: got float64"),
        ({"chosen": [0, 1]}, r"chosen: got \[0, 1\], expected 5 indices below 2 or None"),
        ({"chosen": [0, 1, 2, 0, 0]}, r"chosen: got \[0, 1, 2, 0, 0\], expected 5 indices below 2"),
        ({"memory": "keep"}, r"memory: got 'keep', expected one of store, store_bf16, recompute"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    space = replace(DARTS.with_nodes(2), primitives=("none", "dil_conv_3x3"))
    arguments = {
        "states": [torch.zeros(2, 3, 4, 4)] * 2,
        "z": torch.ones(5, 2),
        "weights": torch.zeros(180),
        "space": space,
    } | changed
    with pytest.raises(InputError, match=f"^{message}"):
        mixed_cell(**arguments)  # type: ignore[arg-type]


@KERNEL
@pytest.mark.parametrize("reduction", [False, True])
def test_beside_a_primitive_that_no_kernel_knows_the_others_stay_fused(reduction: bool) -> None:
    space = replace(DARTS.with_nodes(2), primitives=("none", "conv_1x3_3x1", "sep_conv_3x3", "skip_connect"))
    inputs = draw(space, (2, 4, 6, 6), reduction)
    expected, expected_gradients = gradients(definition(space, reduction), inputs)
    with Calls() as calls:
        value, found = gradients(cell(space, reduction), inputs)
    assert calls.names[: 2 * space.num_edges] == ["mixed_op", "mixed_sum"] * space.num_edges
    assert {*calls.names} == {"mixed_op", "mixed_sum", "mixed_op_backward", "mixed_sum_backward"}
    for one, other in zip((value, *found), (expected, *expected_gradients), strict=True):
        assert_close(one, other, tolerances.EDGE_FLOAT64)
