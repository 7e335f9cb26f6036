"""From a run folder to its report: which figures and tables it can have, and in which order they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from base_fast.errors import InputError
from base_fast.reports import (
    collection,
    controller_study,
    curves,
    front,
    placements,
    play_off,
    policy,
    posterior,
    search,
)
from base_fast.reports.cells import draw_genotype
from base_fast.reports.confusion import class_table, draw_confusion
from base_fast.reports.contents import Contents, Row, Runs, by_group, read_contents
from base_fast.reports.html import Section, details_block, figure_block, grid_block, links_block, page, text_block
from base_fast.reports.learning import learning_curves
from base_fast.reports.render import png, svg_uri
from base_fast.reports.tables import candidates_table, facts, to_html, undecided_table
from base_fast.runs import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    "meta-train": "Meta-learned prior",
    "adapt": "Adaptation",
    "train": "Trained network",
    "search": "Search",
    "search-language": "Search of a recurrent cell",
    "train-language": "Trained language model",
    "train-instance": "Instance-aware network",
    "collect": "Random cells",
    "collect-tasks": "Random cells on many tasks",
    "study-value": "Study of a value network",
    "study-nao": "Study of NAO",
    "study-controller": "Study of a controller's hidden states",
    "compare": "Comparison: prior, scratch, random",
    "compare-strategies": "Comparison of strategies",
}
_OPEN = 3  # genotypes that are shown unfolded


def write_report(run_path: str | Path) -> Path:
    """Write `report/index.html` and its pictures as PNG into a run folder; gives the path of the page.

    Raises InputError for a folder that is not a run or has nothing to report, for damaged files in it, and where
    matplotlib is not installed.
    """
    contents = read_contents(run_path)
    writer = _Writer(contents.path / "report")
    kind = contents.info.kind
    # First what the run came to, as a table and a curve; the curve is of what the run itself did.
    own = {"meta-train": _meta, "train": _training, "train-language": _training}.get(kind, _adaptation)
    others = [section for section in (_meta, _adaptation, _training) if section is not own]
    sections = [
        _results(contents, writer),
        own(contents, writer),
        _evaluations(contents, writer),
        _cells(contents, writer),
        _genotypes(contents),
        _play_offs(contents, writer),
        _search(contents, writer),
        _collection(contents, writer),
        _study(contents, writer),
        *(section(contents, writer) for section in others),
        _config(contents),
    ]
    name = contents.path.resolve().name
    index = contents.path / "report" / "index.html"
    text = page(f"{_TITLES[kind]} · {name}", facts(contents.info), sections)
    index.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(index, text.encode("utf-8", "replace"))  # names of files may be no text
    return index


class _Writer:
    """Saves each figure as PNG and returns its markup."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: set[str] = set()

    def __call__(self, figure: Figure, name: str, alt: str, caption: str = "") -> str:
        slug = base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        number = 2
        while slug in self.used:
            slug, number = f"{base}-{number}", number + 1
        self.used.add(slug)
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self.folder / f"{slug}.png", png(figure))
        return figure_block(svg_uri(figure), alt, round(figure.get_size_inches()[0] * 96), caption)


def _results(contents: Contents, write: _Writer) -> Section:
    section = Section("results", "Results", [to_html(table) for table in contents.results])
    if contents.placements is not None:
        alt = "Percentile in the benchmark's table of derived and random cells, and the mean of sampled cells, per way"
        caption = "Further left is better. Dotted: the mean of cells that are drawn uniformly."
        section.blocks.append(write(placements.placement_figure(contents.placements), "placements", alt, caption))
    compared = contents.strategies
    for column in () if compared is None or not compared.findings else compared.columns:
        assert compared is not None
        alt = f"{column.name} of the genotype that each search would choose, and of its distribution, over its steps"
        caption = "Solid: the genotype that would be chosen then. Dotted: the mean over the distribution."
        section.blocks.append(write(learning_curves(compared, column), f"learning {column.name}", alt, caption))
    return section


def _cells(contents: Contents, write: _Writer) -> Section:
    blocks: list[str] = []
    folded: list[str] = []
    for number, (name, genotype) in enumerate(contents.genotypes.items()):
        text = genotype.compact()
        figure = draw_genotype(genotype, name, contents.used)
        block = write(figure, f"cells {name}", f"Cells of genotype {name}: {text}", text)
        (blocks if number < _OPEN else folded).append(block)
    if folded:
        blocks.append(details_block(f"{len(folded)} more genotypes", folded))
    return Section("cells", "Cells", blocks)


def _genotypes(contents: Contents) -> Section:
    derivations = contents.derivations
    tables = [to_html(candidates_table(name, one.candidates), code=("genotype",)) for name, one in derivations.items()]
    blocks, folded = tables[:_OPEN], tables[_OPEN:]
    if folded:
        blocks.append(details_block(f"Most probable genotypes of {len(folded)} more", folded))
    if any(one.undecided for one in derivations.values()):
        blocks.append(to_html(undecided_table({name: one.undecided for name, one in derivations.items()})))
    return Section("posterior", "Genotypes under the posterior", blocks)


def _play_offs(contents: Contents, write: _Writer) -> Section:
    section, records = Section("play-off", "Play-off"), contents.play_offs
    if not records:
        return section
    alt = "Probability of each cell before a play-off against what it came to, by round, the winner marked. Scatter."
    section.blocks.append(write(play_off.play_offs(records), "play-off", alt))
    section.blocks.append(to_html(play_off.play_off_table(records)))
    fields = [to_html(play_off.field_table(name, one), code=("genotype",)) for name, one in records.items()]
    section.blocks.append(details_block("All cells of the play-off", fields))
    return section


def _search(contents: Contents, write: _Writer) -> Section:
    section, record = Section("search", "Search"), contents.search
    if record is None:
        return section
    alt = f"Values of {record.goal.name} as they were measured, and the best so far, over the steps of the search"
    section.blocks.append(write(search.best_so_far(record), "best so far", alt))
    section.blocks.append(to_html(search.best_table(record), code=("genotype",)))
    if contents.front is not None:
        alt = "The first goal against the others: what was measured, and the front. Scatter."
        section.blocks.append(write(front.front_figure(contents.front), "front", alt))
        section.blocks.append(to_html(front.front_table(contents.front), code=("genotype",)))
    if any("reward" in row for row in contents.searching):
        alt = "Mean reward with its baseline, and entropy of the controller, over the steps. Two line charts."
        section.blocks.append(write(policy.policy_curves(contents.searching), "controller", alt))
    alt = "Probability of each primitive on each edge under the distribution that the search left. Heatmap."
    section.blocks.append(write(search.marginals(record), "distribution", alt))
    return section


def _collection(contents: Contents, write: _Writer) -> Section:
    section, cells = Section("collection", "Random cells"), contents.collected
    if cells is not None:
        alt = f"Accuracy of {len(cells)} random cells against their multiply-adds. Scatter."
        section.blocks.append(write(collection.accuracy_by_cost(cells), "accuracy by cost", alt))
        section.blocks.append(to_html(collection.collection_table(cells)))
    return section


def _study(contents: Contents, write: _Writer) -> Section:
    section, study = Section("study", "What the states know"), contents.study
    if study is not None:
        alt = (
            "Accuracy of linear probes of past choices by how far back they are, rank correlations of the distance of "
            "states with distances of genotypes, and ANOSIM's R of completions, for each group of controllers"
        )
        section.blocks.append(write(controller_study.study_figure(study), "controller study", alt))
        section.blocks += [to_html(table) for table in controller_study.study_tables(study)]
    return section


def _meta(contents: Contents, write: _Writer) -> Section:
    section = Section("meta", "Meta-learning")
    if not contents.meta:
        return section
    groups = by_group(contents.meta)
    if curves.has(groups, "loss_first") or curves.has(groups, "loss_last"):
        alt = "First and last inner loss over meta-iterations, with the loss of a uniform guess for reference"
        section.blocks.append(write(curves.inner_losses(contents.meta), "inner losses", alt))
    small = _entropy(contents, contents.meta, write, "meta")
    if any(curves.has(groups, key) for key in ("max_probability", "none", "skip")):
        alt = "Largest probability and mean share of none and skip over meta-iterations"
        small.append(write(posterior.shares(groups), "meta shares", alt))
    if curves.has(groups, "mu_moved") or curves.has(groups, "sigma_drift"):
        alt = "Movement of the weights' means and drift of sigma over meta-iterations"
        small.append(write(posterior.movement(groups), "meta movement", alt))
    small += _draws(contents.meta, write, "meta")
    if small:
        section.blocks.append(grid_block(small))
    section.blocks += _probabilities(contents, contents.meta, write, "meta")
    return section


def _draws(runs: Runs, write: _Writer, kind: str) -> list[str]:
    groups = by_group(runs)
    if not curves.has(groups, "effective_cells"):
        return []
    alt = "Effective sample size, weight and mean measures of the cells that were drawn, over steps"
    return [write(curves.draws(groups), f"{kind} draws", alt)]


def _entropy(contents: Contents, runs: Runs, write: _Writer, kind: str) -> list[str]:
    groups = by_group(runs)
    if not any(curves.has(groups, f"entropy.{cell}") for cell in contents.cell_types):
        return []
    figure = posterior.entropy(groups, contents.cell_types, contents.space.num_primitives)
    return [write(figure, f"{kind} entropy", "Entropy of the choice per edge and cell type over steps")]


def _probabilities(contents: Contents, runs: Runs, write: _Writer, kind: str) -> list[str]:
    """Heatmaps of the last probabilities; of the first run of each group also, folded, the way there."""
    blocks: list[str] = []
    folded: list[str] = []
    first = {id(group[0]) for group in by_group(runs).values()}
    for name, rows in runs.items():
        shown = id(rows) in first
        found = _probabilities_of_run(contents, rows, write, f"{kind} {name}".strip(), over_time=shown)
        (blocks if shown else folded).extend(found)
    return [*blocks, details_block("Probabilities: other seeds", folded)] if folded else blocks


def _probabilities_of_run(contents: Contents, rows: list[Row], write: _Writer, name: str, over_time: bool) -> list[str]:
    steps, values = posterior.probabilities(rows)
    if not values.size:
        return []
    space = contents.space
    edges, primitives, cell_types = space.edges, space.primitives, space.cell_types
    if values.shape[1:] != (len(cell_types), len(edges), len(primitives)):
        raise InputError(f"metrics: probabilities of shape {values.shape[1:]} do not fit the space {space.name}")
    values = values[:, [cell_types.index(cell_type) for cell_type in contents.cell_types]]
    cell_types = contents.cell_types
    title = f"Probabilities at step {steps[-1]:g}: {name}"
    figure = posterior.final_probabilities(values[-1], edges, primitives, cell_types, title)
    blocks = [write(figure, f"probabilities {name}", f"{title}. Heatmap of edges and primitives.")]
    panels = []
    for cell, cell_type in enumerate(cell_types if over_time and len(steps) > 1 else []):
        title = f"{name}, {cell_type} cell"
        figure = posterior.edge_probabilities(steps, values[:, cell], edges, primitives, title)
        alt = f"Probability of each primitive on each edge over steps: {title}"
        panels.append(write(figure, f"edges {name} {cell_type}", alt))
    if panels:
        blocks.append(details_block(f"Probabilities over time: {name}", panels))
    return blocks


def _adaptation(contents: Contents, write: _Writer) -> Section:
    section = Section("adaptation", "Adaptation")
    if not contents.adapt:
        return section
    groups, small = by_group(contents.adapt), []
    if curves.has(groups, "accuracy"):
        alt = "Validation accuracy against adaptation steps, per way of starting"
        small.append(write(curves.adaptation(groups, contents.target_accuracy), "adaptation accuracy", alt))
    if curves.has(groups, "nll") or curves.has(groups, "loss"):
        small.append(write(curves.adaptation_loss(groups), "adaptation loss", "Loss against adaptation steps"))
    small += _entropy(contents, contents.adapt, write, "adaptation")
    small += _draws(contents.adapt, write, "adaptation")
    if small:
        section.blocks.append(grid_block(small))
    section.blocks += _probabilities(contents, contents.adapt, write, "adapt")
    return section


def _evaluations(contents: Contents, write: _Writer) -> Section:
    section = Section("evaluations", "Class by class")
    for scored in contents.evaluations:
        alt = f"Confusion matrix of {scored.data}: images of each class by the class that they were taken for. Heatmap."
        section.blocks.append(write(draw_confusion(scored), f"confusion {scored.data}", alt))
        section.blocks.append(to_html(class_table(scored)))
    return section


def _training(contents: Contents, write: _Writer) -> Section:
    alone = len(contents.train) == 1
    section = Section("training", "Training" if alone else "Training of derived networks")
    groups = by_group(contents.train)
    if not alone and curves.has(groups, "accuracy"):
        alt = "Final validation accuracy of every trained network, with the mean of each group"
        section.blocks.append(write(curves.final_accuracies(groups), "final accuracies", alt))
    if curves.has(groups, "loss") or curves.has(groups, "accuracy"):
        alt = "Training loss and accuracy against optimizer steps, per group of networks"
        section.blocks.append(write(curves.training(groups), "training curves", alt))
    return section


def _config(contents: Contents) -> Section:
    blocks = [details_block("config.toml", [text_block(contents.config)])] if contents.config.strip() else []
    files = sorted(path.relative_to(contents.path).as_posix() for path in contents.path.rglob("*") if _kept(path))
    files = [name for name in files if not name.startswith(("report/", "checkpoints/", "tensorboard/"))]
    if files:
        blocks.append(links_block([(name, f"../{name}") for name in files]))
    return Section("config", "Configuration and files", blocks)


def _kept(path: Path) -> bool:
    return path.suffix in (".json", ".jsonl", ".toml", ".csv", ".png", ".safetensors") and path.is_file()
