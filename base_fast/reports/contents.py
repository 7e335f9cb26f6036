"""What a run folder holds, by its kind, read once for the report. What the run has not come to yet stays empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from base_fast.errors import InputError
from base_fast.experiments.collect import FILE, read_cells
from base_fast.experiments.collect_tasks import DATABASE
from base_fast.experiments.controller_study import ControllerStudy
from base_fast.experiments.front import Front
from base_fast.experiments.ground_truth import Placements
from base_fast.experiments.nao_study import NaoStudy
from base_fast.experiments.strategy_comparison import ComparedStrategies
from base_fast.experiments.value_study import ValueStudy
from base_fast.instance import InstanceRecord
from base_fast.meta import PlayOffRecord
from base_fast.objectives import Table
from base_fast.posterior import Derivation, Posterior
from base_fast.predictors import Database
from base_fast.reports.collection import tasks_table
from base_fast.reports.comparison import comparison_tables
from base_fast.reports.placements import placement_tables
from base_fast.reports.predictor_studies import nao_study_table, value_study_tables
from base_fast.reports.scores import strategy_tables
from base_fast.reports.tables import ResultTable, instance_table, language_table, searched_table, trained_table
from base_fast.runs import RunFolder
from base_fast.runs.artefacts import (
    Compared,
    Contender,
    RunInfo,
    Scored,
    Searched,
    TrainedLanguageModel,
    TrainedNetwork,
)
from base_fast.space import Genotype, Space
from base_fast.strategies import SearchRecord, read_search
from base_fast.supernet import Supernet

Row = dict[str, Any]
Runs = dict[str, list[Row]]
T = TypeVar("T")


@dataclass
class Contents:
    """Rows by kind of phase and name, and the files of a run folder.

    genotypes, derivations, play_offs: by name; a run with one genotype has it under the name of its folder.
    searched: the space; used: which of its cell types the supernet has, if that is known.
    target_accuracy: the accuracy whose crossing is of interest.
    searching: the rows of a search.
    """

    path: Path
    info: RunInfo
    config: str = ""
    meta: Runs = field(default_factory=dict)
    adapt: Runs = field(default_factory=dict)
    train: Runs = field(default_factory=dict)
    genotypes: dict[str, Genotype] = field(default_factory=dict)
    derivations: dict[str, Derivation] = field(default_factory=dict)
    play_offs: dict[str, PlayOffRecord] = field(default_factory=dict)
    placements: Placements | None = None
    searched: Space | None = None
    used: tuple[str, ...] | None = None
    results: list[ResultTable] = field(default_factory=list)
    target_accuracy: float | None = None
    search: SearchRecord | None = None
    searching: list[Row] = field(default_factory=list)
    front: Front | None = None
    collected: Table | None = None
    study: ControllerStudy | None = None
    strategies: ComparedStrategies | None = None
    evaluations: list[Scored] = field(default_factory=list)

    @property
    def space(self) -> Space:
        """What was searched. Raises InputError in a run that did not say so at its start."""
        if self.searched is None:
            raise InputError(f"run: {self.path} has no space.json, without which its probabilities have no names")
        return self.searched

    @property
    def cell_types(self) -> tuple[str, ...]:
        """Cell types that the supernet has: of another one, nothing was learned. All where that is not known."""
        return self.space.cell_types if self.used is None else self.used


def read_contents(path: str | Path) -> Contents:
    """Read a run folder.

    Raises InputError for a folder that is not a run, a kind of run that has no report, a damaged file, and a run that
    has nothing to report yet.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"run: {folder} is not a folder; expected a run folder")
    run = RunFolder.open(folder)
    rows = run.rows()
    config = folder / "config.toml"
    contents = Contents(
        path=folder,
        info=run.info,
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        meta=_phases(rows, "meta"),
        adapt=_phases(rows, "adapt"),
        train=_phases(rows, "train"),
        searched=_found(run, "space", Space),
        used=_used(run),
    )
    name = folder.resolve().name
    if run.kind == "compare":
        contents.genotypes = _each(run, "genotypes", Genotype)
        contents.derivations = _each(run, "derivations", Derivation)
        contents.play_offs = _each(run, "play_offs", PlayOffRecord)
        compared = _found(run, "results", Compared)
        if compared is not None:
            contents.results, contents.target_accuracy = comparison_tables(compared), compared.search_accuracy
        contents.placements = _found(run, "placements", Placements)
        if contents.placements is not None:
            contents.results += placement_tables(contents.placements)
    elif run.kind == "compare-strategies":
        contents.strategies = _found(run, "results", ComparedStrategies)
        if contents.strategies is not None:
            contents.results = strategy_tables(contents.strategies)
    elif run.kind == "collect":
        if (folder / FILE).is_file():
            contents.collected = read_cells(folder / FILE, contents.space)
    elif run.kind == "collect-tasks":
        if (folder / DATABASE).is_file():
            contents.results = [tasks_table(Database.load(folder / DATABASE))]
    elif run.kind == "study-value":
        if (studied := _found(run, "study", ValueStudy)) is not None:
            contents.results = value_study_tables(studied)
    elif run.kind == "study-nao":
        if (studied_nao := _found(run, "study", NaoStudy)) is not None:
            contents.results = [nao_study_table(studied_nao)]
    elif run.kind == "study-controller":
        contents.study = _found(run, "study", ControllerStudy)
    elif run.kind == "train-instance":
        record = _found(run, "results", InstanceRecord)
        contents.results = [] if record is None else [instance_table(record)]
    elif run.kind == "train-language":
        contents.genotypes = _single(run, "genotype", Genotype, name)
        model = _found(run, "results", TrainedLanguageModel)
        contents.results = [] if model is None else [language_table(model)]
    elif run.kind in ("meta-train", "adapt", "train", "search", "search-language"):
        contents.genotypes = _single(run, "genotype", Genotype, name)
        contents.derivations = _single(run, "derivation", Derivation, name)
        contents.play_offs = _single(run, "play-off", PlayOffRecord, name)
    else:
        raise InputError(f"run: {folder} is of the kind {run.kind!r}, of which there is no report")
    if run.kind in ("search", "search-language"):
        contents.search = read_search(run)
        contents.searching = run.rows("search")
        contents.front = _found(run, "front/front", Front)
    if run.kind == "adapt" and (searched := _found(run, "results", Searched)) is not None:
        contents.results = [searched_table(searched)]
    if run.kind == "train" and (trained := _found(run, "results", TrainedNetwork)) is not None:
        contents.results = [trained_table(trained)]
    if run.kind == "train":
        names = sorted(path.stem for path in (folder / "evaluations").glob("*.json"))
        contents.evaluations = [run.read(f"evaluations/{one}", Scored) for one in names]
    if not any((rows, contents.genotypes, contents.results, contents.search, contents.collected, contents.study)):
        raise InputError(f"run: {folder} has no metrics, genotypes or results yet, so there is nothing to report")
    return contents


def _used(run: RunFolder) -> tuple[str, ...] | None:
    """The cell types that the layers of the searched supernet have, in the space's order; None before there is a
    posterior, which says what its supernet is, and where no layer is a cell."""
    paths = [run.path / "posterior.safetensors", *sorted((run.path / "posteriors").glob("*.safetensors"))]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    return Supernet.for_posterior(Posterior.load(path)).used_cell_types or None


def _found(run: RunFolder, name: str, cls: type[T]) -> T | None:
    return run.read(name, cls) if run.holds(name) else None


def _single(run: RunFolder, file: str, cls: type[T], name: str) -> dict[str, T]:
    value = _found(run, file, cls)
    return {} if value is None else {name: value}


def _each(run: RunFolder, folder: str, cls: type[T]) -> dict[str, T]:
    """The files of a folder by the contender that they are named after, seed by seed."""
    found = [Contender.parse(path.stem) for path in (run.path / folder).glob("*.json")]
    contenders = sorted((one for one in found if one is not None), key=lambda one: one.order)
    return {one.name: run.read(f"{folder}/{one.name}", cls) for one in contenders}


def _phases(rows: Sequence[Row], kind: str) -> Runs:
    """Rows by the name of their phase, for phases `kind` (name "") and `kind/name`, in order of step."""
    found: Runs = {}
    for row in rows:
        head, _, name = row["phase"].partition("/")
        if head == kind:
            found.setdefault(name, []).append(row)
    return {name: sorted(some, key=lambda row: row["step"]) for name, some in found.items()}


def by_group(runs: Runs) -> dict[str, list[list[Row]]]:
    """Runs that differ only in their seed together: "prior-seed0" and "prior-seed1" are the group "prior"."""
    groups: dict[str, list[list[Row]]] = {}
    for name, rows in runs.items():
        contender = Contender.parse(name)
        group = contender.way if contender else "all seeds" if name.startswith("seed") else name or "this run"
        groups.setdefault(group, []).append(rows)
    return groups


def series(rows: Sequence[Row], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of the rows that have a number at `key`; "entropy.normal" looks into a mapping."""
    head, _, rest = key.partition(".")
    steps, values = [], []
    for row in rows:
        value = row.get(head)
        if rest:
            value = value.get(rest) if isinstance(value, dict) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            steps.append(float(row["step"]))
            values.append(float(value))
    return steps, values
