"""Means whose bits do not depend on who adds: a fixed tree over the places of the addends."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from base_fast.errors import InputError


class TreeMean:
    """The mean of vectors that come one by one, added in the tree of a binary counter.

    The first 2^k addends are added in pairs, these sums in pairs, and so on; what is left of a count that is no power
    of two is added from its end, the smaller sums to the larger ones: ((a+b)+(c+d))+e for five. The tree depends on
    the count alone, and adding is elementwise, so that a slice of the mean has the same bits as the mean of slices.
    Of C addends at most log2(C) + 1 partial sums are held. Rounding errors grow with log C, not with C.
    """

    def __init__(self) -> None:
        self._partial: list[tuple[int, Tensor]] = []  # addends in it, and their sum; larger ones first
        self.count = 0

    def add(self, x: Tensor) -> None:
        """Take the next vector, which is not changed."""
        self.count += 1
        size = 1
        while self._partial and self._partial[-1][0] == size:
            x = self._partial.pop()[1] + x
            size *= 2
        self._partial.append((size, x))

    def mean(self) -> Tensor:
        """The mean of those taken so far, of which there must be one."""
        if not self._partial:
            raise InputError("tasks: none, expected at least one to take the mean of")
        total = self._partial[-1][1]
        for _, x in reversed(self._partial[:-1]):
            total = x + total
        return total / self.count


def tree_mean(vectors: Sequence[Tensor]) -> Tensor:
    """`TreeMean` of vectors that are all there; differentiable."""
    fold = TreeMean()
    for x in vectors:
        fold.add(x)
    return fold.mean()


def even_parts(x: Tensor, parts: int) -> list[Tensor]:
    """A batch cut into parts of one size, so that the mean over parts is the mean over images.

    Raises InputError where that cannot be: a batch of a small task may have fewer images than others.
    """
    if len(x) % parts:
        raise InputError(f"microbatches: got {parts}, expected a divisor of the batch's {len(x)} images")
    return list(x.split(len(x) // parts))


def in_order(count: int, costs: Sequence[float] | None = None) -> list[int]:
    """The order in which tasks are begun and folded: the most expensive ones first, those of equal cost by number.

    With W ranks, tasks j·W to j·W + W − 1 of this order run at the same time, one on each rank. Their costs are then
    close to each other, and what all ranks wait for each other in a whole iteration is at most the largest cost less
    the smallest one (the sum telescopes), apart from a last round with fewer tasks than ranks. The order knows nothing
    of W, and so neither do the sums.
    """
    if costs is None:
        return list(range(count))
    return sorted(range(count), key=lambda i: (-costs[i], i))
