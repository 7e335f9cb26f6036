"""What the tests of compiled kernels share: instruction sets, numbers of threads, memory that nobody has written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.utils import deterministic

from base_fast.ops import extension


@pytest.fixture(params=("baseline", "avx2", "avx512"))
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    module = extension.CPU.module
    if module is None:
        pytest.skip(f"no compiled kernels: {extension.CPU.missing}")
    before = module.isa()
    try:
        module.select_isa(request.param)
    except ValueError as reason:
        pytest.skip(str(reason))
    yield request.param
    module.select_isa(before)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fresh_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    assert deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
