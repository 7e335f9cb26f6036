"""What a run folder holds, read once and sorted for the report. Whatever is missing stays empty."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from base_fast.errors import InputError
from base_fast.runs import RunFolder
from base_fast.strategies import SearchRecord, read_search

Row = dict[str, Any]
Runs = dict[str, list[Row]]

_SEED = re.compile(r"-?seed\d+.*$")


@dataclass
class Contents:
    """Rows by kind of phase and name, and the parsed files of a run folder."""

    path: Path
    run: dict[str, Any] = field(default_factory=dict)
    config: str = ""
    meta: Runs = field(default_factory=dict)
    adapt: Runs = field(default_factory=dict)
    train: Runs = field(default_factory=dict)
    genotypes: dict[str, Any] = field(default_factory=dict)
    candidates: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    undecided: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    search: SearchRecord | None = None

    @property
    def target_accuracy(self) -> float | None:
        """The accuracy whose crossing is of interest, where a results table names one."""
        found = (table.get("target_accuracy") for table in self.results)
        return next((float(value) for value in found if isinstance(value, (int, float))), None)


def read_contents(path: str | Path) -> Contents:
    """Read a run folder; `InputError` for a folder that is not a run or that has nothing to report."""
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"run: {folder} is not a folder; expected a run folder")
    run = RunFolder.open(folder)
    rows = run.rows()
    genotypes = _read(run, "genotype", dict)
    results = _read(run, "results", (dict, list))
    config = folder / "config.toml"
    contents = Contents(
        path=folder,
        run=run.info,
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        meta=_phases(rows, "meta"),
        adapt=_phases(rows, "adapt"),
        train=_phases(rows, "train"),
        genotypes={folder.name: genotypes} if isinstance(genotypes.get("normal"), list) else genotypes,
        candidates=_named(_read(run, "candidates", (dict, list)), folder.name),
        undecided=_named(_read(run, "undecided", (dict, list)), folder.name),
        space=_read(run, "space", dict),
        search=read_search(run),
        results=[results] if isinstance(results, dict) and results else list(results),
    )
    if not any((rows, contents.genotypes, contents.candidates, contents.undecided, contents.results)):
        raise InputError(f"run: {folder} has no metrics, genotypes or results yet, so there is nothing to report")
    return contents


def _read(run: RunFolder, name: str, kinds: type | tuple[type, ...]) -> Any:
    """The parsed file, or an empty dict where there is none."""
    if not (run.path / f"{name}.json").is_file():
        return {}
    value = run.read_json(name)
    if not isinstance(value, kinds):
        raise InputError(f"run: {run.path / name}.json holds a {type(value).__name__}; expected an object")
    return value


def _named(value: Any, name: str) -> dict[str, Any]:
    """A single list counts as the one entry of a run with one result."""
    return value if isinstance(value, dict) else {name: value}


def _phases(rows: Sequence[Row], kind: str) -> Runs:
    """Rows by the name of their phase, for phases `kind` (name "") and `kind/name`, in order of step."""
    found: Runs = {}
    for row in rows:
        head, _, name = str(row.get("phase", "")).partition("/")
        if head == kind and "step" in row:
            found.setdefault(name, []).append(row)
    return {name: sorted(some, key=lambda row: row["step"]) for name, some in found.items()}


def by_group(runs: Runs) -> dict[str, list[list[Row]]]:
    """Runs that differ only in their seed together: "prior-seed0" and "prior-seed1" are the group "prior"."""
    groups: dict[str, list[list[Row]]] = {}
    for name, rows in runs.items():
        groups.setdefault(_SEED.sub("", name) or ("all seeds" if name else "this run"), []).append(rows)
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


def cell_types_of(rows: Sequence[Row], space: dict[str, Any]) -> list[str]:
    """Names of the cell types, from the space, else from what the entropy is reported for."""
    if space.get("cell_types"):
        return [str(name) for name in space["cell_types"]]
    for row in rows:
        if isinstance(row.get("entropy"), dict):
            return list(row["entropy"])
    return ["normal", "reduce"]
