"""An edge of the supernet against torch.nn modules."""

from __future__ import annotations

import pytest
import torch

from base_fast.errors import InputError
from base_fast.ops import extension, mixed_op
from base_fast.ops.memory import MEMORY
from base_fast.space import PRIMITIVES as KNOWN
from base_fast.space.primitives import FUSED
from benchmarks.plain_darts import NAS_BENCH_201_PRIMITIVES, PRIMITIVES
from tests import tolerances
from tests.ops.contract import check_compiled, check_registration, check_twice_differentiable, gradients
from tests.ops.edges import draw, edge, plain
from tests.tolerances import assert_close

SIZES = [(2, 4, 8, 8), (2, 6, 7, 5), (3, 1, 6, 9), (2, 3, 1, 6), (2, 2, 5, 1), (4, 2, 1, 1), (1, 2, 3, 3)]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("primitives", [PRIMITIVES, NAS_BENCH_201_PRIMITIVES], ids=["darts", "nas_bench_201"])
def test_value_and_gradients(
    primitives: tuple[str, ...], stride: int, size: tuple[int, ...], instruction_set: str
) -> None:
    inputs = draw(size, primitives, stride)
    expected, expected_gradients = gradients(plain(primitives, stride, size[1]), inputs)
    value, found = gradients(edge(primitives, stride), inputs)
    assert value.shape == (*size[:2], -(-size[2] // stride), -(-size[3] // stride))
    assert_close(value, expected, tolerances.EDGE_FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.EDGE_FLOAT64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", KNOWN)
def test_one_primitive(name: str, stride: int) -> None:
    inputs = draw((2, 3, 6, 7), (name,), stride)
    inputs[1] = torch.tensor([1.5], dtype=torch.float64)
    expected, expected_gradients = gradients(plain((name,), stride, 3), inputs)
    value, found = gradients(edge((name,), stride), inputs)
    assert_close(value, expected, tolerances.EDGE_FLOAT64)
    for one, other in zip(found, expected_gradients, strict=True):
        assert_close(one, other, tolerances.EDGE_FLOAT64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("chosen", range(len(PRIMITIVES)))
def test_chosen_is_the_soft_value_of_a_one_hot(chosen: int, stride: int) -> None:
    x, _, *weights = draw((2, 4, 6, 6), PRIMITIVES, stride)
    z = torch.nn.functional.one_hot(torch.tensor(chosen), len(PRIMITIVES)).double()
    soft, (soft_x, soft_z, *soft_weights) = gradients(edge(PRIMITIVES, stride), [x, z, *weights])

    value, (hard_x, hard_z, *hard_weights) = gradients(edge(PRIMITIVES, stride, chosen), [x, z, *weights])
    assert_close(value, soft, tolerances.EDGE_FLOAT64)
    assert_close(hard_x, soft_x, tolerances.EDGE_FLOAT64)
    for one, other in zip(hard_weights, soft_weights, strict=True):
        assert_close(one, other, tolerances.EDGE_FLOAT64)
    # z's gradient passes through the chosen primitive only.
    assert_close(hard_z, soft_z * z, tolerances.EDGE_FLOAT64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("values", [(0.0, 1.0, 2.0), (-0.0, 0.0, -1.0)], ids=str)
def test_ties_of_the_max_pool(values: tuple[float, ...], stride: int, instruction_set: str) -> None:
    """The gradient reaches the pixel that PyTorch chooses among equals."""
    chosen = torch.randint(len(values), (3, 20, 9, 11), generator=torch.Generator().manual_seed(5))
    x, primitives = torch.tensor(values, dtype=torch.float64)[chosen], ("max_pool_3x3", "avg_pool_3x3")
    inputs = [x, torch.tensor([0.6, 0.4], dtype=torch.float64)]
    value, found = gradients(edge(primitives, stride), inputs)
    expected, wanted = gradients(plain(primitives, stride, 20), inputs)
    for one, other in zip((value, *found), (expected, *wanted), strict=True):
        assert_close(one, other, tolerances.EDGE_FLOAT64)


def test_only_the_chosen_primitive_runs() -> None:
    x, z, *weights = draw((2, 4, 6, 6), PRIMITIVES, 1)
    poisoned = [torch.full_like(w, float("nan")) for w in weights]
    assert not mixed_op(x, z, poisoned, PRIMITIVES).isfinite().all()
    for chosen in range(4):
        assert mixed_op(x, z, poisoned, PRIMITIVES, chosen=chosen).isfinite().all()
    mine = [*weights[:4], *poisoned[4:]]
    assert mixed_op(x, z, mine, PRIMITIVES, chosen=4).isfinite().all()
    assert not mixed_op(x, z, mine, PRIMITIVES, chosen=5).isfinite().any()


def test_none_alone_gives_zeros_that_have_gradients() -> None:
    x, z, *_ = draw((2, 3, 5, 5), ("none",), 2)
    value, (d_x, d_z) = gradients(edge(("none",), 2), [x, z])
    assert torch.equal(value, torch.zeros(2, 3, 3, 3).double())
    assert torch.equal(d_x, torch.zeros_like(x))
    assert torch.equal(d_z, torch.zeros_like(z))


def test_batch_norm_uses_the_statistics_of_the_batch() -> None:
    x = draw((4, 3, 6, 6), PRIMITIVES, 1)[0] * 3 + 5
    y = mixed_op(x, torch.ones(1).double(), [], ["avg_pool_3x3"])
    assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(3), tolerances.EDGE_FLOAT64)
    assert_close(y.var(dim=(0, 2, 3), correction=0), torch.ones(3), tolerances.BATCH_NORM_EPSILON)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("primitives", [PRIMITIVES, NAS_BENCH_201_PRIMITIVES], ids=["darts", "nas_bench_201"])
def test_derivatives(primitives: tuple[str, ...], memory: str) -> None:
    x, z, *weights = draw((2, 2, 3, 3), primitives, 2)
    f = edge(primitives, 2, memory=memory)
    check_twice_differentiable(lambda x, z: f(x, z, *weights), [x, z])
    check_twice_differentiable(lambda *w: f(x, z, *weights[:-2], *w), weights[-2:])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8, 16])
def test_backward_of_few_channels_in_channels_last(channels: int) -> None:
    """PyTorch's own 1×1 convolution of stride 2 corrupts memory here (see factorized_reduce)."""
    inputs = draw((2, channels, 64, 64), ("none", "skip_connect"), 2, torch.float32)
    inputs[0] = inputs[0].contiguous(memory_format=torch.channels_last)
    _, found = gradients(edge(("none", "skip_connect"), 2), inputs)
    _, expected = gradients(edge(("none", "skip_connect"), 2), [t.double() for t in inputs])
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, tolerances.EDGE_GRADIENT_FLOAT32)


@pytest.mark.parametrize("memory", range(len(MEMORY)))
def test_registration(memory: int) -> None:
    primitives = ("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3", "sep_conv_3x3")
    numbers = [0, 1, 3, 7, 4]  # as csrc/cpu/edge/primitives.h counts them
    for stride in (1, 2):
        x, z, *weights = (t.requires_grad_() for t in draw((2, 2, 4, 4), primitives, stride))
        check_registration("mixed_op", (x, z, weights, numbers, stride, memory))
        y, values, statistics = torch.ops.base_fast.mixed_op(x, z, weights, numbers, stride, memory)
        own = (x.detach(), z.detach(), [t.detach() for t in weights], numbers, stride, memory)
        check_registration("mixed_op_backward", (torch.ones_like(y), *own, values, statistics))


def test_compiled() -> None:
    check_compiled(edge(PRIMITIVES, 2), draw((2, 4, 6, 6), PRIMITIVES, 2, torch.float32))


def test_no_images() -> None:
    inputs = draw((0, 4, 6, 6), PRIMITIVES, 2)
    assert edge(PRIMITIVES, 2)(*inputs).shape == (0, 4, 3, 3)


@pytest.mark.parametrize("stride", [1, 2])
def test_strides_and_memory_formats_do_not_matter(stride: int) -> None:
    x, z, *weights = draw((2, 4, 6, 8), PRIMITIVES, stride)
    expected = mixed_op(x, z, weights, PRIMITIVES, stride)
    wide = torch.full((2, 4, 6, 16), float("nan"), dtype=torch.float64)
    wide[..., ::2] = x
    for other in (x.contiguous(memory_format=torch.channels_last), wide[..., ::2]):
        assert_close(mixed_op(other, z, weights, PRIMITIVES, stride), expected, tolerances.EDGE_FLOAT64)
    strided = torch.stack((z, z), 1)[:, 0]
    backwards = [w.transpose(0, -1).contiguous().transpose(0, -1) for w in weights]
    assert_close(mixed_op(x, strided, backwards, PRIMITIVES, stride), expected, tolerances.EDGE_FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision(dtype: torch.dtype) -> None:
    inputs = draw((4, 8, 8, 8), PRIMITIVES, 1, dtype)
    value = edge(PRIMITIVES, 1)(*inputs)
    assert value.dtype == dtype
    tolerance = tolerances.EDGE_FLOAT32 if dtype == torch.float32 else tolerances.EDGE_BFLOAT16
    assert_close(value, plain(PRIMITIVES, 1, 8)(*(t.double() for t in inputs)), tolerance)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.zeros(2, 3, 4)}, r"x: got float32 tensor of shape \(2, 3, 4\) on cpu, expected 4 dimension"),
        ({"x": torch.zeros(2, 3, 4, 4).int()}, r"x: got int32 .* expected a floating-point tensor"),
        ({"z": torch.zeros(3)}, r"z: got float32 tensor of shape \(3,\) on cpu, expected shape \(2,\)"),
        ({"z": [0.5, 0.5]}, r"z: got list"),
        ({"stride": 3}, r"stride: got 3, expected an integer from 1 to 2"),
        ({"chosen": 2}, r"chosen: got 2, expected an integer from 0 to 1"),
        ({"chosen": -1}, r"chosen: got -1"),
        ({"primitives": ["none", "conv"]}, r"primitives: got 'conv', expected one of none, max_pool_3x3"),
        ({"weights": []}, r"weights: got shapes \[\], expected \[\(3, 1, 3, 3\), \(3, 3, 1, 1\)\]"),
        ({"weights": [torch.zeros(3, 1, 5, 5), torch.zeros(3, 3, 1, 1)]}, r"weights: got shapes \[\(3, 1, 5, 5\)"),
        ({"x": torch.zeros(1, 3, 1, 1)}, r"x: got shape \(1, 3, 1, 1\), expected more than one value per channel"),
        ({"x": torch.zeros(1, 3, 2, 2), "stride": 2}, r"x: got shape \(1, 3, 2, 2\), expected more than one value"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    arguments = {
        "x": torch.zeros(2, 3, 4, 4),
        "z": torch.ones(2) / 2,
        "weights": [torch.zeros(3, 1, 3, 3), torch.zeros(3, 3, 1, 1)],
        "primitives": ["none", "dil_conv_3x3"],
    } | changed
    with pytest.raises(InputError, match=f"^{message}"):
        mixed_op(**arguments)  # type: ignore[arg-type]


def test_one_dtype() -> None:
    x, z = torch.randn(2, 2, 4, 4), torch.full((2,), 0.5)
    weights = [torch.randn(2, 2, 1, 1)]
    primitives = ["skip_connect", "nor_conv_1x1"]
    with pytest.raises(InputError, match="z: got float64 tensor .* expected torch.float32 on cpu, as x"):
        mixed_op(x, z.double(), weights, primitives)
    with pytest.raises(InputError, match=r"weights\[0\]: got bfloat16"):
        mixed_op(x, z, [weights[0].bfloat16()], primitives)


@pytest.mark.skipif(extension.CPU.module is None, reason=extension.CPU.missing)
@pytest.mark.parametrize("number", [-1, len(FUSED)])
def test_the_kernel_refuses_an_unknown_number(number: int) -> None:
    x, z = torch.ones(1, 2, 3, 3), torch.ones(2)
    with pytest.raises((RuntimeError, ValueError), match=f"got the number {number}, expected one from 0 to"):
        torch.ops.base_fast.mixed_op(x, z, [], [0, number], 1, 0)
