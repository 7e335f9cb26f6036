"""Objectives that are looked up: a benchmark's table of all, or some, genotypes of a space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from base_fast.distributions import Distribution
from base_fast.errors import InputError
from base_fast.objectives.objective import Measurements, Objective, Quantity
from base_fast.objectives.table_files import read_columns
from base_fast.space import AnySpace, decode, encode

# The probability of what a table lacks that counts as rounding.
MISSING = 1e-6


class Table(Objective):
    """Values of genotypes, without noise; what it costs is counted in look-ups.

    Args:
        space: whose genotypes.
        choices: (m, T, E) int64, one row for each genotype, all different.
        quantities: what the columns are.
        values: (m, Q) float64.

    Raises:
        InputError: shapes that don't fit, or a genotype that has two rows.
    """

    costs = ("look-ups",)

    def __init__(self, space: AnySpace, choices: Tensor, quantities: Sequence[Quantity], values: Tensor) -> None:
        if tuple(values.shape) != (len(choices), len(quantities)):
            raise InputError(
                f"values: got shape {tuple(values.shape)}, expected {(len(choices), len(quantities))}: a row for each "
                "genotype, a column for each quantity"
            )
        self.space, self.choices, self.values = space, choices, values
        self.quantities = tuple(quantities)
        self._row_of = {text: row for row, text in enumerate(_keys(choices))}
        if len(self._row_of) != len(choices):
            raise InputError(f"choices: got {len(choices)} rows for {len(self._row_of)} genotypes, expected one each")

    @classmethod
    def read(cls, path: str | Path, space: AnySpace, quantities: Sequence[Quantity], genotypes: str = "arch") -> Table:
        """Read the columns that `quantities` name from a file.

        Args:
            path: CSV with a header; JSON, a list of objects, or an object with one object for each genotype; each as
                it is or as .gz.
            genotypes: name of the column of genotypes, as `space.encode` reads them.

        Raises:
            InputError: the file cannot be read, a column is missing or holds something else than finite numbers, a
                genotype is not one of the space.
        """
        texts, columns = read_columns(Path(path), genotypes, [quantity.name for quantity in quantities])
        rows = np.empty((len(texts), len(space.cell_types), space.num_edges), dtype=np.int64)
        for row, text in enumerate(texts):
            try:
                rows[row] = encode(text, space)
            except InputError as error:
                raise InputError(f"{path}: row {row + 1} is no genotype of {space.name}: {error}") from None
        values = torch.tensor(columns, dtype=torch.float64, device="cpu").T.contiguous()
        try:
            return cls(space, torch.from_numpy(rows), quantities, values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    def __len__(self) -> int:
        return len(self.choices)

    def rows(self, choices: Tensor) -> Tensor:
        """(n, T, E) → (n,) row numbers; raises InputError for a genotype that has none."""
        found = [self._row_of.get(text) for text in _keys(choices)]
        for i, row in enumerate(found):
            if row is None:
                genotype = decode(choices[i].numpy(), self.space).compact()
                raise InputError(f"table: no row for {genotype}; expected one of its {len(self)} genotypes")
        return torch.tensor(found, device="cpu")

    def measure(self, choices: Tensor, key: Tensor) -> Measurements:
        return Measurements(
            self.values[self.rows(choices)], torch.ones(len(choices), 1, dtype=torch.float64, device="cpu")
        )

    def ranks(self, name: str, choices: Tensor) -> Tensor:
        """(n, T, E) → (n,) int64: 1 + how many genotypes of the table are better in the quantity `name`."""
        names = [quantity.name for quantity in self.quantities]
        if name not in names:
            raise InputError(f"name: got {name!r}, expected one of {', '.join(names)}")
        column = self.values[:, names.index(name)] * self.quantities[names.index(name)].sign
        best_first = torch.sort(-column).values
        return 1 + torch.searchsorted(best_first, -column[self.rows(choices)])

    def expected(self, distribution: Distribution) -> Tensor | None:
        """(Q,) float64: the mean of each quantity over genotypes drawn from a distribution, by enumeration.

        None where the table lacks genotypes that can be drawn.
        """
        with torch.no_grad():
            p = distribution.log_prob(self.choices).exp()
        if not float(p.sum()) > 1.0 - MISSING:
            return None
        return p @ self.values / p.sum()

    def percentiles(self, name: str, choices: Tensor) -> Tensor:
        """(n, T, E) → (n,) float64: rank in per cent of the table's size; below 1 is the top per cent."""
        return 100.0 * self.ranks(name, choices).double() / len(self)


def _keys(choices: Tensor) -> list[bytes]:
    return [row.tobytes() for row in choices.flatten(1).to(torch.int8).numpy()]
