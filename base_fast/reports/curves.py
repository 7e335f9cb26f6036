"""Figures of losses and accuracies: meta-learning, adaptation, training of derived networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from base_fast.reports.contents import Row, series
from base_fast.reports.lines import band, common_steps, over_runs, running_mean, thin
from base_fast.reports.style import INK, PAPER, group_colours, new_figure, reference_line, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Groups = Mapping[str, Sequence[Sequence[Row]]]


@styled
def inner_losses(runs: Mapping[str, Sequence[Row]]) -> Figure:
    """First and last loss of the inner loop over meta-iterations, faint as they came and bold as running means."""
    figure = new_figure(12.2, 3.4)
    panels = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
    for axes, (name, rows) in zip(panels, runs.items(), strict=True):
        for key, label, colour in (("loss_first", "first", "#d55e00"), ("loss_last", "last", "#0072b2")):
            steps, values = series(rows, key)
            if not steps:
                continue
            keep = thin(len(steps))
            mean = running_mean(values, max(len(values) // 20, 1))
            x = np.array(steps)[keep]
            axes.plot(x, np.array(values)[keep], color=colour, linewidth=0.7, alpha=0.35)
            axes.plot(x, mean[keep], color=colour, linewidth=2, label=f"{label} inner step")
        chance = [value for value in series(rows, "ln_classes")[1] if np.isfinite(value)]
        if chance:
            varies = max(chance) - min(chance) > 1e-6
            reference_line(axes, float(np.mean(chance)), "mean ln(classes)" if varies else "ln(classes)")
        axes.set_title(name or "inner loss")
        axes.set_xlabel("meta-iteration")
        axes.tick_params(labelleft=True)
    panels[0].set_ylabel("inner loss")
    panels[0].legend(loc="best")
    return figure


def crossing(runs: Sequence[Sequence[Row]], target: float) -> float | None:
    """The first step at which the mean accuracy of the runs reaches `target`; None where it never does."""
    steps, values = common_steps(runs, "accuracy")
    reached = np.flatnonzero(values.mean(0) >= target) if len(steps) else np.empty(0, dtype=np.int64)
    return float(steps[reached[0]]) if len(reached) else None


@styled
def adaptation(groups: Groups, target: float | None = None) -> Figure:
    """Validation accuracy against adaptation steps per group of runs; the crossing of `target` is marked."""
    figure = new_figure(5.6, 3.5)
    axes = figure.subplots()
    colours = group_colours(list(groups))
    for group, runs in groups.items():
        label, step = group or "adaptation", None if target is None else crossing(runs, target)
        if target is not None and step is not None:
            label += f": reaches {100 * target:.4g} % at step {step:g}"
            look: Any = {"color": colours[group], "markeredgecolor": PAPER, "markersize": 7, "zorder": 5}
            axes.plot([step], [100 * target], "D", **look)
            axes.axvline(step, color=colours[group], linewidth=0.9, linestyle=(0, (2, 2)))
        band(axes, runs, "accuracy", scale=100, color=colours[group], label=label)
    if target is not None:
        reference_line(axes, 100 * target, "target", right=False)
    axes.set(xlabel="adaptation step" + over_runs(max(map(len, groups.values()))), ylabel="validation accuracy (%)")
    axes.set_title("Adaptation")
    axes.legend(loc="best")
    return figure


@styled
def adaptation_loss(groups: Groups) -> Figure:
    """Cross-entropy (or, without it, the whole loss) against adaptation steps per group of runs, smoothed."""
    figure = new_figure(5.6, 3.5)
    axes = figure.subplots()
    _losses(axes, groups, "nll" if any(series(rows, "nll")[0] for g in groups.values() for rows in g) else "loss")
    axes.set(xlabel="adaptation step" + over_runs(max(map(len, groups.values()))))
    axes.set_title("Adaptation loss, running mean")
    return figure


def _losses(axes: Axes, groups: Groups, key: str) -> None:
    colours = group_colours(list(groups))
    for group, runs in groups.items():
        band(axes, runs, key, smooth=True, color=colours[group], label=group or "loss")
    axes.set_ylabel("cross-entropy" if key == "nll" else "loss")
    axes.legend(loc="best")


@styled
def training(groups: Groups) -> Figure:
    """Loss (left) and validation accuracy (right; of language models perplexity) against optimizer steps, per group."""
    figure = new_figure(12.2, 3.5)
    left, right = figure.subplots(1, 2)
    _losses(left, groups, "loss")
    left.set_title("Training loss, running mean")
    colours, text = group_colours(list(groups)), has(groups, "perplexity")
    for group, runs in groups.items():
        if text:
            band(right, runs, "perplexity", color=colours[group], label=group or "validation")
            continue
        band(right, runs, "train_accuracy", scale=100, color=colours[group], linewidth=1, linestyle=(0, (3, 2)))
        band(right, runs, "accuracy", scale=100, color=colours[group], label=group or "validation")
    right.set_title("Perplexity of the validation text" if text else "Accuracy: validation solid, training dashed")
    right.set_ylabel("perplexity" if text else "accuracy (%)")
    right.legend(loc="best" if text else "lower right")
    for axes in (left, right):
        axes.set_xlabel("optimizer step" + over_runs(max(map(len, groups.values()))))
    return figure


@styled
def final_accuracies(groups: Groups) -> Figure:
    """A dot for the last accuracy of every trained network, a bar for the mean of its group."""
    last = {group: [series(rows, "accuracy")[1][-1:] for rows in runs] for group, runs in groups.items()}
    found = {group: np.array([100 * v[0] for v in values if v]) for group, values in last.items()}
    found = {group: values for group, values in found.items() if len(values)}
    figure = new_figure(6.4, 0.62 * len(found) + 1.0)
    axes = figure.subplots()
    colours = group_colours(list(groups))
    for place, (group, values) in enumerate(found.items()):
        # Neighbours of nearly equal accuracy alternate around the line, so that each dot stays visible.
        spread = np.resize([0.0, 0.16, -0.16], len(values))[np.argsort(np.argsort(values))]
        axes.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=2.2, zorder=3)
        axes.plot(values, place + spread, "o", color=colours[group], markersize=6, alpha=0.8, markeredgecolor=PAPER)
        axes.annotate(f"{values.mean():.2f}", (values.mean(), place - 0.3), (0, 1), textcoords="offset points",
                      ha="center", va="bottom", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(found)), [f"{group or 'network'}  (n = {len(v)})" for group, v in found.items()])
    axes.set_ylim(len(found) - 0.45, -0.65)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)
    axes.set_xlabel("final validation accuracy (%)")
    axes.set_title("Trained networks, mean marked")
    return figure


@styled
def draws(groups: Groups) -> Figure:
    """Small panels of what was drawn and measured: effective sample size, β, how far the prior agrees and is
    believed, and the mean of each part of the evidence, per group of runs."""
    rows = [row for runs in groups.values() for some in runs for row in some]
    evidence = [row["evidence"] for row in rows if isinstance(row.get("evidence"), dict)]
    parts = dict.fromkeys(name for found in evidence for name in found)
    keys = {"effective_cells": "effective cells", "beta": "β", "agreement": "agreement", "believed": "believed"}
    keys = {key: title for key, title in keys.items() if has(groups, key)}
    keys |= {f"evidence.{name}": name.replace("_", " ") for name in parts}
    columns = 3
    lines = -(-len(keys) // columns)
    figure = new_figure(5.6, 1.45 * lines + 0.75)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True)
    colours = group_colours(list(groups))
    for axes in panels.flat[len(keys) :]:
        axes.axis("off")
    for axes, (key, title) in zip(panels.flat, keys.items(), strict=False):
        for group, runs in groups.items():
            band(axes, runs, key, color=colours[group], linewidth=1.3, marker="o", markersize=2.5)
        axes.set_title(title, fontsize=8.5)
        axes.tick_params(labelsize=7)
        axes.ticklabel_format(useOffset=False)
        axes.locator_params(nbins=4)
        axes.margins(y=0.12)
    # The lowest panel of each column has the steps.
    for number in range(max(len(keys) - columns, 0), len(keys)):
        panels.flat[number].tick_params(labelbottom=True)
    figure.supxlabel("step" + over_runs(max(map(len, groups.values()))), fontsize=9)
    figure.suptitle("Drawn cells: mean measures", x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    if len(groups) > 1:
        from matplotlib.lines import Line2D

        lines_of = [Line2D([], [], color=colours[group]) for group in groups]
        figure.legend(lines_of, list(groups), loc="upper right", ncols=len(groups))
    return figure


def has(groups: Groups, key: str) -> bool:
    """Whether any run recorded a number at `key`."""
    return any(series(rows, key)[0] for runs in groups.values() for rows in runs)
