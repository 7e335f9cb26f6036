"""The section of a controller's study: what hidden states know, without and with a memory buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from base_fast.experiments.controller_study import BUFFER, PLAIN, SAVED, UNTRAINED, ControllerStudy, Examined
from base_fast.experiments.hidden_states import FAR, NOISES, Correlated
from base_fast.reports.style import INK, MUTED, new_figure, reference_line, styled
from base_fast.reports.tables import ResultTable, Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {UNTRAINED: MUTED, PLAIN: "#d55e00", BUFFER: "#0072b2", SAVED: "#009e73"}
EDITS = "edit distance"
LEVEL = 0.05


def study_tables(study: ControllerStudy) -> list[ResultTable]:
    """The controllers side by side, their probes, their correlations, and completions from equal states."""
    return [_summary(study), _probes(study), _correlations(study), _completions(study)]


def _summary(study: ControllerStudy) -> ResultTable:
    value = f"{study.reward.name} ({study.reward.unit})" if study.reward.unit else study.reward.name
    stands_out, at_all = NOISES
    lines: dict[str, Callable[[Examined], float | None]] = {
        "entropy (nats)": lambda one: one.entropy,
        f"mean {value}": lambda one: one.reward,
        f"best {value} seen": lambda one: one.best,
        f"probes, {FAR}+ back": lambda one: one.uniform.far(stands_out)[0],
        f"probes, {FAR}+ back, noise {at_all:g}": lambda one: one.uniform.far(at_all)[0],
        "chance": lambda one: one.uniform.far(stands_out)[1],
        f"probes, {FAR}+ back, own genotypes": lambda one: one.policy.far(stands_out)[0],
        "chance, own genotypes": lambda one: one.policy.far(stands_out)[1],
        "rho, edit distance": lambda one: one.uniform.rho("euclidean", EDITS).rho,
        "rho, edit distance, own genotypes": lambda one: one.policy.rho("euclidean", EDITS).rho,
        "R² of the value": lambda one: one.uniform.explained[0].states,
        "R of completions": lambda one: fmean(row.r for row in one.completed),
    }
    groups = study.groups()
    rows = [(name, *(spread(map(look, found)) for found in groups.values())) for name, look in lines.items()]
    notes = (
        f"{study.queries} queries a search; memory.weight {study.weight:g} in {BUFFER!r}. Mean (least to most) over "
        f"{', '.join(f'{len(found)} {group}' for group, found in groups.items())}. Probes: held-out accuracy of linear "
        f"probes of the choices {FAR} and more decisions back, that see through noise of {stands_out:g} of the states' "
        "spread unless another is given. rho: Spearman's, of the Euclidean distance of last states. R²: from the last "
        "state. R: ANOSIM's, mean over steps. On uniformly drawn genotypes, the same for all, or on the policy's own.",
    )
    return ResultTable("Controllers", ("", *groups), tuple(rows), notes)


def _probes(study: ControllerStudy) -> ResultTable:
    groups = study.groups()
    rows: list[tuple[Value, ...]] = []
    for draws in ("uniform", "policy"):
        first = getattr(study.controllers[0], draws).probes
        for i, row in enumerate(first):
            each = {group: [getattr(one, draws).probes[i] for one in found] for group, found in groups.items()}
            accuracies = [
                f"{fmean(p.accuracy for p in found):.2f} / {fmean(p.chance for p in found):.2f}"
                for found in each.values()
            ]
            rows.append((draws, f"{row.noise:g}", row.back, *accuracies))
    notes = (
        "Accuracy / chance (always the most frequent choice), means over seeds and decisions. Genotypes are drawn "
        "uniformly, or by the controller's policy. Noise: what the probe sees through, relative to the states' spread.",
    )
    return ResultTable("Linear probes of past choices", ("genotypes", "noise", "back", *groups), tuple(rows), notes)


def _correlations(study: ControllerStudy) -> ResultTable:
    groups = study.groups()
    rows: list[tuple[Value, ...]] = []
    for row in study.controllers[0].uniform.correlations:
        each = [_interval([one.uniform.rho(row.distance, row.measure) for one in found]) for found in groups.values()]
        rows.append((row.distance, row.measure, *each))
    notes = (
        "Spearman's rho, mean over seeds (from the lowest to the highest end of the seeds' 95 % intervals), of the "
        "distance of the last states of two uniformly drawn genotypes. Shared edges and primitives are likenesses: "
        "negative is what a state that knows them has.",
    )
    return ResultTable("Distances of states and of genotypes", ("states", "genotypes", *groups), tuple(rows), notes)


def _completions(study: ControllerStudy) -> ResultTable:
    groups = study.groups()
    rows: list[tuple[Value, ...]] = []
    for i, first in enumerate(study.controllers[0].completed):
        each = [[one.completed[i] for one in found] for found in groups.values()]
        r = [f"{spread(one.r for one in row)}, {sum(one.p < LEVEL for one in row)} of {len(row)}" for row in each]
        rows.append((first.step, "what came of it", *r))
        rows.append((first.step, "whole genotype", *(spread(one.whole for one in row) for row in each)))
    columns = ("decided", "compared", *groups)
    notes = (
        f"ANOSIM's R, mean (least to most) over seeds, and in how many p < {LEVEL:g}, of genotypes completed from the "
        "same and from different states after so many decisions. 0: what is drawn from a state does not depend on it. "
        "Whole genotypes have the state's own choices in them, which are alike whatever the policy does.",
    )
    return ResultTable("Completions from equal states", columns, tuple(rows), notes)


def spread(values: Iterable[float | None]) -> str | None:
    """Mean (least to most) of what is known; the value alone if there is one."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    digits = 2
    if len(known) == 1:
        return f"{known[0]:.{digits}f}"
    return f"{fmean(known):.{digits}f} ({min(known):.{digits}f} to {max(known):.{digits}f})"


def _interval(rows: Sequence[Correlated]) -> str | None:
    known = _known(rows)
    return None if known is None else f"{known[0]:.2f} ({known[1]:.2f} to {known[2]:.2f})"


def _known(rows: Sequence[Correlated]) -> tuple[float, float, float] | None:
    """Mean rho over seeds, and the outer ends of their intervals; None where no seed has one."""
    rho = [row.rho for row in rows if row.rho is not None]
    low = [row.low for row in rows if row.low is not None]
    high = [row.high for row in rows if row.high is not None]
    return (fmean(rho), min(low), max(high)) if rho and low and high else None


@styled
def study_figure(study: ControllerStudy) -> Figure:
    """Probes by distance, correlations by measure, ANOSIM's R by step; a colour for each group."""
    figure = new_figure(11.5, 3.9)
    probes, correlations, completions = figure.subplots(1, 3, width_ratios=(1.0, 1.5, 1.0))
    _draw_probes(probes, study)
    _draw_correlations(correlations, study)
    _draw_completions(completions, study)
    handles, labels = probes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    return figure


def _band(axes: Axes, group: str, lines: Sequence[Sequence[tuple[int, float]]]) -> None:
    """A line of means over controllers, and their range."""
    xs = [x for x, _ in lines[0]]
    columns = [[line[i][1] for line in lines] for i in range(len(xs))]
    axes.plot(xs, [fmean(column) for column in columns], "o-", color=COLOURS[group], label=group, markersize=4)
    low, high = list(map(min, columns)), list(map(max, columns))
    axes.fill_between(xs, low, high, color=COLOURS[group], alpha=0.18, linewidth=0)
    axes.locator_params(axis="x", integer=True)


def _draw_probes(axes: Axes, study: ControllerStudy) -> None:
    for group, found in study.groups().items():
        lines = [[(p.back, p.accuracy) for p in one.uniform.probes if p.noise == NOISES[0]] for one in found]
        _band(axes, group, lines)
    chance = fmean(p.chance for p in study.controllers[0].uniform.probes)
    reference_line(axes, chance, "chance")
    axes.set(xlabel="decisions back", ylabel="accuracy of a linear probe", ylim=(0, 1.04))
    axes.set_title(f"Past choices, through noise of {NOISES[0]:g}")


def _draw_correlations(axes: Axes, study: ControllerStudy) -> None:
    groups = study.groups()
    names = [row.measure for row in study.controllers[0].uniform.correlations if row.distance == "euclidean"]
    for place, (group, found) in enumerate(groups.items()):
        offset = (place - (len(groups) - 1) / 2) * 0.2
        for y, name in enumerate(names):
            known = _known([one.uniform.rho("euclidean", name) for one in found])
            if known is not None:
                rho, low, high = known
                axes.plot([low, high], [y + offset] * 2, color=COLOURS[group], linewidth=1.4)
                axes.plot([rho], [y + offset], "o", color=COLOURS[group], markersize=4)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="Spearman's ρ with the distance of states")
    axes.set_title("Distances of genotypes")


def _draw_completions(axes: Axes, study: ControllerStudy) -> None:
    for group, found in study.groups().items():
        _band(axes, group, [[(c.step, c.r) for c in one.completed] for one in found])
    reference_line(axes, 0.0, "independent of the state")
    axes.set(xlabel="decisions before the state", ylabel="ANOSIM's R of completions")
    # What is next to nothing should look like it.
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.1), max(high, 0.2))
    axes.set_title("Completions of equal states")
