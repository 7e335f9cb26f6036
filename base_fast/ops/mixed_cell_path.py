"""A cell of which every edge runs one primitive, dense convolutions among them: a hard sample of NAS-Bench-201."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from base_fast.ops import autocast
from base_fast.ops.registry import define_gradient, define_kernel, gradients, registered
from base_fast.reference.mixed_cell import edges, mixed_cell
from base_fast.space import Space

STEPS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
"""What the kernel knows, by the numbers that it takes."""
_NONE, _AVERAGE = STEPS.index("none"), STEPS.index("avg_pool_3x3")


def serves(space: Space, reduction: bool) -> bool:
    """Whether a kernel knows all primitives of a cell, which has one node as its output and halves nothing."""
    last = space.inputs + space.nodes - 1
    known = not reduction and space.concat == (last,) and all(p in STEPS for p in space.primitives)
    return known and _COMPILED


def live(chosen: Sequence[int], primitives: Sequence[str], inputs: int) -> list[int]:
    """The same path with `none` for every edge that starts at zeros or leads nowhere.

    A primitive of zeros is zeros, as batch norm gives zeros for a constant; and what the output, the last node, does
    not read has no gradient. So value and gradients stay what they are.
    """
    none = primitives.index("none")
    among = edges(inputs, len(chosen))
    path = list(chosen)
    reached = set(range(inputs))
    for e, (p, node) in enumerate(among):
        if p not in reached:
            path[e] = none
        elif path[e] != none:
            reached.add(node)
    read = {among[-1][1]}
    for e in reversed(range(len(path))):
        p, node = among[e]
        if node not in read:
            path[e] = none
        elif path[e] != none:
            read.add(p)
    return path


def _reference(states: list[Tensor], z: Tensor, weights: Tensor, primitives: list[int], chosen: list[int]) -> Tensor:
    names = [STEPS[i] for i in primitives]
    last = edges(len(states), len(z))[-1][1]
    with autocast.off(states[0].device.type):
        return mixed_cell(states, z, weights, names, [last], False, chosen)


def _like_value(
    states: list[Tensor], z: Tensor, weights: Tensor, primitives: list[int], chosen: list[int]
) -> list[Tensor]:
    steps = [primitives[l] for l in chosen]
    among = edges(len(states), len(z))
    last = among[-1][1]
    norms = sum(step >= _AVERAGE for step in steps)
    rectified = {p for (p, _), step in zip(among, steps, strict=True) if step > _AVERAGE}
    inner = {p for (p, _), step in zip(among, steps, strict=True) if _NONE < step <= _AVERAGE and p >= len(states)}
    images = 1 + norms + len(rectified) + len(inner - {last})
    statistics = states[0].new_empty(sum(step != _NONE for step in steps), 2, states[0].shape[1], dtype=torch.float64)
    return [*(_image(states[0]) for _ in range(images)), statistics]


def _image(x: Tensor) -> Tensor:
    return torch.empty_like(x).contiguous(memory_format=torch.channels_last)


def _value(states: list[Tensor], z: Tensor, weights: Tensor, primitives: list[int], chosen: list[int]) -> list[Tensor]:
    y = _reference(states, z, weights, primitives, chosen).contiguous(memory_format=torch.channels_last)
    # The kernel's other outputs serve its own backward.
    return [y, *_like_value(states, z, weights, primitives, chosen)[1:]]


def _again(
    grad: Tensor, states: list[Tensor], z: Tensor, weights: Tensor, primitives: list[int], chosen: list[int], *_: Any
) -> list[Tensor]:
    """The gradients through the reference, which can be differentiated in turn."""

    def value(*inputs: Tensor) -> Tensor:
        *states, z, weights = inputs
        return _reference(states, z, weights, primitives, chosen)

    return gradients(value, grad, (*states, z, weights))


_kernel = define_kernel(
    "mixed_cell_path(Tensor[] states, Tensor z, Tensor weights, int[] primitives, int[] chosen) -> Tensor[]",
    _value,
    _like_value,
    column=None,
)
_backward = define_kernel(
    "mixed_cell_path_backward(Tensor grad, Tensor[] states, Tensor z, Tensor weights, int[] primitives, int[] chosen, "
    "bool of_z, Tensor[] kept) -> Tensor[]",
    _again,
    lambda grad, states, z, weights, *_: [
        *map(_image, states),
        *(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (z, weights)),
    ],
    column=None,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    states, z, weights, *ctx.settings = inputs
    ctx.inputs = len(states)
    ctx.save_for_backward(*states, z, weights, *output)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, *grads: Any) -> tuple[Any, ...]:
    grad = grads[0]
    if grad is None:
        return [None] * ctx.inputs, None, None, None, None
    saved, n = ctx.saved_tensors, ctx.inputs
    states, z, weights, kept = list(saved[:n]), saved[n], saved[n + 1], list(saved[n + 2 :])
    if torch.is_grad_enabled():
        *d_states, d_z, d_weights = _again(grad, states, z, weights, *ctx.settings)
    else:
        of_z = z.requires_grad
        *d_states, d_z, d_weights = _backward(grad, states, z, weights, *ctx.settings, of_z, kept)
    return d_states, d_z, d_weights, None, None


define_gradient(_kernel, _save, _gradient)
# Asked before anything is traced.
_COMPILED = registered("mixed_cell_path", "CPU")


def mixed_cell_path(
    states: list[Tensor], z: Tensor, weights: Tensor, primitives: Sequence[str], chosen: Sequence[int]
) -> Tensor:
    """The last node of a cell of single primitives; arguments as `mixed_cell` checked them, of a cell that `serves`.

    bfloat16 is computed in float32 and rounded once.
    """
    dtype = states[0].dtype
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    numbers = [STEPS.index(p) for p in primitives]
    path = live(chosen, primitives, len(states))
    y: Tensor = _kernel([x.to(wide) for x in states], z.to(wide), weights.to(wide), numbers, path)[0]
    return y.to(dtype)
