from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from base_fast.errors import InputError
from base_fast.tasks import from_dataset
from base_fast.tasks.torchvision_source import open_torchvision


class Flat(Dataset):
    """Image i is flat, of value 20·i; label i mod 2."""

    def __init__(self, make, count=6):
        self.make, self.count, self.reads = make, count, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.reads += 1
        return self.make(20 * index), index % 2


FORMS = {
    "pillow": lambda v: Image.new("RGB", (12, 10), (v, v, v)),
    "grey pillow": lambda v: Image.new("L", (12, 10), v),
    "uint8": lambda v: torch.full((3, 10, 12), v, dtype=torch.uint8),
    "float": lambda v: torch.full((3, 10, 12), v / 255),
    "one channel": lambda v: torch.full((1, 10, 12), v, dtype=torch.uint8),
    "no channel": lambda v: torch.full((10, 12), v, dtype=torch.uint8),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("resolution", [8, 10])
def test_every_form_of_image(form, resolution):
    source = from_dataset(Flat(FORMS[form]))
    x = source.images(torch.tensor([3, 0]), resolution)
    assert (x.shape, x.dtype) == ((2, 3, resolution, resolution), torch.uint8)
    assert (x[0] == 60).all()
    assert (x[1] == 0).all()
    assert (source.name, source.labels.tolist()) == ("Flat", [0, 1] * 3)


def test_labels_are_taken_from_the_attribute_when_there_is_one():
    dataset = Flat(FORMS["uint8"])
    dataset.targets = [1, 0, 1, 0, 1, 0]
    dataset.classes = ["cat", ("dog", "hound")]
    source = from_dataset(dataset, name="pets")
    assert dataset.reads == 0
    assert (source.labels.tolist(), source.class_names) == ([1, 0] * 3, ("cat", "dog, hound"))
    dataset.target_transform = lambda label: 1 - label
    assert from_dataset(dataset).labels.tolist() == [0, 1] * 3


def test_subsets_and_concatenations():
    dataset = Flat(FORMS["uint8"])
    dataset.targets = torch.arange(6) % 2
    dataset.classes = ["cat", "dog"]
    part = from_dataset(Subset(dataset, [5, 2, 0]))
    assert (part.labels.tolist(), part.class_names) == ([1, 0, 0], ("cat", "dog"))
    assert part.images(torch.arange(3), 8)[:, 0, 0, 0].tolist() == [100, 40, 0]
    assert dataset.reads == 3
    assert from_dataset(ConcatDataset([dataset, dataset])).labels.tolist() == [0, 1] * 6


def test_an_opened_image_is_left_as_it_was(tmp_path, encode):
    (tmp_path / "a.jpg").write_bytes(encode((64, 64)))
    image = Image.open(tmp_path / "a.jpg")
    source = from_dataset([(image, 0), (image, 1)])
    source.images(torch.arange(2), 8)
    assert image.size == (64, 64)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Flat(lambda v: torch.full((3, 8, 8), v - 1.0)), r"Flat\[0\]: floating point image outside \[0, 1\]"),
        (Flat(lambda v: torch.zeros(3, 8, 8, dtype=torch.int32)), "expected uint8 or floating point"),
        (Flat(lambda v: torch.zeros(2, 8, 8)), "expected \\(3, H, W\\)"),
        (Flat(lambda v: "a path"), "image is str, expected a Pillow image or a tensor"),
    ],
)
def test_image_errors(dataset, message):
    source = from_dataset(dataset)
    with pytest.raises(InputError, match=message):
        source.images(torch.arange(2), 8)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "expected a map-style data set"),
        (TensorDataset(torch.zeros(2, 3, 8, 8)), r"expected an \(image, class number\) pair"),
        ([(None, "cat"), (None, "dog")], "labels"),
        ([(None, 0.5), (None, 1.0)], "labels"),
        ([(None, {}), (None, [1])], "labels"),
        ([(None, 0), (None, 0)], "only one class"),
    ],
)
def test_dataset_errors(dataset, message):
    with pytest.raises(InputError, match=message):
        from_dataset(dataset)


def test_a_file_that_cannot_be_decoded_is_named(tmp_path, encode):
    (tmp_path / "cut.jpg").write_bytes(encode((200, 200))[:-4000])
    source = from_dataset([(Image.open(tmp_path / "cut.jpg"), 0), (None, 1)], name="cut")
    with pytest.raises(InputError, match=r"cut\[0\]: cannot be decoded"):
        source.images(torch.tensor([0]), 8)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10 as torchvision lays it out, 20 images a file; its checksums can't match."""
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    random = np.random.default_rng(0)
    for file in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        (base / file).write_bytes(pickle.dumps({"data": data, "labels": [i % 10 for i in range(20)]}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"kind {i}" for i in range(10)]}))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    return tmp_path


def test_torchvision_by_name(cifar):
    train, test = (open_torchvision("CIFAR10", cifar, split) for split in ("train", "test"))
    assert (len(train.labels), len(test.labels), train.name) == (100, 20, "CIFAR10")
    assert train.class_names[3] == "kind 3"
    reference = torchvision.datasets.CIFAR10(cifar)
    expected = torch.stack([torch.from_numpy(reference.data[i]).permute(2, 0, 1) for i in (4, 90)])
    assert torch.equal(train.images(torch.tensor([4, 90]), 32), expected)


def test_torchvision_options_reach_the_class(cifar):
    source = open_torchvision("CIFAR10", cifar, "train", target_transform=lambda label: label // 5)
    assert source.labels.unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("CIFR10", "train", "no data set 'CIFR10', expected for example CIFAR10"),
        ("", "train", "no data set ''"),
        ("CIFAR10", "val", "split: 'val', expected 'train' or 'test'"),
        ("CIFAR10", "train", "CIFAR10 cannot be opened in .* download"),
        ("SVHN", "val", "SVHN cannot be opened"),
    ],
)
def test_torchvision_errors(tmp_path, name, split, message):
    with pytest.raises(InputError, match=message) as error:
        open_torchvision(name, tmp_path, split)
    assert "\n" not in str(error.value)


def test_download_is_passed_on(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", lambda self: asked.append(True))
    with pytest.raises(InputError, match="cannot be opened"):
        open_torchvision("CIFAR10", tmp_path, "train", download=True)
    assert asked == [True]
