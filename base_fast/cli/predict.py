"""Say what trained networks see in images: the most probable classes of each, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from base_fast.cli.command import RunReader, required
from base_fast.errors import InputError
from base_fast.evaluation import Classifier, load_network
from base_fast.runs import atomic_write, progress
from base_fast.tasks.decode import BrokenImage, image_suffixes
from base_fast.tasks.folder_entries import files_below


@dataclass(frozen=True)
class Predict(RunReader):
    """One line per image and class, the most probable class first. Exit status 1 when an image cannot be read."""

    images: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Image files, or folders of them, at any depth."""
    k: int = 5
    """How many classes to list per image."""
    format: Literal["csv", "json"] = "csv"
    """csv: image,rank,class,probability. json: a list of {image, classes: [{class, probability}]}."""
    out: Path | None = None
    """File for them; standard output unless given."""
    batch_size: int = 64
    """Images at once."""
    device: str = "auto"
    """auto (the GPU if there is one), cpu, cuda or cuda:<number>."""

    def execute(self) -> int:
        run = required("run", self.run, "the folder of a finished training, or its network.safetensors")
        for name, value in (("k", self.k), ("batch-size", self.batch_size)):
            if value < 1:
                raise InputError(f"--{name}: got {value}, expected at least 1")
        files = _files(self.images)
        network = load_network(run, self.device)
        unread: list[Path] = []
        found = list(_predictions(network, files, self.k, self.batch_size, unread))
        text = (_csv if self.format == "csv" else _json)(found)
        if self.out is None:
            sys.stdout.write(text)
        else:
            atomic_write(self.out, text.encode("utf-8", "surrogateescape"))
        return 1 if unread else 0


Prediction = tuple[str, list[tuple[str, float]]]


def _files(given: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path.expanduser, given):
        if path.is_dir():
            files += (file for file in files_below(path) if file.suffix.lower() in image_suffixes())
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"images: no file {path}")
    if not files:
        where = ", ".join(map(str, given)) or "no files or folders given"
        raise InputError(f"images: none ({where}), expected image files or folders of them")
    return files


def _predictions(
    network: Classifier, files: Sequence[Path], k: int, batch_size: int, unread: list[Path]
) -> Iterator[Prediction]:
    """In the order of the files; those that cannot be decoded are named on standard error and added to `unread`."""
    waiting = iter(files)
    with progress("predict", len(files)) as bar:
        while batch := list(islice(waiting, batch_size)):
            read: list[tuple[Path, Tensor]] = []
            for file in batch:
                try:
                    read.append((file, network.read(file)))
                except BrokenImage as error:
                    print(f"base-fast predict: {file}: cannot be decoded ({error})", file=sys.stderr)
                    unread.append(file)
            if read:
                probabilities = network.classify(torch.stack([image for _, image in read]))
                best, numbers = probabilities.topk(min(k, probabilities.shape[1]))
                for (file, _), values, classes in zip(read, best.tolist(), numbers.tolist(), strict=True):
                    names = [network.class_names[number] for number in classes]
                    yield os.fspath(file), list(zip(names, values, strict=True))
            bar.advance(len(batch))


def _csv(found: Sequence[Prediction]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "rank", "class", "probability"))
    for image, classes in found:
        writer.writerows((image, rank, name, f"{p:.6g}") for rank, (name, p) in enumerate(classes, 1))
    return text.getvalue()


def _json(found: Sequence[Prediction]) -> str:
    rows: list[dict[str, Any]] = [
        {"image": image, "classes": [{"class": name, "probability": round(p, 6)} for name, p in classes]}
        for image, classes in found
    ]
    return json.dumps(rows, indent=1) + "\n"
