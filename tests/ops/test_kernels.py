"""The compiled kernels of every instruction set that this CPU has against the references in float64.

All that is allocated is filled with NaN first, so that a kernel that leaves an element out is seen.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies
from torch import Tensor

from base_fast.ops import extension
from tests import tolerances
from tests.ops import samples
from tests.ops.contract import registered
from tests.ops.samples import CUT, DTYPES, SAMPLES, Arguments, Draws
from tests.tolerances import error

LARGE = 2 * CUT
# A whole edge has tests of its own kind.
ELSEWHERE = ("mixed_op", "mixed_cell")

pytestmark = pytest.mark.usefixtures("fresh_memory_is_nan")


def needs_kernel(name: str) -> None:
    if extension.CPU.module is None:
        pytest.skip(f"no compiled kernels: {extension.CPU.missing}")
    if not registered(name, "CPU"):
        pytest.skip(f"the extension has no kernel for {name}")


def operator(name: str) -> Any:
    return getattr(torch.ops.base_fast, name).default


def outputs(y: Any) -> list[Tensor]:
    return [y] if isinstance(y, Tensor) else list(y)


def by_kernel(name: str, arguments: Arguments) -> list[Tensor]:
    return outputs(operator(name)(*arguments))


def by_reference(name: str, arguments: Arguments) -> list[Tensor]:
    column = name.removesuffix("_backward")
    return outputs(getattr(importlib.import_module(f"base_fast.reference.{column}"), name)(*arguments))


def in_float64(x: Any) -> Any:
    if isinstance(x, list):
        return [in_float64(y) for y in x]
    return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x


@cache
def samples_of(name: str, dtype: torch.dtype) -> list[tuple[Arguments, list[Tensor], list[torch.dtype]]]:
    """Arguments, what is expected, and its dtypes."""
    found = []
    for arguments in SAMPLES[name](Draws(dtype)):
        exact = by_reference(name, tuple(map(in_float64, arguments)))
        found.append((arguments, exact, [y.dtype for y in by_reference(name, arguments)]))
    return found


def difference(actual: list[Tensor], exact: list[Tensor]) -> float:
    return max(error(a, e) for a, e in zip(actual, exact, strict=True))


def described(arguments: Arguments) -> str:
    def one(x: Any) -> str:
        if isinstance(x, list):
            return "[" + ", ".join(map(one, x)) + "]"
        return f"{tuple(x.shape)}/{x.stride()}" if isinstance(x, Tensor) else repr(x)

    return ", ".join(map(one, arguments))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", SAMPLES)
def test_values(name: str, dtype: torch.dtype, instruction_set: str) -> None:
    needs_kernel(name)
    tolerance = tolerances.KERNEL[name][dtype]
    for arguments, exact, dtypes in samples_of(name, dtype):
        actual = by_kernel(name, arguments)
        assert [y.dtype for y in actual] == dtypes, described(arguments)
        assert difference(actual, exact) <= tolerance, described(arguments)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("name", SAMPLES)
def test_bits_do_not_depend_on_the_number_of_threads(
    name: str, dtype: torch.dtype, instruction_set: str, threads: None
) -> None:
    needs_kernel(name)
    for arguments, exact, _ in samples_of(name, dtype):
        tensors = [x for x in torch.utils._pytree.tree_leaves(arguments) if isinstance(x, Tensor)]
        if max((x.numel() for x in (*exact, *tensors)), default=0) < LARGE:
            continue
        torch.set_num_threads(1)
        alone = by_kernel(name, arguments)
        for count in (2, 3):
            torch.set_num_threads(count)
            for a, b in zip(by_kernel(name, arguments), alone, strict=True):
                assert torch.equal(a, b), f"{count} threads: {described(arguments)}"


@pytest.mark.parametrize("name", SAMPLES)
def test_arguments_are_left_alone(name: str) -> None:
    needs_kernel(name)
    for arguments, _, _ in samples_of(name, torch.float32):
        tensors = [x for x in torch.utils._pytree.tree_leaves(arguments) if isinstance(x, Tensor)]
        copies = [x.clone() for x in tensors]
        storages = {x.untyped_storage().data_ptr() for x in tensors if x.numel()}
        actual = by_kernel(name, arguments)
        assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True)), described(arguments)
        own = [y.untyped_storage().data_ptr() for y in actual if y.numel()]
        assert not storages & set(own), described(arguments)
        assert len(own) == len(set(own)), described(arguments)


def agrees(name: str, dtype: torch.dtype, arguments: Arguments) -> None:
    exact = by_reference(name, tuple(map(in_float64, arguments)))
    assert difference(by_kernel(name, arguments), exact) <= tolerances.KERNEL[name][dtype]


dtypes = strategies.sampled_from(DTYPES)
seeds = strategies.integers(0, 2**31)
layouts = strategies.sampled_from((torch.Tensor.contiguous, samples.every_other, samples.shifted))
# Often near a multiple of a cut.
lengths = strategies.integers(0, 600) | strategies.builds(
    lambda cuts, more: max(cuts * CUT + more, 0), strategies.integers(0, 4), strategies.integers(-20, 20)
)


@hypothesis.settings(max_examples=60)
@hypothesis.given(dtypes, seeds, lengths, layouts, layouts)
@pytest.mark.parametrize("name", ["gaussian_sample", "gaussian_sample_backward"])
def test_gaussian_sample(name: str, dtype: torch.dtype, seed: int, count: int, one: Any, other: Any) -> None:
    needs_kernel(name)
    draws = Draws(dtype, seed)
    agrees(name, dtype, (one(draws(count)), other(draws.sigma(count)), draws.key()))


@hypothesis.settings(max_examples=60)
@hypothesis.given(dtypes, seeds, lengths, layouts, strategies.booleans())
@pytest.mark.parametrize("name", ["gaussian_kl", "gaussian_sample_kl"])
def test_gaussian_kl(name: str, dtype: torch.dtype, seed: int, count: int, lay: Any, shared: bool) -> None:
    needs_kernel(name)
    draws = Draws(dtype, seed)
    mu, rho = lay(draws(count)), draws.sigma(count)
    size = 1 if shared else count
    prior = draws(size).expand(count), draws.sigma(size).expand(count)
    agrees(name, dtype, (mu, rho, *prior, *([draws.key()] if name == "gaussian_sample_kl" else [])))


@hypothesis.settings(max_examples=60)
@hypothesis.given(dtypes, seeds, strategies.integers(0, 300), strategies.integers(1, 140), layouts)
def test_gumbel_softmax(dtype: torch.dtype, seed: int, rows: int, count: int, lay: Any) -> None:
    needs_kernel("gumbel_softmax")
    draws = Draws(dtype, seed)
    agrees("gumbel_softmax", dtype, (lay(draws(rows, count)), draws.key(), 0.7, False, 1.0))


images = strategies.tuples(
    strategies.integers(1, 4), strategies.integers(1, 40), strategies.integers(1, 20), strategies.integers(1, 20)
)


@hypothesis.settings(max_examples=60)
@hypothesis.given(dtypes, seeds, images, strategies.lists(strategies.booleans(), min_size=1, max_size=9))
@pytest.mark.parametrize("name", ["mixed_sum", "mixed_sum_backward"])
def test_mixed_sum(name: str, dtype: torch.dtype, seed: int, shape: tuple[int, ...], last: list[bool]) -> None:
    needs_kernel(name)
    draws = Draws(dtype, seed)
    branches = [samples.channels_last(draws(*shape)) if l else draws(*shape) for l in last]
    arguments: Arguments = (branches, draws(len(last)), list(range(len(last))))
    agrees(name, dtype, (draws(*shape), *arguments) if "backward" in name else arguments)


def test_every_op_with_kernels_has_samples_and_tolerances() -> None:
    from base_fast.ops import backends

    assert set(SAMPLES) == {
        name for name in backends() if registered(name, "CompositeExplicitAutograd") and not name.startswith(ELSEWHERE)
    }
    assert set(tolerances.KERNEL) == set(SAMPLES)


def words(types: list[Any]) -> str:
    def word(t: Any) -> str:
        text = str(t)
        return text.removeprefix("List[").removesuffix("]") + "[]" if text.startswith("List[") else text

    return "(" + ", ".join(map(word, types)) + ")"


@pytest.mark.parametrize("name", [*SAMPLES, *(f"{op}{part}" for op in ELSEWHERE for part in ("", "_backward"))])
def test_signatures_are_the_schemas(name: str) -> None:
    """PyTorch's stable ABI compares the number of arguments only."""
    needs_kernel(name)
    schema = operator(name)._schema
    returned = words([r.type for r in schema.returns])
    if len(schema.returns) == 1:
        returned = returned[1:-1]
    expected = f"{words([a.type for a in schema.arguments])} -> {returned}"
    assert extension.CPU.facts["signatures"][name] == expected


def test_no_signature_without_an_op() -> None:
    if extension.CPU.module is None:
        pytest.skip(f"no compiled kernels: {extension.CPU.missing}")
    for name in extension.CPU.facts["signatures"]:
        assert registered(name, "CPU"), name
        assert name in SAMPLES or name.startswith(ELSEWHERE)
