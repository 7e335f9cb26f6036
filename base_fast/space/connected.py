"""Which genotypes connect their inputs to their output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from base_fast.space.choices import Choices
from base_fast.space.space import NONE
from base_fast.space.stack import AnySpace, Stack


def connected(choices: Choices, space: AnySpace) -> NDArray[np.bool_]:
    """(n, T, E) → (n,): whether in every cell a path of edges other than `none` leads from an input to the output.

    A cell without one computes a constant: it is fast, and on a device its time may be measured as nothing.
    """
    good = np.ones(len(choices), dtype=np.bool_)
    if isinstance(space, Stack):
        return good
    present = choices != space.primitives.index(NONE)
    for t in range(len(space.cell_types)):
        reached = np.zeros((len(choices), space.inputs + space.nodes), dtype=np.bool_)
        reached[:, : space.inputs] = True
        for edge, (predecessor, node) in enumerate(space.edges):  # nodes come in order
            reached[:, node] |= reached[:, predecessor] & present[:, t, edge]
        good &= reached[:, list(space.concat)].any(axis=1)
    return good
