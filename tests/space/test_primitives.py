"""The table of primitives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from base_fast.errors import InputError
from base_fast.space import DARTS, NAS_BENCH_201, PRIMITIVES, Genotype, Primitive, genotypes, register
from base_fast.space.primitives import FUSED, BatchNorm, Convolution, Identity, Layer, Pool, ReLU, find, numbered


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Primitive]]:
    """The table, for a test to add to."""
    before = dict(PRIMITIVES)
    yield PRIMITIVES
    PRIMITIVES.clear()
    PRIMITIVES.update(before)


def dense(stride: int) -> tuple[Layer, ...]:
    return ReLU(), Convolution((5, 5), (stride, stride)), BatchNorm()


def test_every_published_cell_and_space_is_in_the_table() -> None:
    used = {p for g in genotypes.SOURCES for cell in getattr(genotypes, g).cells.values() for p, _ in cell}
    assert {*DARTS.primitives, *NAS_BENCH_201.primitives, *used} <= {*PRIMITIVES}


def test_numbers_are_positions() -> None:
    assert [primitive.number for primitive in FUSED] == list(range(len(FUSED)))
    assert [numbered(i).name for i in (0, 4)] == ["none", "sep_conv_3x3"]


@pytest.mark.parametrize("number", [-1, len(FUSED)])
def test_an_unknown_number_is_an_error(number: int) -> None:
    with pytest.raises(InputError, match=f"primitives: got the number {number}, expected one from 0 to 8"):
        numbered(number)


@pytest.mark.parametrize(
    ("name", "stride", "shapes"),
    [
        ("none", 2, {}),
        ("avg_pool_3x3", 1, {}),
        ("skip_connect", 1, {}),
        ("skip_connect", 2, {"conv_1.weight": (2, 5, 1, 1), "conv_2.weight": (3, 5, 1, 1)}),
        ("dil_conv_5x5", 2, {"op.1.weight": (5, 1, 5, 5), "op.2.weight": (5, 5, 1, 1)}),
        ("nor_conv_1x1", 2, {"op.1.weight": (5, 5, 1, 1)}),
        ("conv_7x1_1x7", 1, {"1.weight": (5, 5, 1, 7), "2.weight": (5, 5, 7, 1)}),
    ],
)
def test_weights(name: str, stride: int, shapes: dict[str, tuple[int, ...]]) -> None:
    assert list(find(name).weights(5, stride).items()) == list(shapes.items())


def test_norms_behind_convolutions_are_counted() -> None:
    names = ("none", "max_pool_3x3", "skip_connect", "sep_conv_7x7", "dil_conv_3x3")
    assert [find(name).convolution_norms(1) for name in names] == [0, 0, 0, 2, 1]
    assert find("skip_connect").convolution_norms(2) == 1


def test_an_own_primitive_has_a_name_a_label_and_a_family(table: dict[str, Primitive]) -> None:
    own = register(Primitive("wide_conv_5x5", dense))
    assert find("wide_conv_5x5") is table["wide_conv_5x5"] is own
    assert (own.label, own.family, own.number) == ("wide conv 5×5", "convolution", None)
    Genotype([["wide_conv_5x5", 0]] * 2, [2], [["wide_conv_5x5", 1]] * 2, [2]).validate()
    # A notebook's cell runs twice.
    register(Primitive("wide_conv_5x5", dense))
    with pytest.raises(InputError, match="name: 'wide_conv_5x5' is the name of another primitive"):
        register(Primitive("wide_conv_5x5", lambda stride: (Pool("max", stride),)))


def test_hidden_layers_may_be_wider(table: dict[str, Primitive]) -> None:
    own = Primitive(
        "mbconv",
        lambda stride: (
            Convolution((1, 1), outputs=6),
            BatchNorm(),
            ReLU(),
            Convolution((3, 3), (stride, stride), depthwise=True, inputs=6, outputs=6),
            Convolution((1, 1), inputs=6),
            BatchNorm(),
        ),
    )
    assert [*own.weights(2, 1).values()] == [(12, 2, 1, 1), (12, 1, 3, 3), (2, 12, 1, 1)]
    assert [width for _, width in own.widths(2, 1)] == [2, 12, 12, 12, 12, 2]
    assert own.family == "separable"


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((), r"mine: layers\(1\): empty"),
        ((ReLU, BatchNorm()), r"mine: layers\(1\): <class .*ReLU'>; expected one of Zero, Identity, ReLU"),
        ((Convolution((1, 1), outputs=2),), r"mine: layers\(1\): ends with 2 times the edge's channels"),
        ((Convolution((1, 1), inputs=2),), r"mine: layers\(1\): Convolution\(.*\) on 1 times the edge's channels"),
        ((Convolution((2, 2)),), r"mine: layers\(1\): Convolution\(.*\); expected odd kernel sizes"),
        ((Convolution((1, 1), depthwise=True, outputs=2),), "as many outputs as inputs of a depthwise one"),
        ((Convolution((3, 1), (2, 1)),), r"mine: layers\(1\): strides of 2×1 together; expected 1×1"),
        ((Identity(),), r"mine: layers\(2\): strides of 1×1 together; expected 2×2"),
    ],
)
def test_layers_that_do_not_fit(layers: tuple[Layer, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Primitive("mine", lambda stride: layers)


def test_a_number_and_an_unreadable_name_are_refused(table: dict[str, Primitive]) -> None:
    with pytest.raises(InputError, match="mine: number 3; expected None"):
        register(Primitive("mine", dense, number=3))
    with pytest.raises(InputError, match="name: 'my conv'; expected letters, digits and underscores"):
        register(Primitive("my conv", dense))
