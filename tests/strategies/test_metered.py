"""A search with its cost: the same search, and seconds and memory that add up over resumptions."""

from __future__ import annotations

import sys
import time

import pytest
import torch

from base_fast.errors import InputError
from base_fast.random import key
from base_fast.runs import Clock, RunFolder
from base_fast.runs.memory import STATUS, largest_resident
from base_fast.strategies import AskTellSearch, Cost, Metered, RandomSearch, search
from tests.objectives import toys


def process() -> AskTellSearch:
    return AskTellSearch(RandomSearch(), toys.table(), 6, key(0), ("valid",))


def test_a_metered_search_finds_the_same_and_its_cost_adds_up(tmp_path):
    metered = Metered(process())
    with RunFolder.create(tmp_path / "r", "search", Cost(0.0, 0.0, 0)) as run:
        result = search(metered, run)
        first = metered.cost
        again = Metered(process())
        assert search(again, run).history == result.history == search(process()).history
    assert first.cpu_seconds > 0.0 and first.wall_seconds > 0.0 and first.peak_bytes >= 0
    # What a checkpoint knows is counted on from, though this process did none of it.
    state = metered.start(Clock()).state
    tensors, header = metered.pack(state)
    later = Metered(process())
    later.unpack(tensors, header | {"cost": {"cpu_seconds": 100.0, "wall_seconds": 200.0, "peak_bytes": 2**40}})
    assert 100.0 < later.cost.cpu_seconds < 110.0 and 200.0 < later.cost.wall_seconds < 230.0
    assert later.cost.peak_bytes == 2**40
    with pytest.raises(InputError, match="no cost of the search"):
        later.unpack(tensors, header["search"])


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say")
def test_memory_that_a_search_takes_is_seen_and_what_was_there_before_is_not():
    class Large(RandomSearch):
        def ask(self, space, state):
            kept.append(torch.ones(48 * 2**20, dtype=torch.uint8)[0].clone())
            return super().ask(space, state)

    kept: list[torch.Tensor] = []
    torch.ones(96 * 2**20, dtype=torch.uint8)
    metered = Metered(AskTellSearch(Large(), toys.table(), 2, key(0), ("valid",)))
    search(metered)
    assert 40 * 2**20 < metered.cost.peak_bytes < 90 * 2**20
    assert metered.cost.peak_bytes < largest_resident()


def test_seconds_of_a_wait_are_the_clocks_alone():
    metered = Metered(process())
    time.sleep(0.2)
    assert metered.cost.wall_seconds >= 0.2 > metered.cost.cpu_seconds or sys.platform == "win32"
