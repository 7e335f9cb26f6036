from __future__ import annotations

import dataclasses

import pytest
import torch

from base_fast.errors import InputError
from base_fast.random import fold_in, key
from base_fast.tasks import ArraySource, Task, TaskDistribution, select_classes, whole_task


def identities(split) -> torch.Tensor:
    """The number that the toy source writes into each image's first pixel."""
    return split.images[:, 0, 0, 0].long()


def check_toy_task(task: Task) -> None:
    """Disjoint halves, and labels that mean what class_names says."""
    train, valid = identities(task.train), identities(task.valid)
    assert not set(train.tolist()) & set(valid.tolist())
    for split, identity in ((task.train, train), (task.valid, valid)):
        assert [task.class_names[label] for label in split.labels.tolist()] == [
            f"class {i % 12}" for i in identity.tolist()
        ]


def same(one: Task, other: Task) -> bool:
    return one.name == other.name and all(
        torch.equal(getattr(getattr(one, half), field), getattr(getattr(other, half), field))
        for half in ("train", "valid")
        for field in ("images", "labels", "mean", "std")
    )


def test_whole_task_holds_out_a_share_of_every_class(toy):
    task = whole_task(toy, resolution=8, key=key(0))
    check_toy_task(task)
    assert (len(task.train), len(task.valid)) == (192, 48)
    assert torch.bincount(task.valid.labels).tolist() == [4] * 12
    assert (task.name, task.class_names) == ("toy-8px", toy.class_names)
    assert same(task, whole_task(toy, resolution=8, key=key(0)))
    assert not same(task, whole_task(toy, resolution=8, key=key(1)))


def test_whole_task_with_a_limit(toy):
    task = whole_task(toy, resolution=8, key=key(0), limit_per_class=5)
    check_toy_task(task)
    assert torch.bincount(task.train.labels).tolist() == [4] * 12
    assert torch.bincount(task.valid.labels).tolist() == [1] * 12


def test_whole_task_with_a_validation_source(toy):
    task = whole_task(toy, toy, resolution=16, key=key(0), limit_per_class=5)
    assert (len(task.train), len(task.valid), task.resolution) == (60, 240, 16)


def test_validation_images_are_in_random_order(toy):
    """Any first part is a mixture of classes, held out or given, also where the source is sorted by class."""
    order = torch.argsort(toy.labels, stable=True)
    in_order = ArraySource("sorted", toy.images(order, 8), toy.labels[order], list(toy.class_names))
    held_out = whole_task(in_order, resolution=8, key=key(0), valid_fraction=0.5)
    given = whole_task(in_order, in_order, resolution=8, key=key(0))
    sampled = TaskDistribution([in_order], ways=12, resolutions=(8,), valid_fraction=0.5).sample(key(0))
    for task in (held_out, given, sampled):
        assert task.valid.labels[:60].unique().numel() > 9
    assert sorted(given.valid.images[:, 0, 0, 0].tolist()) == list(range(240))


def test_whole_task_errors(toy):
    with pytest.raises(InputError, match="valid_source: the 2 classes of toy are not the 12"):
        whole_task(toy, select_classes(toy, [0, 1]), resolution=8, key=key(0))
    with pytest.raises(InputError, match="examples per class: 21, expected 1 to 20"):
        whole_task(toy, resolution=8, key=key(0), limit_per_class=21)
    with pytest.raises(InputError, match="has 1 images to split"):
        whole_task(toy, resolution=8, key=key(0), limit_per_class=1)
    with pytest.raises(InputError, match="valid_fraction"):
        whole_task(toy, resolution=8, key=key(0), valid_fraction=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 16}, "train: 8 pixels a side, expected resolution = 16"),
        ({"num_classes": 3, "class_names": ("a", "b", "c")}, "train: 12 classes, expected num_classes = 3"),
        ({"class_names": ("a",)}, "class_names"),
        ({"num_classes": 1}, "num_classes"),
    ],
)
def test_task_errors(toy, change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(whole_task(toy, resolution=8, key=key(0)), **change)


def test_task_with_halves_of_two_resolutions(toy):
    small, large = (whole_task(toy, resolution=r, key=key(0)) for r in (8, 16))
    with pytest.raises(InputError, match="valid: 16 pixels"):
        dataclasses.replace(small, valid=large.valid)


def test_sample_is_a_pure_function_of_its_key(toy):
    distribution = TaskDistribution([toy], ways=(2, 6), resolutions=(8, 16), examples_per_class=10)
    tasks = [distribution.sample(fold_in(key(0), i)) for i in range(6)]
    other = TaskDistribution([toy], ways=(2, 6), resolutions=(8, 16), examples_per_class=10)
    torch.manual_seed(7)
    assert all(same(task, other.sample(fold_in(key(0), i))) for i, task in reversed(list(enumerate(tasks))))
    assert len({task.name for task in tasks}) > 3


def test_sampled_tasks_are_balanced_disjoint_and_rightly_labelled(toy):
    distribution = TaskDistribution([toy], ways=5, resolutions=(8,), examples_per_class=10, valid_fraction=0.3)
    for i in range(5):
        task = distribution.sample(fold_in(key(0), i))
        check_toy_task(task)
        assert torch.bincount(task.train.labels).tolist() == [7] * 5
        assert torch.bincount(task.valid.labels).tolist() == [3] * 5
        assert task.name.startswith("toy-5way-8px-")


def test_ways_resolutions_and_sources_all_occur(toy):
    half = ArraySource("half", toy.images(torch.arange(240), 8), toy.labels, toy.class_names)
    distribution = TaskDistribution([toy, half], ways=(2, 4), resolutions=(8, 12))
    tasks = [distribution.sample(fold_in(key(1), i)) for i in range(40)]
    assert {task.num_classes for task in tasks} == {2, 3, 4}
    assert {task.resolution for task in tasks} == {8, 12}
    assert {task.name.split("-")[0] for task in tasks} == {"toy", "half"}
    only = TaskDistribution([toy, half], ways=2, resolutions=(8,), weights=[0, 1])
    assert all(only.sample(fold_in(key(1), i)).name.startswith("half") for i in range(10))


def test_all_classes_are_drawn_equally_often(toy):
    distribution = TaskDistribution([toy], ways=3, resolutions=(8,), examples_per_class=2, valid_fraction=0.5)
    counts = dict.fromkeys(toy.class_names, 0)
    for i in range(200):
        for name in distribution.sample(fold_in(key(2), i)).class_names:
            counts[name] += 1
    # 200 draws of 3 in 12: 50 ± 6.1
    assert min(counts.values()) > 25
    assert max(counts.values()) < 75


def test_the_number_of_examples_does_not_change_the_classes(toy):
    few, many = (TaskDistribution([toy], ways=4, resolutions=(8,), examples_per_class=n) for n in (2, 20))
    assert few.sample(key(3)).class_names == many.sample(key(3)).class_names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 13}, "ways: 13, but toy has only 12 classes"),
        ({"ways": 1}, "at least 2 classes"),
        ({"ways": (5, 3)}, "smaller number first"),
        ({"resolutions": ()}, "resolutions: none"),
        ({"resolutions": (2,)}, "resolution: got 2"),
        ({"examples_per_class": 21}, "21 needed, but class 'class 0' of toy has 20"),
        ({"examples_per_class": 1}, "at least 2"),
        ({"valid_fraction": 0.0}, "valid_fraction"),
        ({"weights": [1, 2]}, "weights"),
        ({"weights": [-1]}, "weights"),
        ({"sources": []}, "sources: none"),
    ],
)
def test_distribution_errors(toy, options, message):
    with pytest.raises(InputError, match=message):
        TaskDistribution(**{"sources": [toy], "ways": 4, **options})
