"""Names of devices."""

from __future__ import annotations

import pytest
import torch

from base_fast import device
from base_fast.errors import InputError


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.resolve("auto") == device.resolve("cpu") == torch.device("cpu")
    for name, message in (("cuda", "finds 0 GPUs"), ("gpu", "expected auto"), ("meta", "expected auto"), ("", "auto")):
        with pytest.raises(InputError, match=message):
            device.resolve(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.resolve("auto") == torch.device("cuda")
    assert device.resolve("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="finds 2 GPUs"):
        device.resolve("cuda:2")
