"""Means over a fixed tree, the order of tasks, and the engine of one process."""

from __future__ import annotations

import pytest
import torch

from base_fast.engine import Local, TreeMean, abandoned, alone, current, tree_mean, using
from base_fast.engine.fold import in_order
from base_fast.errors import InputError


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8, 13])
def test_the_mean_is_that_of_the_tree_of_a_binary_counter(count):
    x = list(torch.randn(count, 5, generator=torch.Generator().manual_seed(count)))

    def total(part):  # the largest power of two first, and each of those halved
        if len(part) == 1:
            return part[0]
        size = 1 << (len(part).bit_length() - 1)
        size = size // 2 if size == len(part) else size
        return total(part[:size]) + total(part[size:])

    assert torch.equal(tree_mean(x), total(x) / count)
    torch.testing.assert_close(tree_mean(x), torch.stack(x).mean(dim=0))


def test_a_slice_of_the_mean_is_the_mean_of_the_slices():
    x = torch.randn(7, 11, generator=torch.Generator().manual_seed(0))
    for part in (slice(0, 4), slice(4, 11)):
        assert torch.equal(tree_mean(list(x))[part], tree_mean(list(x[:, part])))


def test_the_partial_sums_that_are_held_are_few():
    fold = TreeMean()
    for _ in range(1000):
        fold.add(torch.ones(1))
        assert len(fold._partial) <= 10
    assert fold.mean().item() == 1.0


def test_without_tasks_there_is_no_mean():
    with pytest.raises(InputError, match="tasks: none"):
        Local().mean([], lambda task: (torch.ones(1), task))


def test_expensive_tasks_come_first_and_ranks_wait_little():
    costs = [1.0, 4.0, 1.0, 16.0, 4.0, 16.0, 4.0, 1.0]
    order = in_order(len(costs), costs)
    assert order == [3, 5, 1, 4, 6, 0, 2, 7]
    for world in (1, 2, 3, 4):
        rounds = [[costs[i] for i in order[j : j + world]] for j in range(0, len(order), world)]
        assert sum(max(r) - min(r) for r in rounds) <= max(costs) - min(costs)


def test_one_process_does_all_and_keeps_the_tasks_order():
    engine = Local()
    assert engine.map([3, 1, 2], lambda i: 10 * i, [1.0, 2.0, 3.0]) == [30, 10, 20]
    vector, records = engine.mean([1.0, 2.0, 6.0], lambda x: (torch.full((2,), x), str(x)), [1.0, 3.0, 2.0])
    assert vector.tolist() == [3.0, 3.0] and records == ["1.0", "2.0", "6.0"]
    assert engine.gather(5) == [5] and engine.first(lambda: 6) == 6 and engine.mesh(1) is engine
    with pytest.raises(InputError, match="ranks_per_task: got 2"):
        engine.mesh(2)


def test_the_innermost_engine_is_the_current_one():
    outer = Local()
    with using(outer):
        assert current() is outer
        with alone() as inner:
            assert current() is inner
        assert current() is outer
    assert not abandoned()
