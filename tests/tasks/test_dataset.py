from __future__ import annotations

import pickle
import struct

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
    dataset = Flat(lambda v: torch.zeros(3, 8, 8), 600)
    dataset.classes = ["cat", ("dog", "hound")]
    dataset.targets = [0, 1] * 300
    source = from_dataset(dataset, name="pets")
    assert dataset.reads == 32
    assert (source.labels.tolist(), source.class_names) == ([0, 1] * 300, ("cat", "dog, hound"))


def test_subsets_and_concatenations():
    dataset = Flat(FORMS["uint8"])
    dataset.targets = torch.arange(6) % 2
    dataset.classes = ["cat", "dog"]
    part = from_dataset(Subset(dataset, [5, 2, 0]))
    assert (part.labels.tolist(), part.class_names) == ([1, 0, 0], ("cat", "dog"))
    assert part.images(torch.arange(3), 8)[:, 0, 0, 0].tolist() == [100, 40, 0]
    assert dataset.reads == 3 + 3
    assert from_dataset(ConcatDataset([dataset, dataset])).labels.tolist() == [0, 1] * 6


class Labelled(Dataset):
    """Twelve black images; item i has the label `label(i)`, and the attributes are those given."""

    def __init__(self, label, **attributes):
        self.label = label
        vars(self).update(attributes)

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.zeros(3, 8, 8), self.label(index)


ATTRIBUTES = {
    "other numbers": {"targets": [i % 3 + 1 for i in range(12)]},
    "finer classes": {"targets": list(range(12)), "classes": [f"breed {i}" for i in range(12)]},
    "another order": {"labels": [(11 - i) % 3 for i in range(12)]},
    "of the inner set": {"targets": [i % 3 for i in range(13)]},
    "rows": {"targets": torch.arange(12).remainder(3)[:, None].expand(12, 8)},
    "columns": {"targets": np.arange(12)[:, None] % 3},
    "one-hot": {"targets": torch.eye(3).repeat(4, 1)},
    "names": {"targets": ["cat", "dog", "cow"] * 4},
    "a method": {"labels": lambda: [0, 1, 2] * 4},
    "a mapping": {"_labels": {"cat": 0}},
    "ragged": {"targets": [[0], [1, 2]] * 6},
    "transformed": {"targets": list(range(12)), "target_transform": lambda label: label % 3},
}


@pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_labels_are_those_of_the_items(attributes):
    dataset = Labelled(lambda i: i % 3, **attributes)
    for one in (dataset, ConcatDataset([dataset]), Subset(dataset, range(12))):
        source = from_dataset(one)
        assert source.labels.tolist() == [0, 1, 2] * 4
        assert source.num_classes == 3


def test_an_item_that_differs_from_the_attribute_is_an_error_when_it_is_used():
    class Odd(Flat):
        def __getitem__(self, index):
            return super().__getitem__(index)[0], 1 if index == 500 else index % 2

    dataset = Odd(lambda v: torch.zeros(3, 8, 8), 600)
    dataset.targets = [0, 1] * 300
    source = from_dataset(dataset)
    assert source.images(torch.arange(499), 8).shape[0] == 499
    with pytest.raises(InputError, match=r"Odd\[500\]: its label is 1, but was 0"):
        source.images(torch.tensor([500]), 8)


FORMS_OF_LABELS = {
    "numpy": np.int64,
    "uint8": np.uint8,
    "tensor": torch.tensor,
    "one element": lambda i: np.array([i]),
    "one element of a tensor": lambda i: torch.tensor([[i]]),
}


@pytest.mark.parametrize("form", FORMS_OF_LABELS.values(), ids=FORMS_OF_LABELS)
@pytest.mark.parametrize("numbers", [(0, 1, 2), (1, 2, 3), (0, 10, 20), (3, 7, 200)])
def test_classes_are_the_numbers_that_occur(form, numbers):
    source = from_dataset(Labelled(lambda i: form(numbers[i % 3])))
    assert source.labels.tolist() == [0, 1, 2] * 4
    assert source.class_names == tuple(map(str, numbers))


def test_a_stray_label_makes_one_class():
    assert from_dataset(Labelled(lambda i: 10**15 if i == 3 else i % 2)).class_names == ("0", "1", str(10**15))


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
        (Flat(lambda v: torch.full((3, 8, 8), float("nan"))), r"outside \[0, 1\] \(nan to nan\)"),
        (Flat(lambda v: torch.ones(3, 8, 8).index_fill(1, torch.tensor(2), float("nan"))), r"outside \[0, 1\]"),
        (Flat(lambda v: torch.full((3, 8, 8), float("inf"))), r"outside \[0, 1\]"),
        (Flat(lambda v: torch.zeros(3, 0, 0)), "expected \\(3, H, W\\)"),
        (Flat(lambda v: Image.new("F", (8, 8), float("nan"))), r"Flat\[0\]: cannot be decoded \(greys from nan to nan"),
    ],
)
def test_image_errors(dataset, message):
    source = from_dataset(dataset)
    with pytest.raises(InputError, match=message):
        source.images(torch.arange(2), 8)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


class StreamWithLength(Stream):
    def __len__(self):
        return 2


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "expected a map-style data set"),
        (StreamWithLength(), "expected a map-style data set"),
        (Labelled(lambda i: 1 / i), r"Labelled\[0\]: ZeroDivisionError: division by zero"),
        ([{"image": None, "label": 0}] * 2, r"list\[\d\]: the item is a dict, expected an \(image, class number\)"),
        ([(None, True), (None, False)], "labels are class numbers, got bool 'True'"),
        ([(None, torch.eye(2)[0]), (None, torch.eye(2)[1])], r"labels are class numbers, got Tensor \(2,\)"),
        ([(None, 10**20), (None, 1)], "labels are class numbers, got int"),
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
        ("EMNIST", "train", "split: 'train', but EMNIST expects one of its varieties .*letters.*followed by -test"),
        ("EuroSAT", "test", "split: 'test', but EuroSAT has no splits"),
        ("ImageNet", "train", "ImageNet cannot be opened in .*(?<!fetch it\\))$"),
    ],
)
def test_torchvision_errors(tmp_path, name, split, message):
    with pytest.raises(InputError, match=message) as error:
        open_torchvision(name, tmp_path, split)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "split"), [("CIFAR10", "train"), ("EMNIST", "letters"), ("QMNIST", "test")])
def test_download_is_passed_on(tmp_path, monkeypatch, name, split):
    """Also through the keywords that a data set only passes on to the one it extends."""
    asked = []
    monkeypatch.setattr(getattr(torchvision.datasets, name), "download", lambda self: asked.append(True))
    with pytest.raises(InputError, match="cannot be opened"):
        open_torchvision(name, tmp_path, split, download=True)
    assert asked == [True]


@pytest.fixture
def emnist(tmp_path):
    """EMNIST's letters, labelled from 1 to 26: four images each to learn from and two to test on."""
    for half, count in (("train", 4), ("test", 2)):
        file = tmp_path / "EMNIST" / "raw" / f"emnist-letters-{half}"
        file.parent.mkdir(parents=True, exist_ok=True)
        images, labels = np.zeros((26 * count, 28, 28), dtype=np.uint8), np.arange(26 * count, dtype=np.uint8) % 26 + 1
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            file.with_name(f"{file.name}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return tmp_path


def test_varieties_and_halves_of_emnist(emnist):
    train, test = (open_torchvision("EMNIST", emnist, split) for split in ("letters", "letters-test"))
    assert (len(train.labels), len(test.labels)) == (104, 52)
    assert train.class_names == test.class_names == tuple("abcdefghijklmnopqrstuvwxyz")
    assert train.labels.tolist() == [i % 26 for i in range(104)]
    assert len(open_torchvision("EMNIST", emnist, "letters", train=False).labels) == 52
