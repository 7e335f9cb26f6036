"""How an op enters PyTorch's dispatcher.

Every op is defined once under `torch.ops.base_fast`, with its reference as the kernel of last resort on every device.
Ops without compiled kernels are composites of PyTorch's own: differentiable any number of times, traceable. Ops with
kernels are opaque: they state their outputs' shapes (`fake`) and their gradient, which is an op of the same kind. On
each device exactly one kernel serves an op; `backends()` says which.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch._functorch.autograd_function import enable_single_level_autograd_function  # type: ignore[attr-defined]
from torch.autograd.function import _SingleLevelFunction
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from base_fast.errors import InputError
from base_fast.ops import extension
from base_fast.ops.branches import dense

_LIBRARY = torch.library.Library("base_fast", "DEF")
# Op without a compiled CUDA kernel -> what serves it there, and why.
_CUDA: dict[str, str] = {}
_COMPOSITES: list[str] = []
_NAMES: list[str] = []

_HAS_TRITON = importlib.util.find_spec("triton") is not None
_NO_KERNEL = "reference (it is made of PyTorch's own kernels)"


def define(schema: str, reference: Callable[..., Any]) -> Callable[..., Any]:
    """Define `torch.ops.base_fast.<name>` from `schema` = "name(...) -> ..." and its reference alone; return it."""
    name = _define(schema)
    _LIBRARY.impl(name, reference, "CompositeImplicitAutograd")
    _COMPOSITES.append(name)
    return _op(name)


def define_kernel(
    schema: str, reference: Callable[..., Any], fake: Callable[..., Any], *, column: str | None
) -> Callable[..., Any]:
    """Define an op that has compiled kernels, and return it.

    Args:
        schema: "name(...) -> ..."; the compiled kernels register under the same name.
        reference: serves every device that has no kernel.
        fake: the same arguments to empty outputs, for tracing.
        column: the module of `base_fast.kernels` whose function `name` launches the Triton kernel; None without one.
    """
    name = _define(schema)
    _LIBRARY.impl(name, reference, "CompositeExplicitAutograd")
    torch.library.register_fake(f"base_fast::{name}", fake, lib=_LIBRARY)
    torch.library.register_vmap(f"base_fast::{name}", _loop(_op(name)), lib=_LIBRARY)
    if extension.CPU.broken:
        _LIBRARY.impl(name, _refuse, "CPU")
    if not registered(name, "CUDA"):
        _CUDA[name] = _without_cuda(name, column)
    return _op(name)


def define_gradient(op: Callable[..., Any], setup_context: Callable[..., Any], backward: Callable[..., Any]) -> None:
    """Give a kernel op its gradient, as `torch.library.register_autograd` takes it."""
    name = str(op).rpartition(".")[2]
    schema = torch._C._get_schema(f"base_fast::{name}", "")
    gives_list = [str(r.type) for r in schema.returns] == ["List[Tensor]"]
    is_list = [str(a.type) == "List[Tensor]" for a in schema.arguments]

    class Gradient(_SingleLevelFunction):
        """Takes lists of tensors apart: PyTorch sees only what stands among the arguments themselves."""

        @staticmethod
        def forward(ctx: Any, *flat: Any) -> Any:
            # The lengths come last: `needs_input_grad` counts as the op's own arguments do, but for lists.
            *tensors, lengths = flat
            rest = iter(tensors)
            args = tuple(list(islice(rest, n)) if n >= 0 else next(rest) for n in lengths)
            ctx.lengths = lengths
            with torch._C._AutoDispatchBelowAutograd():
                output = op(*args)
            setup_context(ctx, args, output)
            return tuple(output) if gives_list else output

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            found = backward(ctx, *grads)
            if not isinstance(found, tuple):
                found = (found,)
            flat: list[Any] = []
            for n, gradient in zip(ctx.lengths, found, strict=True):
                flat += [gradient] if n < 0 else gradient or [None] * n
            return (*flat, None)

    Gradient.__name__ = Gradient.__qualname__ = "".join(part.title() for part in name.split("_"))

    def autograd(*args: Any) -> Any:
        if torch.is_grad_enabled():
            lengths = [len(a) if of_tensors else -1 for a, of_tensors in zip(args, is_list, strict=False)]
            flat = [x for a, n in zip(args, lengths, strict=True) for x in (a if n >= 0 else (a,))]
            if torch._C._any_requires_grad(*flat):
                found = _apply(Gradient, *flat, lengths)
                return list(found) if gives_list else found
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args)

    _LIBRARY.impl(name, autograd, "Autograd")


def _apply(function: Any, *args: Any) -> Any:
    """`function.apply`, under the transforms of torch.func too: here, below them, one level is what there is."""
    if not torch._C._are_functorch_transforms_active():
        return function.apply(*args)
    with enable_single_level_autograd_function():
        return function.apply(*args)


def differentiable(op: Callable[..., Any], reference: Callable[..., Any]) -> Callable[..., Any]:
    """Give a kernel op its gradient through its reference: for the ops that compute gradients, which are differentiated
    in turn only where a backward pass is itself recorded (`create_graph=True`). Returns the op.

    The reference is computed again, in PyTorch's own operations, from the op's inputs; nothing else is saved.
    """

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        leaves, ctx.structure = tree_flatten(inputs)
        ctx.leaves = [(True, None) if isinstance(x, Tensor) else (False, x) for x in leaves]
        ctx.save_for_backward(*(x for x in leaves if isinstance(x, Tensor)))

    def backward(ctx: Any, *grads: Any) -> Any:
        tensors, again = iter(ctx.saved_tensors), torch.is_grad_enabled()
        with torch.enable_grad():
            # Views: an input may depend on another one, and is not differentiated through its own history.
            leaves = [_view(next(tensors)) if is_tensor else x for is_tensor, x in ctx.leaves]
            outputs = tree_leaves(reference(*tree_unflatten(leaves, ctx.structure)))
            pairs = [(y, g) for y, g in zip(outputs, tree_leaves(grads), strict=True) if g is not None]
            inputs = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
            ys, gs = zip(*((y, g) for y, g in pairs if y.requires_grad), strict=True)
            found = iter(torch.autograd.grad(ys, inputs, gs, create_graph=again, allow_unused=True))
        gradients = [next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in leaves]
        # For a list without gradients PyTorch expects None.
        return tuple(
            None if isinstance(g, list) and all(x is None for x in g) else g
            for g in tree_unflatten(gradients, ctx.structure)
        )

    define_gradient(op, save, backward)
    return op


def backends() -> dict[str, dict[str, str]]:
    """Which kernel serves which op on which device, and why: `{op: {"cpu": ..., "cuda": ...}}`."""
    served = {name: dict.fromkeys(("cpu", "cuda"), _NO_KERNEL) for name in _COMPOSITES}
    for name in set(_NAMES) - set(_COMPOSITES):
        served[name] = {"cpu": _cpu(name), "cuda": _cuda(name)}
    return dict(sorted(served.items()))


def _loop(op: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of `torch.func.vmap`: the op once per element of the batch."""

    def batched(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        leaves, structure = tree_flatten(args)
        dims = tree_leaves(in_dims, is_leaf=lambda dim: dim is None)

        def element(i: int) -> Any:
            chosen = [x if dim is None else dense(x.select(dim, i)) for x, dim in zip(leaves, dims, strict=True)]
            return op(*tree_unflatten(chosen, structure))

        found = [element(i) for i in range(info.batch_size)]
        stacked = tree_map(lambda *outputs: torch.stack(outputs), *found)
        return stacked, tree_map(lambda _: 0, stacked)

    return batched


def _view(x: Tensor) -> Tensor:
    return x.view_as(x) if x.requires_grad else x


def _define(schema: str) -> str:
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _NAMES.append(name)
    return name


def _op(name: str) -> Callable[..., Any]:
    op: Callable[..., Any] = getattr(torch.ops.base_fast, name)
    return op


def _refuse(*_: Any) -> Any:
    """Serves an op whose compiled kernels cannot be loaded: no reference, which would be a silent loss of speed."""
    raise InputError(f"the compiled kernels cannot be used: {extension.CPU.missing}")


def _without_cuda(name: str, column: str | None) -> str:
    """Let Triton serve an op for which the CUDA extension has no kernel; says what serves it, and why."""
    if column is None:
        return "reference (its kernels are for the CPU)"
    missing = extension.CUDA.missing or "the CUDA extension has no kernel for it"
    if not _HAS_TRITON:
        return f"reference ({missing}, and triton is not installed)"
    _LIBRARY.impl(name, _triton(column, name), "CUDA")
    return f"Triton ({missing})"


def _triton(column: str, name: str) -> Callable[..., Any]:
    """The launcher of a Triton kernel, imported at its first call: importing Triton takes long."""

    def launch(*args: Any) -> Any:
        return getattr(importlib.import_module(f"base_fast.kernels.{column}"), name)(*args)

    return launch


def registered(name: str, dispatch_key: str) -> bool:
    """Whether an op has a kernel of its own under a dispatch key, "CPU" or "CUDA"."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(f"base_fast::{name}", dispatch_key))


def _cpu(name: str) -> str:
    if extension.CPU.broken:
        return "none (its kernels cannot be loaded)"
    if not registered(name, "CPU"):
        return f"reference ({extension.CPU.missing or 'the extension has no kernel for it'})"
    assert extension.CPU.module is not None
    return f"C++ ({extension.CPU.module.isa()})"


def _cuda(name: str) -> str:
    if name in _CUDA:
        return _CUDA[name]
    return f"CUDA C++ (compiled for {', '.join(extension.CUDA.facts['architectures'])})"


def gradients(function: Callable[..., Tensor], grad: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of function(*inputs) in all inputs, which can be differentiated in turn where gradients are on."""
    again = torch.is_grad_enabled()
    if torch._C._are_functorch_transforms_active():
        # Where leaves cannot be made, and everything can be differentiated in turn.
        return list(torch.func.vjp(function, *inputs)[1](grad))
    with torch.enable_grad():
        # Views: an input may depend on another one, and is not differentiated through its own history.
        leaves = [t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in inputs]
        found = torch.autograd.grad(
            function(*leaves), leaves, grad, create_graph=again, allow_unused=True, materialize_grads=True
        )
    return list(found)
