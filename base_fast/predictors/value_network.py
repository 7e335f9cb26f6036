"""The value network: what a genotype is worth on a task, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.arguments import integer, positive, whole_numbers
from base_fast.errors import InputError
from base_fast.predictors.ensemble import Shapes, layer, linear, size, views
from base_fast.predictors.genotypes import encode_genotypes, genotype_shapes, genotype_width, one_hot
from base_fast.predictors.tasks import Encoding, TaskSets, encode_tasks, task_sets, task_shapes, task_width
from base_fast.runs import from_dict, to_dict
from base_fast.runs.storage import load_tensors, save_tensors
from base_fast.space import AnySpace, from_dict_any
from base_fast.tasks import FEATURES, TaskDescription

FORMAT = 1
KIND = "value network"


@dataclass(frozen=True)
class ValueConfig:
    """A value network, and how it is fitted.

    Source: Kokiopoulou et al., "Fast Task-Aware Architecture Inference", arXiv 1902.05781, 2019; the ranking loss is
    that of the same group's "Ranking architectures using meta-learning", arXiv 1911.11481, 2019. Of both the abstracts
    could be read; encoders, sizes and `focus` are chosen here.
    """

    task: Encoding = "features"
    """What it sees of a task: features (numbers), images (a learned set encoding), both, or none."""
    loss: Literal["ranking", "squared"] = "ranking"
    """ranking: log(1 + exp(−(V_i − V_j))) over pairs of a task's genotypes of which i is better. squared: error of
    values that are standardized within each task."""
    focus: float = 1.0
    """How much more the better genotypes of a task count: a pair counts exp(focus · s), s the normal score of its
    better one within the task, with the squared loss a row that of its own; 0 is the sources' loss."""
    members: int = 6
    """Networks in the ensemble, whose mean is the value."""
    genotype: int = 32
    """Units of a node's state."""
    hidden: int = 64
    """Units of the two layers after genotype and task."""
    dropout: float = 0.1
    """Probability of dropping a unit of these layers."""
    noise: float = 0.3
    """The most of another genotype that is mixed into one in the fit: the ascent goes through points between them."""
    steps: int = 300
    """Steps of Adam."""
    batch: int = 96
    """Rows of a step, as many of each task."""
    tasks: int = 8
    """The most tasks of a step."""
    images: int = 32
    """Images of a task that a step looks at, where it looks at images."""
    lr: float = 3e-3
    """Learning rate at the start of a cosine."""
    weight_decay: float = 1e-4
    """Share of the weights that a step of learning rate 1 takes away."""
    seed: int = 0
    """Decides on initial weights, batches, dropout and mixtures."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("members", "genotype", "hidden", "steps", "tasks", "images"):
            integer(name, getattr(self, name), 1)
        integer("batch", self.batch, 2)
        positive("lr", self.lr)
        for name, most in (("dropout", 1.0), ("noise", 1.0), ("focus", 10.0), ("weight_decay", float("inf"))):
            if not 0.0 <= getattr(self, name) < most:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a number from 0 to below {most:g}")


def shapes_of(space: AnySpace, config: ValueConfig) -> Shapes:
    """Tensors of a member."""
    shapes = genotype_shapes(space, config.genotype) | task_shapes(config.task)
    layer(shapes, "first", genotype_width(space, config.genotype) + task_width(config.task), config.hidden)
    layer(shapes, "second", config.hidden, config.hidden)
    layer(shapes, "value", config.hidden, 1)
    return shapes


def task_vectors(
    weights: Tensor,
    space: AnySpace,
    config: ValueConfig,
    sets: TaskSets,
    images: int | None = None,
    draws: Tensor | None = None,
) -> Tensor | None:
    """(K, N, ·) of N tasks; None where the network sees nothing of them."""
    if config.task == "none":
        return None
    return encode_tasks(config.task, views(weights, shapes_of(space, config)), sets, images, draws)


def forward(
    weights: Tensor,
    space: AnySpace,
    config: ValueConfig,
    z: Tensor,
    task: Tensor | None,
    draws: torch.Generator | None = None,
) -> Tensor:
    """Values (K, n) of relaxed choices (n, T, E, L) by members of weights (K, P).

    Args:
        task: (K, n, ·), the vector of each row's task; None where the network sees nothing of it.
        draws: where dropout comes from; None drops nothing.
    """
    p = views(weights, shapes_of(space, config))
    x = encode_genotypes(space, p, z)
    if task is not None:
        x = torch.cat((x, task), dim=2)
    for name in ("first", "second"):
        x = F.relu(linear(x, p, name))
        if draws is not None and config.dropout > 0.0:
            kept = torch.rand(x.shape, generator=draws, device="cpu") >= config.dropout
            x = x * kept / (1.0 - config.dropout)
    return linear(x, p, "value")[..., 0]


@dataclass(frozen=True, eq=False)
class ValueNetwork:
    """A fitted ensemble.

    Values are in standard deviations of the values of a task's genotypes, as the network sees them: they compare
    genotypes on one task, not tasks.

    Attributes:
        space: whose genotypes.
        config: its settings.
        weights: (K, P) float32.
        mean, std: (F,) float32 of the fitted tasks' features.
        shift, scale: of the members' mean, before and after.
        fitted: names of the tasks that it was fitted on.
    """

    space: AnySpace
    config: ValueConfig
    weights: Tensor
    mean: Tensor
    std: Tensor
    shift: float
    scale: float
    fitted: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (self.config.members, size(shapes_of(self.space, self.config)))
        if tuple(self.weights.shape) != shape:
            raise InputError(f"weights: got {tuple(self.weights.shape)}, expected {shape} as of the settings")
        for name in ("mean", "std"):
            if tuple(getattr(self, name).shape) != (len(FEATURES),):
                raise InputError(f"{name}: got {tuple(getattr(self, name).shape)}, expected ({len(FEATURES)},)")

    def see(self, task: TaskDescription) -> Tensor | None:
        """The vector (K, 1, ·) of a task, for `relaxed_value`; None where the network sees nothing of it."""
        with torch.no_grad():
            return task_vectors(self.weights, self.space, self.config, task_sets([task], self.mean, self.std))

    def relaxed_value(self, z: Tensor, seen: Tensor | None) -> Tensor:
        """Values (n,) of relaxed choices (n, T, E, L) on the task whose vector `see` gave; differentiable in z."""
        task = None if seen is None else seen.expand(-1, len(z), -1)
        return (forward(self.weights, self.space, self.config, z, task).mean(dim=0) - self.shift) / self.scale

    def value(self, choices: Tensor, task: TaskDescription) -> Tensor:
        """Values (n,) of choices (n, T, E) on a task."""
        with torch.no_grad():
            return self.relaxed_value(one_hot(self.space, choices), self.see(task))

    def save(self, path: str | Path) -> None:
        """Write it to a safetensors file, atomically."""
        header: dict[str, Any] = {
            "kind": KIND,
            "format": FORMAT,
            "space": self.space.to_dict(),
            "config": to_dict(self.config),
            "features": list(FEATURES),
            "shift": self.shift,
            "scale": self.scale,
            "fitted": list(self.fitted),
        }
        save_tensors(path, {"weights": self.weights, "mean": self.mean, "std": self.std}, header)

    @classmethod
    def load(cls, path: str | Path) -> ValueNetwork:
        """Read and check what `save` wrote; executes no code.

        Raises:
            InputError: the file is missing, truncated, of another kind or format, or inconsistent in itself.
        """
        tensors, header = load_tensors(path)
        if header.get("kind") != KIND or header.get("format") != FORMAT:
            raise InputError(
                f"{path}: got kind {header.get('kind')!r}, format {header.get('format')!r}; expected a value network "
                f"of format {FORMAT}, as `base-fast fit-value` leaves it"
            )
        if header.get("features") != list(FEATURES):
            raise InputError(f"{path}: its meta-features are those of another version; fit it again")
        try:
            return cls(
                from_dict_any(header["space"]),
                from_dict(ValueConfig, header["config"]),
                tensors["weights"],
                tensors["mean"],
                tensors["std"],
                float(header["shift"]),
                float(header["scale"]),
                tuple(header["fitted"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: it is malformed ({error})") from None


def standardized(values: Tensor, groups: Sequence[Tensor]) -> Tensor:
    """Values (m,) less the mean of their group, by its standard deviation, 0 if all are equal; groups are rows."""
    out = torch.zeros_like(values)
    for rows in groups:
        own = values[rows] - values[rows].mean()
        spread = own.square().mean().sqrt()
        out[rows] = own / spread if spread > 0 else own
    return out
