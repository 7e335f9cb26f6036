"""A searched cell of a supernet: all its edges, the sums of its nodes and their concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from base_fast.errors import InputError
from base_fast.ops import autocast, checks, extension
from base_fast.ops.memory import MEMORY, kept, kept_dtype, padded, stages
from base_fast.ops.mixed_cell_path import mixed_cell_path, serves
from base_fast.ops.mixed_op import MOST, mixed_op
from base_fast.ops.registry import define_gradient, define_kernel, gradients
from base_fast.reference.mixed_cell import edge_shapes, strides
from base_fast.reference.mixed_cell import mixed_cell as reference
from base_fast.space import Space
from base_fast.space.primitives import check, find, numbered

Outputs = tuple[Tensor, Tensor, Tensor, Tensor]


def _plain(
    states: list[Tensor],
    z: Tensor,
    weights: Tensor,
    primitives: list[int],
    concat: list[int],
    reduction: bool,
    chosen: list[int],
) -> Tensor:
    """The reference; bfloat16 is computed in float32, whatever autocast says."""
    dtype = states[0].dtype
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    states, z, weights = [x.to(wide) for x in states], z.to(wide), weights.to(wide)
    names = [numbered(i).name for i in primitives]
    with autocast.off(states[0].device.type):
        y = reference(states, z, weights, names, concat, reduction, chosen or [None] * len(z))
    return y.to(dtype)


def _value(
    states: list[Tensor],
    z: Tensor,
    weights: Tensor,
    primitives: list[int],
    concat: list[int],
    reduction: bool,
    chosen: list[int],
    memory: int,
) -> Outputs:
    y = _plain(states, z, weights, primitives, concat, reduction, chosen)
    # The kernel's other outputs serve its own backward.
    _, inner, values, statistics = _like_value(states, z, weights, primitives, concat, reduction, chosen, memory)
    return y.contiguous(memory_format=torch.channels_last), inner, values, statistics


def _like_value(
    states: list[Tensor],
    z: Tensor,
    weights: Tensor,
    primitives: list[int],
    concat: list[int],
    reduction: bool,
    chosen: list[int],
    memory: int,
) -> Outputs:
    x = states[0]
    images, channels, height, width = x.shape
    if reduction:
        height, width = (height + 1) // 2, (width + 1) // 2
    edges = strides(len(states), len(z), reduction)
    run = [[primitives[l]] for l in chosen] if chosen else [primitives] * len(edges)
    norms = sum(stages(own, stride) for own, stride in zip(run, edges, strict=True))
    stored = sum(kept(own, stride, memory, x.device) for own, stride in zip(run, edges, strict=True))
    values = stored * images * padded(channels) * height * width
    nodes = next(n for n in range(len(z) + 1) if sum(range(len(states), len(states) + n)) == len(z))

    def image(count: int) -> Tensor:
        shape = (images, count * channels, height, width)
        return x.new_empty(shape).contiguous(memory_format=torch.channels_last)

    return (
        image(len(concat)),
        image(nodes - len(concat)),
        x.new_empty(values, dtype=kept_dtype(x.dtype, memory)),
        x.new_empty(norms + 2 * len(edges), 2, padded(channels), dtype=torch.float64),
    )


def _again(
    grad: Tensor,
    states: list[Tensor],
    z: Tensor,
    weights: Tensor,
    primitives: list[int],
    concat: list[int],
    reduction: bool,
    chosen: list[int],
    *_: Any,
) -> list[Tensor]:
    """The gradients through the reference, which can be differentiated in turn."""

    def value(*inputs: Tensor) -> Tensor:
        *states, z, weights = inputs
        return _plain(states, z, weights, primitives, concat, reduction, chosen)

    return gradients(value, grad, (*states, z, weights))


_kernel = define_kernel(
    "mixed_cell(Tensor[] states, Tensor z, Tensor weights, int[] primitives, int[] concat, bool reduction, "
    "int[] chosen, int memory) -> (Tensor y, Tensor inner, Tensor values, Tensor statistics)",
    _value,
    _like_value,
    column=None,
)
_backward = define_kernel(
    "mixed_cell_backward(Tensor grad, Tensor[] states, Tensor z, Tensor weights, int[] primitives, int[] concat, "
    "bool reduction, int[] chosen, int memory, Tensor y, Tensor inner, Tensor values, Tensor statistics) -> Tensor[]",
    _again,
    lambda grad, states, z, weights, *_: [
        *(torch.empty_like(x).contiguous(memory_format=torch.channels_last) for x in states),
        *(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (z, weights)),
    ],
    column=None,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    states, z, weights, *ctx.settings = inputs
    # The nodes are read from the output, which whatever follows the cell keeps too.
    ctx.save_for_backward(z, weights, *output, *states)
    # Only y has a gradient: without this, PyTorch would fill tensors with zeros for the others.
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradient(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    z, weights, y, inner, values, statistics, *states = ctx.saved_tensors
    none = [None] * len(ctx.settings)
    if grad is None:
        return [None] * len(states), None, None, *none
    backward = _again if torch.is_grad_enabled() else _backward
    *d_states, d_z, d_weights = backward(grad, states, z, weights, *ctx.settings, y, inner, values, statistics)
    return d_states, d_z, d_weights, *none


define_gradient(_kernel, _save, _gradient)


def mixed_cell(
    states: Sequence[Tensor],
    z: Tensor,
    weights: Tensor,
    space: Space,
    reduction: bool = False,
    chosen: Sequence[int] | None = None,
    memory: str = "store",
) -> Tensor:
    """A cell of mixed edges: node_j = Σ_{i<j} mixed_op(node_i), and the concatenation of nodes (Liu et al. 2019).

    On the CPU a cell of primitives that all have a number in `space.PRIMITIVES` is one kernel. The edges that leave a
    node run together and add to the nodes that they enter where these lie in the output; a node's gradient is written
    once. It keeps its inputs, its output, and per edge what `memory` says. Elsewhere, and where the space has another
    primitive, the cell is its edges, one `mixed_op` each. Second derivatives recompute the cell by PyTorch's own
    operations.

    Args:
        states: `space.inputs` tensors (B, C, H, W), float32, float64 or bfloat16, channels-last or converted to it.
        z: (E, L), a weight per edge and primitive, of the states' dtype; beside bfloat16 also float32.
        weights: (W,), all edges' weights one after another: edge by edge, primitive by primitive, as
            `reference.primitives.weight_shapes` lists them; dtypes as z. Its gradient is one vector, too.
        space: nodes, edges, primitives, and which nodes are concatenated.
        reduction: edges from the inputs have stride 2.
        chosen: per edge the primitive that runs alone (a hard sample). The gradient reaches z through it only.
        memory: what edges keep for backward: "store", "store_bf16" or "recompute", as in `mixed_op`.

    Returns:
        (B, N·C, H', W') for N = len(space.concat); H' = H, or ⌈H/2⌉ in a reduction. Channels-last, where the kernel
        serves it.

    Raises:
        InputError: for mismatched arguments, or where batch statistics do not exist (B·H'·W' = 1).
    """
    states = list(states)
    device = z.device.type
    dtype = autocast.asked(device)
    if states and dtype is not None:
        states = [autocast.widened(x) for x in states]
        z, weights = autocast.widened(z), autocast.widened(weights)
        if dtype == torch.bfloat16 and states[0].dtype != torch.float64:
            states = [x.to(torch.bfloat16) for x in states]
        else:
            wide = torch.promote_types(states[0].dtype, z.dtype)
            states, z, weights = [x.to(wide) for x in states], z.to(wide), weights.to(wide)
    _check(states, z, weights, space, reduction, chosen, memory)
    # Without an assignment inside the comprehension, which torch.compile does not read.
    numbers = [find(p).number for p in space.primitives]
    known = None not in numbers and len(numbers) <= MOST
    compiled = device == "cpu" and extension.CPU.present and states[0].numel() > 0
    if compiled and not known and chosen is not None and serves(space, reduction):
        checks.no_tangents(*states, z, weights)
        return mixed_cell_path(states, z, weights, space.primitives, chosen)
    if not compiled or not known:
        edge = partial(mixed_op, memory=memory)
        picks: list[int | None] = list(chosen) if chosen else [None] * len(z)
        return reference(states, z, weights, list(space.primitives), list(space.concat), reduction, picks, edge)
    checks.no_tangents(*states, z, weights)
    settings = (numbers, space.concat, reduction, list(chosen or ()), MEMORY.index(memory))
    y: Tensor = _kernel(states, z, weights, *settings)[0]
    return y


def _number_of_weights(primitives: Sequence[str], channels: int, of_edges: Sequence[int]) -> int:
    """Of edges of these strides."""
    own = {s: sum(map(math.prod, edge_shapes(primitives, channels, s))) for s in set(of_edges)}
    return sum(own[stride] for stride in of_edges)


def _check(
    states: list[Tensor],
    z: Tensor,
    weights: Tensor,
    space: Space,
    reduction: bool,
    chosen: Sequence[int] | None,
    memory: str,
) -> None:
    if len(states) != space.inputs:
        raise InputError(f"states: got {len(states)}, expected {space.inputs}, the inputs of {space.name}")
    for i, x in enumerate(states):
        checks.floating(f"states[{i}]", x, dims=4)
        checks.like(f"states[{i}]", x, "states[0]", states[0])
    x, primitives = states[0], space.primitives
    checks.floating("z", z)
    checks.floating("weights", weights)
    check(primitives)
    if z.shape != (space.num_edges, len(primitives)):
        raise InputError(f"z: got {checks.describe(z)}, expected shape {(space.num_edges, len(primitives))}")
    count = _number_of_weights(primitives, x.shape[1], strides(len(states), len(z), reduction))
    if weights.shape != (count,):
        raise InputError(f"weights: got {checks.describe(weights)}, expected shape ({count},)")
    for name, tensor in (("z", z), ("weights", weights)):
        fits = tensor.dtype == x.dtype or (x.dtype, tensor.dtype) == (torch.bfloat16, torch.float32)
        if not fits or tensor.device != x.device:
            raise InputError(f"{name}: got {checks.describe(tensor)}, expected {x.dtype} on {x.device}, as the states")
    if chosen is not None and (len(chosen) != len(z) or any(not 0 <= l < len(primitives) for l in chosen)):
        raise InputError(f"chosen: got {list(chosen)}, expected {len(z)} indices below {len(primitives)} or None")
    if memory not in MEMORY:
        raise InputError(f"memory: got {memory!r}, expected one of {', '.join(MEMORY)}")
    stride = 2 if reduction else 1
    if x.shape[0] * -(-x.shape[2] // stride) * -(-x.shape[3] // stride) == 1:
        raise InputError(f"states: got shape {tuple(x.shape)}, expected more than one value per channel for batch norm")
