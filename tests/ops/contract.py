"""What every op must satisfy, whatever it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# An op without kernels is defined through its reference, whose own operations carry the autograd: opcheck's test of an
# autograd kernel is for the others.
COMPOSITE = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
KERNEL = (*COMPOSITE, "test_autograd_registration")


def registered(name: str, dispatch_key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"base_fast::{name}", dispatch_key)


def check_registration(name: str, args: tuple[Any, ...]) -> None:
    """The schema tells the truth, the op traces with fake tensors and symbolic shapes, and has its gradient."""
    tests = COMPOSITE if registered(name, "CompositeImplicitAutograd") else KERNEL
    torch.library.opcheck(getattr(torch.ops.base_fast, name).default, args, test_utils=tests)


def gradients(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The value, and the gradients for an upstream gradient that differs from element to element."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    y = f(*leaves)
    upstream = torch.cos(torch.arange(y.numel(), dtype=torch.float64)).to(y.dtype).view(y.shape)
    # An input that plays no part (a weight without elements, or of a primitive that does not run) gets zeros.
    return y.detach(), list(torch.autograd.grad(y, leaves, upstream, materialize_grads=True))


def check_compiled(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """One graph without breaks, whose value and gradients are those of eager mode bit for bit."""
    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    value, grads = gradients(f, inputs)
    compiled_value, compiled_grads = gradients(compiled, inputs)
    assert torch.equal(compiled_value, value)
    for compiled_grad, grad in zip(compiled_grads, grads, strict=True):
        assert torch.equal(compiled_grad, grad)


def check_twice_differentiable(f: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """First and second derivatives against finite differences, in float64."""
    leaves = tuple(x.detach().double().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(f, leaves)
    assert torch.autograd.gradgradcheck(f, leaves)


def saved(y: Tensor) -> tuple[Tensor, ...]:
    """What the op that made y keeps for backward."""
    assert y.grad_fn is not None
    tensors: tuple[Tensor, ...] = y.grad_fn.saved_tensors  # type: ignore[attr-defined]
    return tensors
