"""Pictures: speed-ups, per case against the opponent that its target names, else the best; time against memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from base_fast.reports.style import INK, MUTED, new_figure, styled
from benchmarks.result import Result
from benchmarks.targets import AtMost, Faster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REACHED, MISSED, TARGET = "#0072b2", "#d55e00", INK


@styled
def speed_ups(results: Sequence[Result]) -> Figure:
    """One line per case that has a speed-up, the first on top; logarithmic."""
    shown = [r for r in results if r.ratios]
    figure = new_figure(9.0, 1.3 + 0.3 * max(len(shown), 1))
    axes = figure.add_subplot()
    for y, result in enumerate(shown):
        _line(axes, y, result)
    axes.axvline(1.0, color=MUTED, linewidth=1.0, zorder=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    low, high = axes.get_xlim()
    # Powers of ten are enough, unless fewer than two of them are in sight.
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}×" if high < 10.0 * low else "")
    axes.set_yticks(range(len(shown)), [r.title for r in shown])
    axes.set_ylim(len(shown) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("speed-up: median, 10–90 %")
    looks = {
        "base_fast against the target's or the best opponent": ("o", REACHED),
        "the same, target missed": ("o", MISSED),
        "target": ("v", TARGET),
        "every opponent": ("|", MUTED),
    }
    marks = [axes.plot([], [], marker, color=colour, markersize=5)[0] for marker, colour in looks.values()]
    figure.legend(marks, looks, loc="outside lower center", ncols=len(looks))
    return figure


def _line(axes: Axes, y: int, result: Result) -> None:
    for ratio in result.ratios.values():
        axes.plot(ratio.median, y, marker="|", color=MUTED, markersize=7, linestyle="none", alpha=0.8)
    targets = [t for t in result.targets() if isinstance(t, (Faster, AtMost))]
    named = next((name for t in targets if (name := t.opponent(result)) in result.ratios), None)
    ratio = result.ratios[named or result.best or ""]
    colour = MISSED if any(t.met(result) is False for t in targets) else REACHED
    axes.plot([ratio.low, ratio.high], [y, y], color=colour, linewidth=4, alpha=0.45, solid_capstyle="butt")
    axes.plot(ratio.median, y, marker="o", color=colour, markersize=5, linestyle="none")
    for target in targets:
        axes.plot(target.ratio, y - 0.28, marker="v", color=TARGET, markersize=5, linestyle="none")


@styled
def time_and_memory(results: Sequence[Result]) -> Figure:
    """Per case whose processes were weighed, its contenders side by side: how long, how much memory at the peak."""
    shown = [r for r in results if r.processes]
    figure = new_figure(9.0, 0.9 + 0.35 * sum(1 + len(r.processes) for r in shown))
    left, right = figure.subplots(1, 2, sharey=True)
    labels: list[str] = []
    for result in shown:
        for name, peak in result.processes.items():
            colour = REACHED if name not in result.case.opponents else MUTED
            y = len(labels)
            labels.append(name)
            _bar(left, y, result.times[name].median, colour, "{:.2f} s")
            _bar(right, y, peak / 1e9, colour, "{:.2f} GB")
    left.set_yticks(range(len(labels)), labels)
    left.set_ylim(len(labels) - 0.4, -0.6)
    for axes, label in ((left, "time of a step"), (right, "memory at the peak")):
        axes.set_xlim(0.0, 1.18 * axes.get_xlim()[1])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(label)
    figure.suptitle("; ".join(r.title for r in shown), fontsize="medium")
    return figure


def _bar(axes: Axes, y: int, value: float, colour: str, text: str) -> None:
    axes.barh(y, value, color=colour, height=0.6)
    axes.annotate(text.format(value), (value, y), xytext=(4, 0), textcoords="offset points", va="center")
