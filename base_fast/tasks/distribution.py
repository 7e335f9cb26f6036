"""A distribution over tasks: N-way problems drawn from sources."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.random import fold_in, generator
from base_fast.tasks.digest import digest
from base_fast.tasks.memory import check_fits
from base_fast.tasks.on_demand import images_of
from base_fast.tasks.resize import check_resolution
from base_fast.tasks.source import Source, on_demand
from base_fast.tasks.split import Split, channel_statistics, statistics_images
from base_fast.tasks.stratify import check_fraction, draw_per_class, members_by_class, split_per_class
from base_fast.tasks.task import Task

IMAGES_AT_ONCE = 64


class TaskDistribution:
    """Tasks of N classes each, drawn at random from one or more sources.

    Args:
        sources: where the classes come from; a task takes all of its classes from one of them.
        ways: N, the number of classes of a task, or (low, high), both included, of which one is drawn.
        resolutions: pixels per side; one of them is drawn for each task.
        examples_per_class: images drawn per class, training and validation together; (low, high), both included, draws
            their number first, evenly in its logarithm; None takes all.
        valid_fraction: share of them that is held out for validation, in every class alike.
        weights: how often each source is drawn, relative to the others; None draws all equally often.

    Raises:
        InputError: a source has fewer classes than `ways` or a class with too few images, a number is out of range, or
            the largest task does not fit into memory.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        ways: int | tuple[int, int] = 10,
        resolutions: Sequence[int] = (32,),
        examples_per_class: int | tuple[int, int] | None = None,
        valid_fraction: float = 0.2,
        weights: Sequence[float] | None = None,
    ) -> None:
        if not sources:
            raise InputError("sources: none, expected at least one")
        if not resolutions:
            raise InputError("resolutions: none, expected at least one")
        check_fraction(valid_fraction)
        if examples_per_class is not None:
            drawn = examples_per_class
            fewest, most = drawn if isinstance(drawn, Sequence) else (drawn, drawn)
            if not 2 <= fewest <= most:
                raise InputError(
                    f"examples_per_class: {examples_per_class}, expected at least 2 (training and validation), and of "
                    "two numbers the smaller first"
                )
        weights = [1.0] * len(sources) if weights is None else list(weights)
        if len(weights) != len(sources) or not all(w >= 0 for w in weights) or not sum(weights) > 0:
            raise InputError(f"weights: {weights}, expected {len(sources)} numbers ≥ 0, one per source, not all 0")
        self.sources = tuple(sources)
        pair = ways if isinstance(ways, Sequence) else (ways, ways)
        self.ways = integer("ways", pair[0]), integer("ways", pair[1])
        self.resolutions = tuple(check_resolution(resolution) for resolution in resolutions)
        self.examples_per_class = examples_per_class
        self.valid_fraction = valid_fraction
        self._weights = torch.tensor(weights, dtype=torch.float64, device="cpu")
        self._members = [members_by_class(source.labels, source.num_classes) for source in self.sources]
        self._statistics: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._check_sizes()

    def _check_sizes(self) -> None:
        low, high = self.ways
        if not 2 <= low <= high:
            raise InputError(f"ways: {low} to {high}, expected at least 2 classes, and the smaller number first")
        most = self.examples_per_class[1] if isinstance(self.examples_per_class, Sequence) else self.examples_per_class
        needed = most or 2
        for source, members in zip(self.sources, self._members, strict=True):
            if high > source.num_classes:
                raise InputError(f"ways: {high}, but {source.name} has only {source.num_classes} classes")
            smallest = min(range(source.num_classes), key=lambda c: len(members[c]))
            if len(members[smallest]) < needed:
                raise InputError(
                    f"examples_per_class: {needed} needed, but class {source.class_names[smallest]!r} of "
                    f"{source.name} has {len(members[smallest])}"
                )
            largest = sorted(map(len, members), reverse=True)[:high]
            count = sum(largest) if most is None else high * most
            if not on_demand(source):
                check_fits(source.name, count, max(self.resolutions))

    def sample(self, key: Tensor) -> Task:
        """Draw a task: source, resolution, classes, examples and their split are a pure function of `key`.

        Args:
            key: int64 (2,).

        Returns:
            A task whose labels 0 to N-1 stand for its `class_names`, in drawn order. Its name,
            "<source>-<N>way-<R>px-<digest of the classes>", is the same for the same classes.
        """
        draws = generator(fold_in(key, 0))
        number, resolution = self._drawn(draws)
        ways = int(torch.randint(self.ways[0], self.ways[1] + 1, (), generator=draws, device="cpu"))
        source = self.sources[number]
        classes = torch.randperm(source.num_classes, generator=draws, device="cpu")[:ways]
        names = tuple(source.class_names[c] for c in classes.tolist())
        members = [self._members[number][c] for c in classes.tolist()]
        # A key of its own, so that the number of examples does not change which classes are drawn.
        drawn = draw_per_class(members, names, self._examples(fold_in(key, 3)), generator(fold_in(key, 1)))
        train, valid = split_per_class(drawn, names, self.valid_fraction)
        valid = valid[torch.randperm(len(valid), generator=generator(fold_in(key, 2)), device="cpu")]
        new_label = torch.empty(source.num_classes, dtype=torch.int64, device="cpu")
        new_label[classes] = torch.arange(ways, device="cpu")
        statistics = self._source_statistics(number, resolution)

        def split(indices: Tensor) -> Split:
            return Split(images_of(source, indices, resolution), new_label[source.labels[indices]], ways, *statistics)

        digest = zlib.crc32(" ".join(map(str, sorted(classes.tolist()))).encode())
        name = f"{source.name}-{ways}way-{resolution}px-{digest:08x}"
        return Task(name, split(train), split(valid), ways, resolution, names)

    def cost(self, key: Tensor) -> float:
        """What a training step on the task of `key` costs, relative to others: its images' pixels. Reads no image."""
        return float(self._drawn(generator(fold_in(key, 0)))[1] ** 2)

    def _drawn(self, draws: torch.Generator) -> tuple[int, int]:
        """The first draws of a task: the number of its source, and its resolution."""
        number = int(torch.multinomial(self._weights, 1, generator=draws))
        return number, self.resolutions[int(torch.randint(len(self.resolutions), (), generator=draws, device="cpu"))]

    @cached_property
    def digest(self) -> str:
        """A digest of the sources: all labels and class names, and the pixels of those images that stand for each, at
        most 2000, at the largest resolution."""
        resolution = max(self.resolutions)
        parts: list[str] = []
        for source in self.sources:
            some = statistics_images(source).split(IMAGES_AT_ONCE)
            pixels = (digest(source.images(indices, resolution)) for indices in some)
            parts += [digest(source.class_names, source.labels), *pixels]
        return digest(*parts)

    def _examples(self, key: Tensor) -> int | None:
        """Images per class of the task of a key."""
        if not isinstance(self.examples_per_class, Sequence):
            return self.examples_per_class
        low, high = self.examples_per_class
        u = torch.rand((), generator=generator(key), dtype=torch.float64, device="cpu").item()
        return int(low * ((high + 1) / low) ** u)

    def _source_statistics(self, number: int, resolution: int) -> tuple[Tensor, Tensor]:
        if (number, resolution) not in self._statistics:
            self._statistics[number, resolution] = channel_statistics(self.sources[number], resolution)
        return self._statistics[number, resolution]
