"""What all tests share: one thread, repeatable examples, and data that a checkout may lack."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

# Before torch starts its threads: sums are then taken in one order, and parallel tests do not fight for cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

# Triton decides when it is imported whether kernels are interpreted, and some test or library imports it first.
os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")

# The same examples in every run, and no deadline: the first call of an op may compile or load something.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def poisoned_memory() -> None:
    """What the compiled kernels have not written is NaN in every test, results and their own memory alike."""
    from base_fast.ops import extension

    # One built from older sources has no poison; test_extension.py fails with it.
    getattr(extension.CPU.module, "poison", bool)(True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with published data beside the checkout, or where BASE_FAST_SHARED says."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("BASE_FAST_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data: {folder} is absent (set BASE_FAST_SHARED)")
    return folder


@functools.cache
def _share_something(file: Path) -> bool:
    return "\npytestmark = pytest.mark.xdist_group(" in file.read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file whose tests are all of one `xdist_group` go to one process, which makes what they share once.

    pytest-xdist 3.8 itself overlooks the mark with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return file if _share_something(config.rootpath / file) else nodeid

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: where several processes share the tests, none is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
