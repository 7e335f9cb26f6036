"""W + λ·(mean ψ − W) against the formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import outer_step
from tests import tolerances
from tests.ops.contract import check_registration
from tests.tolerances import assert_close


def draw(count: int, tasks: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, list[Tensor]]:
    """The prior and the tasks' adapted posteriors near it."""
    generator = torch.Generator().manual_seed(14)
    first, *rest = (torch.randn(count, dtype=torch.float64, generator=generator) for _ in range(tasks + 1))
    return first.to(dtype), [(first + 0.1 * x).to(dtype) for x in rest]


def by_hand(prior: Tensor, adapted: list[Tensor], step_size: float) -> Tensor:
    total = sum((x.double() for x in adapted), torch.zeros_like(prior, dtype=torch.float64))
    return prior.double() + step_size * (total / len(adapted) - prior.double())


@pytest.mark.parametrize("tasks", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("count", [1, 5, 1000, 50_001])
def test_formula(count: int, tasks: int) -> None:
    for dtype, tolerance in (
        (torch.float64, tolerances.FLOAT64),
        (torch.float32, tolerances.STEP_FLOAT32),
        (torch.bfloat16, tolerances.STEP_BFLOAT16),
    ):
        prior, adapted = draw(count, tasks, dtype)
        copies = [x.clone() for x in (prior, *adapted)]
        after = outer_step(prior, adapted, 0.3)
        assert (after.dtype, after.shape) == (dtype, (count,))
        assert_close(after, by_hand(prior, adapted, 0.3), tolerance)
        assert all(torch.equal(a, b) for a, b in zip(copies, (prior, *adapted), strict=True))


def test_step_sizes_zero_and_one() -> None:
    prior, adapted = draw(33, 4)
    assert torch.equal(outer_step(prior, adapted, 0.0), prior)
    assert_close(outer_step(prior, adapted, 1.0), torch.stack(adapted).mean(0), tolerances.FLOAT64)


def test_a_prior_among_its_own_posteriors() -> None:
    prior, _ = draw(33, 1)
    after = outer_step(prior, [prior, prior], 0.7)
    assert_close(after, prior, tolerances.FLOAT64)
    assert after.data_ptr() != prior.data_ptr()


def test_registration() -> None:
    check_registration("outer_step", (*draw(5, 3), 0.3))


def test_compiled() -> None:
    torch._dynamo.reset()
    prior, adapted = draw(9, 3)
    compiled = torch.compile(lambda p, a: outer_step(p, a, 0.3), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(prior, adapted), outer_step(prior, adapted, 0.3))


def test_empty() -> None:
    assert outer_step(torch.empty(0), [torch.empty(0)] * 2, 0.5).shape == (0,)


def test_strides_do_not_matter() -> None:
    prior, adapted = draw(40, 3)
    together = torch.stack((prior, *adapted), dim=1)
    strided = outer_step(together[:, 0], list(together[:, 1:].unbind(1)), 0.3)
    assert_close(strided, outer_step(prior, adapted, 0.3), tolerances.FLOAT64)


def test_a_lost_gradient_is_refused() -> None:
    prior, adapted = draw(3, 2)
    prior.requires_grad_()
    with pytest.raises(InputError, match="^prior: got a tensor that requires grad, expected a detached one"):
        outer_step(prior, adapted, 0.3)
    with pytest.raises(InputError, match=r"^adapted\[1\]: got a tensor that requires grad"):
        outer_step(prior.detach(), [adapted[0], adapted[1].requires_grad_()], 0.3)
    with torch.no_grad():
        assert not outer_step(prior, adapted, 0.3).requires_grad


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"prior": torch.zeros(3).int()}, r"prior: got int32 .* expected a floating-point tensor"),
        ({"prior": torch.zeros(1, 3)}, r"prior: got .* expected 1 dimension"),
        ({"adapted": []}, "adapted: got an empty list, expected at least one tensor"),
        ({"adapted": [torch.zeros(3), torch.zeros(4)]}, r"adapted\[1\]: got .*\(4,\) .* expected the same as prior"),
        ({"adapted": [torch.zeros(3).double()]}, r"adapted\[0\]: got float64"),
    ],
)
def test_errors(changed: dict[str, object], message: str) -> None:
    arguments = {"prior": torch.zeros(3), "adapted": [torch.zeros(3)], "step_size": 0.5} | changed
    with pytest.raises(InputError, match=f"^{message}"):
        outer_step(**arguments)  # type: ignore[arg-type]
