"""Multiply-adds, counted as PyTorch's operations happen: of whatever layer, module or function asks for them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from base_fast.errors import InputError

# Two, for batch norms by the statistics of the batch need more than one value per channel.
IMAGES = 2

# Where the matrix stands in the arguments of a product with a matrix or a vector.
_PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "linear": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_no_update",
)


class Counter(TorchDispatchMode):
    """Inside, counts what is computed for `x`, a batch of `IMAGES` images.

    A matrix product of what depends on x with what does not is a layer's ("linear"); of two that depend on x, as in
    attention, it is among "products"; and of two that do not, as where weights are merged, it is no image's.
    """

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.modules: dict[str, int] = {}
        self.unknown: dict[str, None] = {}
        self.inside: list[str] = [""]
        # Tensors that depend on x, by what they are stored in; kept, so that no other one is stored there later.
        self._of_x = {_place(x): x}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        found = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if any(self._is_of_x(x) for x in tensors):
            self._count(func, args, kwargs or {}, found, out)
            self._of_x.update((_place(x), x) for x in found)
        elif not tensors:
            # Made for the pass, as the first state of an LSTM, or noise.
            self._of_x.update((_place(x), x) for x in found)
        return out

    def _is_of_x(self, x: Tensor) -> bool:
        return _place(x) in self._of_x

    def _count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], found: list[Tensor], out: Any) -> None:
        # It imports Triton, which then decides for the whole process whether kernels are interpreted.
        from torch.utils.flop_counter import flop_registry

        space, _, name = func._schema.name.partition("::")
        packet = func.overloadpacket
        if space == "base_fast" and name == "relu_conv_norm":
            self._layer("conv", found[0].numel() * args[0].shape[1])
        elif space not in ("aten", "prim", "prims") or name == "_trilinear":
            self.unknown[func._schema.name] = None
        elif name == "convolution":
            x, weight, transposed = args[0], args[1], args[6]
            self._layer("conv", (x if transposed else found[0]).numel() * math.prod(weight.shape[1:]))
        elif name in _PRODUCTS:
            first, second = args[_PRODUCTS[name] : _PRODUCTS[name] + 2]
            amount = found[0].numel() * first.shape[-1]
            if self._is_of_x(first) and self._is_of_x(second):
                self._add("products", amount)
            elif self._is_of_x(first) or self._is_of_x(second):
                self._layer("linear", amount)
        elif packet in flop_registry:
            # Attention in one operation; PyTorch counts a multiply-add as two.
            self._add("products", flop_registry[packet](*args, **kwargs, out_val=out) // 2)
        else:
            for kind, amount in _others(name, args, found).items():
                self._add(kind, amount)

    def _layer(self, kind: str, amount: int) -> None:
        self._add(kind, amount)
        name = self.inside[-1]
        self.modules[name] = self.modules.get(name, 0) + amount // IMAGES

    def _add(self, kind: str, amount: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + amount


def _others(name: str, args: tuple[Any, ...], found: list[Tensor]) -> dict[str, int]:
    """What other conventions count."""
    if name in _NORMS and found[0].dim() == 4:
        return {"bn_elements": found[0].numel()}
    if name in ("relu", "relu_"):
        return {"relu_elements": found[0].numel()}
    if name in ("max_pool2d_with_indices", "max_pool2d"):
        return {"max_pool_window": found[0].numel() * _places(args[1])}
    if name == "avg_pool2d":
        return {"avg_pool_window": found[0].numel() * _places(args[1]), "avg_pool_elements": found[0].numel()}
    return {}


def _places(kernel: Sequence[int]) -> int:
    return kernel[0] ** 2 if len(kernel) == 1 else math.prod(kernel)


def _place(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)


class _WithoutValues(torch.overrides.TorchFunctionMode):
    """Inside, copies of tensors are on the meta device: of all, also of those that are no parameters or buffers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().to("meta"))
        if func is Tensor.clone:
            return args[0].to("meta")
        return func(*args, **(kwargs or {}))


def count(module: nn.Module, shape: Sequence[int]) -> Counter:
    """Run a copy of `module` in evaluation mode on the meta device, and count.

    Raises:
        InputError: the copy does not run there: another shape is expected, or values are read.
    """
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise InputError(f"module: {name} has no shape yet; run the module once first")
    dtypes = [p.dtype for p in module.parameters() if p.is_floating_point()]
    with _WithoutValues():
        meta = copy.deepcopy(module)
    meta = meta.to("meta").eval()
    x = torch.empty(IMAGES, *shape, device="meta", dtype=dtypes[0] if dtypes else None)
    counter = Counter(x)

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: counter.inside.append(name)

    for name, layer in meta.named_modules():
        layer.register_forward_pre_hook(enter(name))
        layer.register_forward_hook(lambda *_: counter.inside.pop() and None, always_call=True)
    try:
        with torch.no_grad(), torch.device("meta"), counter:
            meta(x)
    except InputError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise InputError(
            f"module: on images {tuple(shape)} without values, as they are counted: {type(error).__name__}: {reason}"
        ) from error
    return counter
