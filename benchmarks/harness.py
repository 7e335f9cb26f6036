"""The cases under pytest-benchmark: every contender is one benchmark, timed after its values were compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.allocator import keep_freed_memory
from benchmarks.case import Case
from benchmarks.measure import Ready, prepare
from benchmarks.result import ABSENT

ROUNDS, WARM_UP_ROUNDS = 10, 2


@lru_cache(maxsize=1)
def prepared(case: Case) -> Ready:
    """Contenders of one case come one after the other and share its set-up."""
    keep_freed_memory()
    return prepare(case)


def pytest_benchmark(cases: Sequence[Case]) -> Callable[..., None]:
    """A test function over all contenders of all cases."""
    pairs = [(case, name) for case in cases for name in case.contenders]

    @pytest.mark.parametrize(("case", "contender"), pairs, ids=[f"{case.name}-{name}" for case, name in pairs])
    def test(benchmark: BenchmarkFixture, case: Case, contender: str) -> None:
        ready = prepared(case)
        verdict = ready.verdicts[contender]
        if verdict.status == ABSENT:
            pytest.skip(verdict.reason)
        assert verdict.takes_part, f"{verdict.status}: {verdict.reason}"
        benchmark.group = str(case)
        benchmark.extra_info["threads"] = torch.get_num_threads()
        benchmark.pedantic(ready.runs[contender], rounds=ROUNDS, warmup_rounds=WARM_UP_ROUNDS)

    return test
