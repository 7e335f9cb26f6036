"""Play-offs and placements: what the tables say, and what the figures show."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from base_fast.meta import PlayOffRecord
from base_fast.reports.placements import placement_figure, placement_tables
from base_fast.reports.play_off import field_table, judged_by, play_off_table, play_offs
from tests.reports.fake_run import placements, played_off

pytest.importorskip("matplotlib")

RECORD = played_off(1)


def without_losses(record: PlayOffRecord) -> PlayOffRecord:
    rounds = [replace(one, cells=tuple(replace(cell, measured={}) for cell in one.cells)) for one in record.rounds]
    return PlayOffRecord(tuple(rounds))


def test_the_winner_stands_beside_the_most_probable_cell_and_the_mean() -> None:
    table = play_off_table({"a": RECORD})
    assert [row[:4] for row in table.rows] == [("a", 1, 40, 12), ("a", 2, 80, 18), ("a", 3, 160, 9)]
    last = RECORD.rounds[-1].cells
    losses = [cell.measured["alone_loss"] for cell in last]
    probabilities = [cell.probability for cell in last]
    rank = 1 + sorted(probabilities, reverse=True).index(probabilities[0])
    probable = losses[int(np.argmax(probabilities))]
    assert table.rows[-1][4:] == (losses[0], probable, pytest.approx(fmean(losses)), rank)
    assert "validation loss, trained alone (nats)" in table.notes[0]


def test_a_winner_that_joined_later_has_no_value_before() -> None:
    first = RECORD.rounds[0]
    others = tuple(cell for cell in first.cells if cell.genotype != RECORD.winner)
    record = PlayOffRecord((replace(first, cells=others), *RECORD.rounds[1:]))
    row = play_off_table({"a": record}).rows[0]
    assert (row[4], row[7]) == (None, None)


def test_without_own_steps_it_is_the_evidence() -> None:
    assert (judged_by(RECORD), judged_by(without_losses(RECORD))) == ("alone_loss", "evidence")
    row = play_off_table({"a": without_losses(RECORD)}).rows[-1]
    assert row[4] == RECORD.rounds[-1].cells[0].evidence


def test_every_cell_of_every_round_is_listed_and_the_winner_marked() -> None:
    table = field_table("a", RECORD)
    assert len(table.rows) == 12 + 18 + 9
    assert table.columns[3:] == ("probability", "evidence", "alone loss", "naswot", "genotype")
    marked = {row[-1] for row in table.rows if row[2] == "winner"}
    assert marked == {RECORD.winner.compact()}
    assert table.rows[-9][:3] == (3, 1, "winner")


def test_the_figure_has_a_panel_for_each_play_off_and_rings_the_winner() -> None:
    figure = play_offs({"a": RECORD, "b": played_off(2)})
    assert [axes.get_title("left") for axes in figure.axes] == ["Play-off: a", "Play-off: b"]
    axes, best = figure.axes[0], RECORD.rounds[-1].cells[0]
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    np.testing.assert_allclose(ring.get_xydata(), [[best.probability, best.measured["alone_loss"]]])
    fields = [line for line in axes.lines if line.get_marker() == "o" and line is not ring]
    assert [len(line.get_xdata()) for line in fields] == [12, 18, 9]
    assert axes.get_xscale() == "log"


def test_probabilities_of_one_size_need_no_logarithm() -> None:
    cells = tuple(replace(cell, probability=0.2 + 0.01 * i) for i, cell in enumerate(RECORD.rounds[0].cells))
    figure = play_offs({"": PlayOffRecord((replace(RECORD.rounds[0], cells=cells, steps=1),))})
    assert figure.axes[0].get_xscale() == "linear"
    assert figure.axes[0].get_title("left") == "Play-off"
    assert figure.legends[0].get_texts()[0].get_text() == "round 1: 1 step"


def test_placements_by_way_and_column() -> None:
    found = placements(2)
    tables = placement_tables(found)
    assert [table.title.rpartition(": ")[2] for table in tables] == ["cifar10_test", "cifar100_test"]
    row = next(row for row in tables[1].rows if row[0] == "adapted from the prior")
    own = [one for one in found.placed if one.column == "cifar100_test" and one.name.startswith("prior")]
    percentiles = [one.percentile for one in own]
    assert row[1] == f"{percentiles[0]:.2f}, {percentiles[1]:.2f}"
    assert row[2] == f"{fmean(percentiles):.2f}"
    assert row[3] == f"{fmean(one.mean_percentile or 0.0 for one in own):.1f}"
    assert row[4] == f"{100 * fmean(one.top_share or 0.0 for one in own):.1f} %"
    random = tables[0].rows[-1]
    assert (random[0], len(str(random[1]).split(",")), random[3:]) == ("random genotype", 4, (None, None))


def test_placements_as_a_figure() -> None:
    figure = placement_figure(placements(3))
    assert [axes.get_title("left") for axes in figure.axes] == ["cifar10_test", "cifar100_test"]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [3, 3, 3, 6]
