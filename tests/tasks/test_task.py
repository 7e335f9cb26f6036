from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch

from base_fast.errors import InputError
from base_fast.random import fold_in, key
from base_fast.tasks import ArraySource, Task, TaskDistribution, memory, select_classes, whole_task
from base_fast.tasks.lazy import LazySource
from base_fast.tasks.split import channel_statistics


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


@pytest.mark.parametrize("classes", [range(12), [0, 2, 5], [11, 3, 7, 0]])
def test_validation_images_go_by_the_names_of_their_classes(toy, classes):
    valid = select_classes(toy, list(classes))
    task = whole_task(toy, valid, resolution=8, key=key(0))
    check = [task.class_names[label] for label in task.valid.labels.tolist()]
    assert check == [f"class {i % 12}" for i in identities(task.valid).tolist()]
    assert torch.bincount(task.valid.labels, minlength=12).tolist() == [20 * (c in classes) for c in range(12)]


def test_classes_that_only_one_half_has(toy):
    images = toy.images(torch.arange(4), 8)

    def source(labels, names):
        return ArraySource("pets", images, labels, names)

    train = source([0, 0, 1, 1], ["cat", "dog"])
    assert whole_task(train, source([1, 1, 2, 2], ["cow", "dog", "cat"]), resolution=8, key=key(0)).num_classes == 2
    with pytest.raises(
        InputError, match="pets has images of 'Dog', but those to learn from have none; .* 'dog' besides"
    ):
        whole_task(train, source([0, 0, 1, 1], ["cat", "Dog"]), resolution=8, key=key(0))
    with pytest.raises(InputError, match="class 'cow' of pets has no images to learn from"):
        whole_task(source([0, 0, 1, 1], ["cat", "dog", "cow"]), train, resolution=8, key=key(0))
    cranes = source([0, 0, 1, 2], ["crane", "crane", "dog"])
    with pytest.raises(InputError, match="names occur twice"):
        whole_task(cranes, source([0, 0, 1, 1], ["dog", "crane"]), resolution=8, key=key(0))


class Counted(ArraySource):
    """A source that remembers how many images it was asked for at once."""

    def images(self, indices, resolution):
        self.asked = [*getattr(self, "asked", []), len(indices)]
        return super().images(indices, resolution)


def test_what_does_not_fit_into_memory_is_told_before_it_is_read(toy, monkeypatch):
    source = Counted("toy", toy.images(torch.arange(240), 8), toy.labels)
    monkeypatch.setattr(memory, "available", lambda: 239 * 3 * 16**2)
    with pytest.raises(InputError, match="toy: 240 images of 16 pixels take"):
        whole_task(source, resolution=16, key=key(0))
    with pytest.raises(InputError, match="toy: 300 images of 16 pixels take"):
        whole_task(source, source, resolution=16, key=key(0), limit_per_class=5)
    with pytest.raises(InputError, match="toy: 240 images of 16 pixels take"):
        TaskDistribution([source], ways=12, resolutions=(8, 16))
    assert not hasattr(source, "asked")
    whole_task(source, resolution=16, key=key(0), limit_per_class=5)
    TaskDistribution([source], ways=11, resolutions=(8, 16))
    TaskDistribution([source], ways=12, resolutions=(8, 16), examples_per_class=15)


def test_statistics_take_a_few_large_images_at_once():
    images = torch.randint(256, (300, 3, 1, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = Counted("flat", images, torch.arange(300) % 2)
    mean, std = channel_statistics(source, 256)
    assert max(source.asked) == 16
    assert torch.allclose(mean, images.double().div(255).mean((0, 2, 3)).float(), atol=1e-6)
    assert torch.allclose(std, images.double().div(255).std((0, 2, 3), correction=0).float(), atol=1e-6)


@pytest.mark.parametrize("cache", [True, False])
def test_a_task_and_the_cache_of_its_source_hold_images_once(toy, cache):
    reads = []
    source = LazySource(
        "toy",
        toy.labels,
        None,
        lambda i, r: reads.append(i) or toy.images(torch.tensor([i]), r)[0],
        cache,
        threads=False,
    )
    task = whole_task(source, resolution=8, key=key(0))
    assert same(task, dataclasses.replace(whole_task(toy, resolution=8, key=key(0)), name=task.name))
    assert len(reads) == (240 if cache else 480)  # without a cache the statistics read them again
    if cache:
        held = {block.data_ptr() for block in source._kept[8]._blocks if len(block)}
        assert held == {task.train.images.data_ptr(), task.valid.images.data_ptr()}
    order = torch.randperm(240, generator=torch.Generator().manual_seed(1)).repeat(2)
    assert torch.equal(source.images(order, 8), toy.images(order, 8))


def test_what_cannot_be_kept_is_told_once_and_read_again(toy, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100 * 192)
    reads = []
    source = LazySource("toy", toy.labels, None, lambda i, r: reads.append(i) or toy.images(torch.tensor([i]), r)[0])
    with pytest.warns(UserWarning, match="toy: to keep 240 images of 8 pixels takes .* decoded each time"):
        source.images(torch.arange(2), 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source.images(torch.arange(3), 8)
    assert reads == [0, 1, 0, 1, 2] and not source._kept


def test_whole_task_errors(toy):
    with pytest.raises(InputError, match="valid_source: toy has images of 'class 2', 'class 3', "):
        whole_task(select_classes(toy, [0, 1]), toy, resolution=8, key=key(0))
    with pytest.raises(InputError, match="examples per class: 21, expected 1 to 20"):
        whole_task(toy, resolution=8, key=key(0), limit_per_class=21)
    with pytest.raises(InputError, match="has 1 image to split"):
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
