"""What the curves show: means, bands, crossings, names of edges and primitives."""

from __future__ import annotations

import numpy as np
import pytest

from base_fast.reports import curves, posterior
from base_fast.reports.contents import by_group, series
from base_fast.reports.lines import common_steps, running_mean, thin
from base_fast.reports.style import family, group_colours, primitive_colour, short_label
from base_fast.space import DARTS

pytest.importorskip("matplotlib")


def rows(*pairs: tuple[float, float]) -> list[dict[str, object]]:
    return [{"step": step, "accuracy": value} for step, value in pairs]


def test_running_mean_passes_over_what_is_not_a_number() -> None:
    np.testing.assert_allclose(running_mean([1, float("nan"), 3, 5], 3), [1, 2, 4, 4])


def test_thin_keeps_both_ends() -> None:
    kept = thin(1000, 7)
    assert (len(kept), kept[0], kept[-1]) == (7, 0, 999)


def test_runs_are_compared_where_both_have_been() -> None:
    steps, values = common_steps([rows((0, 0.0), (10, 1.0)), rows((5, 0.0), (20, 0.0))], "accuracy")
    np.testing.assert_allclose(steps, [5, 10])
    np.testing.assert_allclose(values, [[0.5, 1.0], [0, 0]])
    assert not len(common_steps([[]], "accuracy")[0])


def test_crossing_is_that_of_the_mean() -> None:
    runs = [rows((0, 0.0), (1, 0.8), (2, 0.8)), rows((0, 0.0), (1, 0.0), (2, 0.4))]
    assert curves.crossing(runs, 0.6) == 2
    assert curves.crossing(runs, 0.7) is None
    labels = [t.get_text() for t in curves.adaptation({"prior": runs}, 0.6).axes[0].get_legend().get_texts()]
    assert labels == ["prior: reaches 60 % at step 2"]


def test_seeds_make_groups() -> None:
    runs = {"prior-seed0": [{}], "prior-seed1": [{}], "random-seed0-3": [{}], "seed0": [{}], "x": [{}]}
    groups = by_group(runs)
    assert {name: len(group) for name, group in groups.items()} == {"prior": 2, "random": 1, "all seeds": 1, "x": 1}


def test_series_looks_into_mappings_and_ignores_words() -> None:
    some = [{"step": 1, "entropy": {"normal": 2.0}, "note": "a"}, {"step": 2, "entropy": 3, "note": True}]
    assert series(some, "entropy.normal") == ([1.0], [2.0])
    assert series(some, "entropy") == ([2.0], [3.0])
    assert series(some, "note") == ([], [])


def test_draws_have_a_panel_for_each_measure() -> None:
    drawn = [{"step": s, "effective_cells": 9.0, "beta": 5.0, "evidence": {"own_steps_loss": 1.0 / s}} for s in (1, 2)]
    figure = curves.draws({"prior": [drawn], "scratch": [drawn[:1]]})
    assert [axes.get_title() for axes in figure.axes] == ["", "", ""]
    assert [axes.get_title("left") for axes in figure.axes] == ["effective cells", "β", "own steps loss"]
    np.testing.assert_allclose(figure.axes[2].lines[0].get_xydata(), [[1, 1.0], [2, 0.5]])


def test_small_multiples_name_every_edge() -> None:
    values = np.full((3, 5, 2), 0.5)
    edges = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    figure = posterior.edge_probabilities(np.arange(3.0), values, edges, ["a", "b"])
    assert [axes.get_title("left") for axes in figure.axes] == [f"{p} → {node}" for p, node in edges]


def test_largest_probability_of_an_edge_is_framed() -> None:
    values = np.array([[[0.1, 0.9], [0.7, 0.3]]])
    axes = posterior.final_probabilities(values, [(0, 2), (1, 2)], ["none", "skip_connect"], ["normal"]).axes[0]
    assert [int(patch.get_x()) for patch in axes.patches] == [1, 0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0 → 2", "1 → 2"]


def test_primitives_have_families_short_names_and_fixed_colours() -> None:
    names = ["sep_conv_3x3", "dil_conv_5x5", "max_pool_3x3", "skip_connect", "none", "nor_conv_1x1", "attention"]
    families = ["separable", "dilated", "pool", "skip", "none", "convolution", "other"]
    assert [family(name) for name in names] == families
    assert [short_label(n) for n in names[:4]] == ["sep 3×3", "dil 5×5", "max 3×3", "skip"]
    assert short_label("conv_7x1_1x7") == "7×1 1×7"
    assert len({primitive_colour(name) for name in DARTS.primitives}) == len(DARTS.primitives)
    assert primitive_colour("attention") == primitive_colour("attention")
    assert group_colours(["a", "prior", "b"])["prior"] == group_colours(["prior"])["prior"]
