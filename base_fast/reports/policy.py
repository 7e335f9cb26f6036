"""How a controller learned while its search went on: what it earned, and how much it still left open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from base_fast.reports.contents import Row
from base_fast.reports.lines import band
from base_fast.reports.style import MUTED, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def policy_curves(rows: Sequence[Row]) -> Figure:
    """Mean reward of an update's genotypes with the baseline, and their entropy, over the steps of the search.

    Args:
        rows: of a search, updates of its controller among them.
    """
    figure = new_figure(7.4, 3.2)
    earned, left = figure.subplots(1, 2)
    band(earned, [rows], "reward", smooth=True, color=MUTED, label="reward")
    band(earned, [rows], "baseline", color="#0072b2", linewidth=2, label="baseline")
    earned.set(xlabel="step", ylabel="reward")
    earned.legend(loc="best")
    band(left, [rows], "entropy", smooth=True, color="#0072b2", linewidth=2)
    left.set(xlabel="step", ylabel="entropy of the policy (nats)")
    left.set_ylim(bottom=0.0)
    return figure
