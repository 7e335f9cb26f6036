from __future__ import annotations

import json
import os

import pytest
import safetensors.torch
import torch

from base_fast.errors import InputError
from base_fast.runs import atomic_write, load_tensors, save_tensors


def test_atomic_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "new" / "file"
    atomic_write(path, b"first, and longer")
    atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file"]


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_atomic_write_gives_ordinary_permissions(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    atomic_write(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_tensors_and_header_round_trip(tmp_path):
    flat = torch.arange(6.0)
    tensors = {
        "flat": flat,
        "view of the same memory": flat[2:4],
        "transposed": flat.view(2, 3).T,
        "int64": torch.tensor([2**62, -1]),
        "bfloat16": torch.tensor([1.5], dtype=torch.bfloat16),
        "scalar": torch.tensor(3.0, requires_grad=True),
        "empty": torch.empty(0, 4),
    }
    header = {"step": 3, "nested": {"list": [1.5, None, "é"]}}
    save_tensors(tmp_path / "t.safetensors", tensors, header)
    loaded, loaded_header = load_tensors(tmp_path / "t.safetensors")
    assert loaded_header == header
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert torch.equal(loaded[name], tensor)
    loaded["flat"].add_(1)  # the memory belongs to the tensor, not to the file


def test_a_header_that_is_not_json_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError):
        save_tensors(tmp_path / "t", {}, {"x": object()})
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "t.safetensors"
    with pytest.raises(InputError, match="cannot read .*t.safetensors: No such file"):
        load_tensors(path)
    save_tensors(path, {"a": torch.zeros(100)}, {})
    whole = path.read_bytes()
    for length in (0, 4, 20, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="truncated or not a safetensors file"):
            load_tensors(path)
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="truncated or not a safetensors file"):
        load_tensors(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"header": "not json"}, {"header": json.dumps([1])}])
def test_a_file_without_a_header_is_refused(tmp_path, metadata):
    path = tmp_path / "t.safetensors"
    path.write_bytes(safetensors.torch.save({"a": torch.zeros(1)}, metadata=metadata))
    with pytest.raises(InputError, match="without a base_fast header"):
        load_tensors(path)
