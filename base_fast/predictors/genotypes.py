"""Genotypes, relaxed or not, as vectors: what a graph passes from its inputs to its output."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.space import AnySpace, Stack, configurations
from base_fast.space.space import NONE


def genotype_shapes(space: AnySpace, hidden: int) -> dict[str, tuple[int, ...]]:
    """Tensors of a member's encoder of genotypes."""
    shapes: dict[str, tuple[int, ...]] = {}
    if isinstance(space, Stack):
        return shapes
    for t in range(len(space.cell_types)):
        shapes[f"cell{t}.input"] = (space.inputs, hidden)
        shapes[f"cell{t}.primitives"] = (space.num_primitives, hidden, hidden)
    return shapes


def genotype_width(space: AnySpace, hidden: int) -> int:
    """D, the length of a genotype's vector."""
    flat = len(space.cell_types) * space.num_edges * space.num_primitives
    return flat if isinstance(space, Stack) else len(space.cell_types) * hidden


def encode_genotypes(space: AnySpace, p: Mapping[str, Tensor], z: Tensor) -> Tensor:
    """Relaxed choices (n, T, E, L) → (K, n, D), differentiable.

    A node's state is the sum over its edges of Σ_l z_l · relu(W_l h), h the state of its predecessor, where the
    primitive `none` passes nothing; the inputs' states are learned, and the vector of a cell is the mean state of the
    nodes that make its output. So cells that compute the same through dead edges have the same vector, and one that
    connects nothing has the vector 0. Of a stack, the choices themselves are the vector.
    """
    members = len(next(iter(p.values())))
    if isinstance(space, Stack):
        return z.flatten(1).expand(members, -1, -1)
    passes = torch.tensor([float(primitive != NONE) for primitive in space.primitives], device="cpu").to(z)
    found = []
    for t in range(len(space.cell_types)):
        inputs, primitives = p[f"cell{t}.input"], p[f"cell{t}.primitives"]
        # (K, L, d, d) → (K, d, L·d): one product for all primitives.
        weight = primitives.transpose(1, 2).flatten(2)
        states = [inputs[:, i : i + 1].expand(-1, len(z), -1) for i in range(space.inputs)]
        passed: list[Tensor] = []
        for node in space.node_numbers:
            for state in states[len(passed) :]:
                passed.append(F.relu(torch.bmm(state, weight)).unflatten(2, (space.num_primitives, -1)))
            total = torch.zeros_like(states[0])
            for edge in space.incoming(node):
                chosen = (z[:, t, edge] * passes).unsqueeze(-1)
                total = total + (chosen * passed[space.edges[edge][0]]).sum(dim=2)
            states.append(total)
        found.append(torch.stack([states[node] for node in space.concat]).mean(dim=0))
    return torch.cat(found, dim=2)


def one_hot(space: AnySpace, choices: Tensor) -> Tensor:
    """(n, T, E) → (n, T, E, L) float32."""
    return F.one_hot(choices, space.num_primitives).float()


@lru_cache(maxsize=16)
def _parts(space: AnySpace) -> tuple[tuple[Tensor, Tensor], ...]:
    """For each independent part of a cell: its choices (C, edges), and the same as one-hot (C, edges, L)."""
    parts = []
    for _, rows in configurations(space):
        choices = torch.from_numpy(rows.copy())
        parts.append((choices, one_hot(space, choices)))
    return tuple(parts)


def fresh_logits(space: AnySpace, starts: int, scale: float, draws: torch.Generator) -> list[Tensor]:
    """Logits (S, T, C) of each independent part of a cell, normal with a standard deviation of `scale`."""
    shape = starts, len(space.cell_types)
    return [scale * torch.randn(*shape, len(rows), generator=draws, device="cpu") for rows, _ in _parts(space)]


def relaxed(space: AnySpace, logits: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits of the parts → mean one-hot choices (S, T, E, L), and the entropies (S,) in nats.

    Every point is a mean of genotypes: where a node keeps two edges, its choices of both are relaxed together.
    """
    z, entropy = [], torch.zeros(len(logits[0]), device="cpu")
    for own, (_, hot) in zip(logits, _parts(space), strict=True):
        log_p = torch.log_softmax(own, dim=-1)
        z.append(torch.einsum("stc,cel->stel", log_p.exp(), hot))
        entropy = entropy - (log_p.exp() * log_p).sum(dim=(1, 2))
    return torch.cat(z, dim=2), entropy


def discretized(space: AnySpace, logits: list[Tensor]) -> Tensor:
    """The most probable choices (S, T, E) of logits; each is a genotype."""
    found = [rows[own.argmax(dim=-1)] for own, (rows, _) in zip(logits, _parts(space), strict=True)]
    return torch.cat(found, dim=2)
