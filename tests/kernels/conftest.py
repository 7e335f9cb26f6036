"""The kernels run on a GPU where there is one, else in Triton's interpreter on CPU tensors.

What a GPU would run is also looked at without one, in test_compiled.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.kernels.cases import DEVICE


def _filled(x: Tensor) -> Tensor:
    return x.fill_(float("nan")) if x.is_floating_point() else x


@pytest.fixture(autouse=True)
def uninitialized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory is full of NaN: an element that a kernel leaves out shows."""
    for owner, name in ((torch, "empty"), (torch, "empty_like"), (Tensor, "new_empty")):
        allocate = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, _allocate=allocate, **kw: _filled(_allocate(*args, **kw)))


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    with torch.device(DEVICE):
        yield
