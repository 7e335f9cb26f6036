"""What genotypes were worth on many tasks: the rows that a value network learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.objectives import Quantity, Table
from base_fast.runs.storage import load_tensors, save_tensors
from base_fast.space import AnySpace, from_dict_any
from base_fast.tasks import FEATURES, TaskDescription

FORMAT = 1
KIND = "task database"


@dataclass(frozen=True, eq=False)
class Database:
    """Rows (task, genotype, value), and what is known of the tasks.

    Attributes:
        space: whose genotypes.
        quantity: what the values are.
        tasks: K descriptions.
        task: (m,) int64, the number of each row's task.
        choices: (m, T, E) int64.
        values: (m,) float64.
    """

    space: AnySpace
    quantity: Quantity
    tasks: tuple[TaskDescription, ...]
    task: Tensor
    choices: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        rows = len(self.values)
        shape = (rows, len(self.space.cell_types), self.space.num_edges)
        if self.task.shape != (rows,) or self.values.shape != (rows,) or tuple(self.choices.shape) != shape:
            raise InputError(
                f"database: got {tuple(self.task.shape)} tasks, {tuple(self.choices.shape)} choices, "
                f"{tuple(self.values.shape)} values, expected ({rows},), {shape}, ({rows},)"
            )
        if rows == 0 or not 0 <= int(self.task.min()) <= int(self.task.max()) < len(self.tasks):
            raise InputError(f"database: got {rows} rows of {len(self.tasks)} tasks, expected some of each named task")
        if not 0 <= int(self.choices.min()) <= int(self.choices.max()) < self.space.num_primitives:
            raise InputError(f"choices: expected numbers of primitives, 0 to {self.space.num_primitives - 1}")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def worth(self) -> Tensor:
        """(m,) values, the larger the better."""
        return self.values * self.quantity.sign

    def rows(self, task: int) -> Tensor:
        """Numbers of a task's rows, in order: (n,) int64."""
        return (self.task == task).nonzero()[:, 0]

    def only(self, tasks: Sequence[int]) -> Database:
        """The database of some of its tasks, in the given order."""
        place = torch.full((len(self.tasks),), -1, dtype=torch.int64, device="cpu")
        place[list(tasks)] = torch.arange(len(tasks), device="cpu")
        rows = torch.cat([self.rows(task) for task in tasks])
        described = tuple(self.tasks[task] for task in tasks)
        return Database(
            self.space, self.quantity, described, place[self.task[rows]], self.choices[rows], self.values[rows]
        )

    @classmethod
    def of_tables(
        cls, tables: Sequence[Table], descriptions: Sequence[TaskDescription], rows: Sequence[Tensor] | None = None
    ) -> Database:
        """Tables, or some rows of each, as tasks; the first quantity of each is the value.

        Raises:
            InputError: spaces or quantities' directions differ, or there are not as many descriptions.
        """
        if len(tables) != len(descriptions) or not tables:
            raise InputError(f"tables: got {len(tables)} for {len(descriptions)} tasks, expected one each")
        first = tables[0]
        if any(one.space != first.space or one.quantities[0].better != first.quantities[0].better for one in tables):
            raise InputError("tables: got different spaces or directions, expected one for all")
        taken = [torch.arange(len(table), device="cpu") for table in tables] if rows is None else rows
        quantity = first.quantities[0]
        return cls(
            first.space,
            quantity if len(tables) == 1 else Quantity("value", quantity.better, quantity.unit),
            tuple(descriptions),
            torch.cat([torch.full((len(some),), i, device="cpu") for i, some in enumerate(taken)]),
            torch.cat([table.choices[some] for table, some in zip(tables, taken, strict=True)]),
            torch.cat([table.values[some, 0] for table, some in zip(tables, taken, strict=True)]),
        )

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file, atomically."""
        header: dict[str, Any] = {
            "kind": KIND,
            "format": FORMAT,
            "space": self.space.to_dict(),
            "quantity": [self.quantity.name, self.quantity.better, self.quantity.unit],
            "tasks": [task.name for task in self.tasks],
            "features": list(FEATURES),
        }
        tensors = {
            "task": self.task,
            "choices": self.choices,
            "values": self.values,
            "task_features": torch.stack([task.features for task in self.tasks]),
            "images": torch.cat([task.images for task in self.tasks]),
            "labels": torch.cat([task.labels for task in self.tasks]),
            "images_of_task": torch.tensor([len(task.labels) for task in self.tasks], device="cpu"),
        }
        save_tensors(path, tensors, header)

    @classmethod
    def load(cls, path: str | Path) -> Database:
        """Read and check what `save` wrote; executes no code.

        Raises:
            InputError: the file is missing, truncated, of another kind or format, or inconsistent in itself.
        """
        tensors, header = load_tensors(path)
        if header.get("kind") != KIND or header.get("format") != FORMAT:
            raise InputError(
                f"{path}: got kind {header.get('kind')!r}, format {header.get('format')!r}; expected a database of "
                f"format {FORMAT}, as `base-fast collect` with tasks leaves it"
            )
        if header.get("features") != list(FEATURES):
            raise InputError(f"{path}: its meta-features are those of another version; collect it again")
        try:
            counts = tensors["images_of_task"].tolist()
            split = zip(
                header["tasks"],
                tensors["task_features"],
                tensors["images"].split(counts),
                tensors["labels"].split(counts),
                strict=True,
            )
            return cls(
                from_dict_any(header["space"]),
                Quantity(*header["quantity"]),
                tuple(TaskDescription(*one) for one in split),
                tensors["task"],
                tensors["choices"],
                tensors["values"],
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: it is malformed ({error})") from None
