"""The front of a search with several goals, or of tables: the genotypes that no other one beats in all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from base_fast.cli.command import Flat, RunReader, required
from base_fast.errors import InputError
from base_fast.experiments.front import Front, FrontConfig, front_of_search, front_of_tables
from base_fast.reports import print_table
from base_fast.reports.front import front_csv, front_figure, front_table
from base_fast.reports.render import png
from base_fast.runs import RunFolder, atomic_write, to_dict
from base_fast.space import Genotype, from_dict_any
from base_fast.space.stack import Stack
from base_fast.strategies import SearchSettings, read_search


@dataclass(frozen=True)
class Pareto(RunReader):
    """Leaves front.csv (a table), front.png, front.json and genotypes/1.json, 2.json, ... (best in the first goal
    first), each of which `base-fast train` takes. RUN is a search; without one, the front is of `tables`."""

    out: Path | None = None
    """Folder for the front; RUN/front if not given."""
    config: Path | None = None
    """File (.toml) with the settings below; options override it."""
    Settings: ClassVar = FrontConfig
    settings: Annotated[FrontConfig, Flat] = FrontConfig()

    def of_run(self, path: Path) -> Pareto:
        """With the goals of the search, unless a file named others."""
        run = RunFolder.open(path)
        goals = run.config(SearchSettings).search.goals if run.kind == "search" else ()
        if self.settings.goals or len(goals) < 2:
            return self
        return replace(self, settings=replace(self.settings, goals=goals))

    def execute(self) -> int:
        folder = self.out
        if self.run is None:
            front = front_of_tables(self.settings)
        else:
            folder = folder or self.run / "front"
            record = read_search(RunFolder.open(self.run))
            if record is None:
                raise InputError(f"run: {self.run} has no search.json, expected a finished `base-fast search`")
            front = front_of_search(record, self.settings)
        folder = required("out", folder, "a folder for the front")
        write_front(folder, front)
        print_table(front_table(front))
        print(f"{folder}: {len(front.points)} genotypes")
        return 0


def write_front(folder: Path, front: Front) -> None:
    """All files of a front; front.json last, when the others stand beside it."""
    atomic_write(folder / "front.csv", front_csv(front))
    atomic_write(folder / "front.png", png(front_figure(front)))
    space = from_dict_any(front.space)
    for old in (folder / "genotypes").glob("*.json"):
        old.unlink()
    if not isinstance(space, Stack):
        for number, point in enumerate(front.points, 1):
            genotype = Genotype.parse(point.genotype)
            atomic_write(folder / "genotypes" / f"{number}.json", genotype.to_json().encode())
    data: Any = to_dict(front)
    atomic_write(folder / "front.json", (json.dumps(data, indent=1) + "\n").encode())
