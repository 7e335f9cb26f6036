"""What does not fit into memory is said before it is read."""

from __future__ import annotations

import resource

import pytest

from base_fast.errors import InputError
from base_fast.tasks import memory


def test_what_is_free():
    free = memory.available()
    assert free is None or 2**20 < free < 2**50


def test_a_container_leaves_what_its_limit_says(tmp_path):
    assert memory._of_the_control_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("4000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000\nfile 7\n")
    assert memory._of_the_control_group(tmp_path) == 1_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_the_control_group(tmp_path) is None


def test_limits_of_the_process_count(monkeypatch):
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
        limits = {limit: 2**50}
        monkeypatch.setattr(memory.resource, "getrlimit", lambda one, limits=limits: (limits.get(one, -1), -1))
        left = memory._of_the_process()
        assert left is not None and 2**50 - 2**45 < left < 2**50
        limits[limit] = 1000
        assert memory._of_the_process() == 0
    monkeypatch.setattr(memory.resource, "getrlimit", lambda one: (resource.RLIM_INFINITY, -1))
    assert memory._of_the_process() is None


def test_images_fit_or_the_sizes_are_told(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    memory.check_fits("pets", 1000, 512)
    memory.check_fits("pets", 100_000, 224, held=95_000)
    with pytest.raises(
        InputError, match="pets: 1,300,000 images of 224 pixels take 195.7 GB of memory, but 1.0 GB are"
    ):
        memory.check_fits("pets", 1_300_000, 224)
    monkeypatch.setattr(memory, "available", lambda: None)
    memory.check_fits("pets", 10**12, 1024)
