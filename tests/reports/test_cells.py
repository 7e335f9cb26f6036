"""Cells as pictures: every published genotype draws, labels never overlap, bad genotypes are named."""

from __future__ import annotations

import itertools

import pytest

from base_fast.errors import InputError
from base_fast.reports import draw_genotype
from base_fast.reports.cell_layout import CHIP, ROW, CellLayout, chip_y
from base_fast.reports.cells import cell_layouts
from base_fast.space import NAS_BENCH_201, Genotype, genotypes

pytest.importorskip("matplotlib")

ZOO: dict[str, Genotype] = {name: value for name, value in vars(genotypes).items() if isinstance(value, Genotype)}


def chips(layout: CellLayout) -> list[tuple[float, float, str, int]]:
    return [
        (layout.column_x(column), chip_y(item, i), primitive, predecessor)
        for column, items in enumerate(layout.columns)
        for item in items
        if item.kind == "node"
        for i, (primitive, predecessor) in enumerate(item.chips)
    ]


def test_the_zoo_is_not_empty() -> None:
    assert len(ZOO) >= 10


def test_one_type_of_cell_alone() -> None:
    figure = draw_genotype(genotypes.DARTS_V2, cells=("reduce",))
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "reduce cell" in words
    assert "normal cell" not in words


@pytest.mark.parametrize("name", ZOO)
def test_every_published_genotype_draws_all_its_edges_apart(name: str) -> None:
    genotype = ZOO[name]
    layouts = cell_layouts(genotype)
    for cell, layout in layouts.items():
        placed = chips(layout)
        assert sorted((p, n) for _, _, p, n in placed) == sorted(genotype.cells[cell])
        for a, b in itertools.combinations(placed, 2):
            assert abs(a[0] - b[0]) >= CHIP or abs(a[1] - b[1]) >= ROW - 1e-9
        for items in layout.columns:
            for above, below in itertools.pairwise(items):
                assert above.y - below.y >= (above.height + below.height) / 2 - 1e-9
    figure = draw_genotype(genotype, name)
    drawn = {text.get_text() for text in figure.axes[0].texts}
    assert {name, "normal cell", "reduce cell", "output"} <= drawn


def test_labels_stay_inside_their_chips() -> None:
    figure = draw_genotype(ZOO["AmoebaNet"])
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    for text in figure.axes[0].texts:
        if "×" in text.get_text():
            assert text.get_window_extent(renderer).width <= CHIP * figure.dpi


def test_parallel_edges_enter_their_node_separately() -> None:
    layout = cell_layouts(ZOO["BASE_CIFAR_TUNED"])["reduce"]
    ends = [(left.source, right.source, chip) for _, left, right, chip in layout.wires if right.kind == "node"]
    assert (0, 2, 0) in ends
    assert (0, 2, 1) in ends


def test_nas_bench_201_has_one_cell_with_one_input() -> None:
    genotype = Genotype.random(NAS_BENCH_201, 0)
    layouts = cell_layouts(genotype)
    assert list(layouts) == ["normal"]
    assert len(layouts["normal"].columns[0]) == 1
    texts = [text.get_text() for text in draw_genotype(genotype).axes[0].texts]
    assert "0  input" in texts
    assert "reduce cell" not in texts


def test_cells_too_wide_for_one_row_stand_below_each_other() -> None:
    chain = [[name, node - 1 + i] for node in range(1, 5) for i, name in enumerate(("sep_conv_3x3", "none"))]
    figure = draw_genotype(Genotype(chain, [5], chain, [5]))
    width, _ = figure.get_size_inches()
    assert width < 9


@pytest.mark.parametrize(
    ("genotype", "words"),
    [
        (Genotype([], [], [], []), "no pairs"),
        (Genotype([["skip_connect", 0], ["none", 1], ["none", 1]], [2], [], []), "expected 2 per node"),
        (Genotype([["skip_connect", 0], ["none", 2]], [2], [], []), "does not come before"),
        (Genotype([["skip_connect", 0], ["none", 1]], [7], [], []), "lacks"),
    ],
)
def test_bad_genotypes_are_named(genotype: Genotype, words: str) -> None:
    with pytest.raises(InputError, match=words):
        draw_genotype(genotype)
