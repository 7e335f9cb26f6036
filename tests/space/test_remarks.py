"""What is said of odd cells."""

from __future__ import annotations

import pytest

from base_fast.space import Genotype, genotypes
from base_fast.space.remarks import remarks

CONCAT = (2, 3)
GOOD = [("sep_conv_3x3", 0), ("skip_connect", 1), ("max_pool_3x3", 1), ("skip_connect", 2)]


def cells(primitives: str, predecessors: tuple[int, ...] = (0, 1, 0, 2), concat: tuple[int, ...] = CONCAT) -> list[str]:
    names = {"s": "skip_connect", "p": "max_pool_3x3", "a": "avg_pool_3x3", "c": "sep_conv_3x3", "n": "none"}
    normal = [(names[c], i) for c, i in zip(primitives, predecessors, strict=True)]
    return remarks(Genotype(normal, concat, GOOD, CONCAT))


@pytest.mark.parametrize("name", ["BASE_CIFAR_TUNED", "PC_DARTS_cifar", "PDARTS"])
def test_of_published_cells_nothing_is_said(name: str) -> None:
    assert remarks(genotypes.ALL[name]) == []


def test_cells_of_one_kind() -> None:
    assert remarks(genotypes.DARTS_V2) == ["the reduce cell is all pools and skip connections"]
    assert cells("ssss") == ["the normal cell is all skip connections"]
    assert cells("ppap") == ["the normal cell is all pools"]
    assert cells("sspp") == ["the normal cell is all pools and skip connections"]
    assert cells("sspc") == []
    # What does not reach the output does not count: node 2's convolution.
    assert cells("ccss", (0, 1, 0, 1), (3,)) == [
        "the normal cell is all skip connections",
        "the normal cell has a node that leads nowhere: 2",
    ]
    assert remarks(Genotype(GOOD, CONCAT, [("skip_connect", 0)] * 4, CONCAT), ["normal"]) == []


def nas_bench(*primitives: str) -> list[str]:
    return remarks(Genotype([(p, i) for p, i in zip(primitives, (0, 0, 1, 0, 1, 2), strict=True)], (3,), (), ()))


def test_cells_that_keep_all_edges() -> None:
    conv, none, skip = "nor_conv_3x3", "none", "skip_connect"
    assert nas_bench(conv, conv, conv, none, none, none) == [
        "the cell is cut off: no path leads from its inputs to its output"
    ]
    assert nas_bench(none, none, conv, none, conv, conv) == [
        "the cell is cut off: no path leads from its inputs to its output"
    ]
    assert nas_bench(conv, none, none, skip, none, none) == [
        "the cell is all skip connections",
        "the cell has nodes that lead nowhere: 1, 2",
    ]
    assert nas_bench(conv, conv, conv, conv, conv, conv) == []
