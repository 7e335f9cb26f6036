"""DARTS-style mixed edges of a PyTorch model, each primitive recognized by its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from torch import nn

from base_fast.errors import InputError
from base_fast.nn.mixed_op import MixedOp
from base_fast.reference.primitives import SUPPORTED


@dataclass(frozen=True)
class DartsEdge:
    """What `nn.MixedOp` has to know of a module: a ModuleList `_ops`, called as `edge(x, weights)`."""

    name: str
    module: nn.Module
    channels: int
    stride: int
    primitives: tuple[str, ...]
    weights: Mapping[str, nn.Parameter]
    running: int
    """Batch norms with running statistics."""

    @property
    def is_trivial(self) -> bool:
        """Nothing but identities and `none`: no kernel could be faster, and the channels are unknown."""
        return not self.weights and {*self.primitives} <= {"none", "skip_connect"}


def darts_edges(model: nn.Module) -> list[DartsEdge]:
    """The mixed edges of a model in module order.

    Raises:
        InputError: for an edge that `nn.MixedOp` cannot compute, with its name, what it holds and what it should.
    """
    return [_read(name, module) for name, module in model.named_modules() if _is_edge(module)]


def _is_edge(module: nn.Module) -> bool:
    entries = module._modules.get("_ops")
    # The cells of DARTS hold their edges in an `_ops` as well.
    return isinstance(entries, nn.ModuleList) and not all(isinstance(e, MixedOp) or _is_edge(e) for e in entries)


def _read(name: str, edge: nn.Module) -> DartsEdge:
    if list(edge._modules) != ["_ops"]:
        raise InputError(
            f"{name}: got the submodules {', '.join(edge._modules)}, expected `_ops` alone "
            "(partial channels, as in PC-DARTS, are not supported)"
        )
    for part, module in edge.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            raise InputError(
                f"{name}.{part}: got BatchNorm2d(affine=True), expected affine=False, as in the search network of DARTS"
            )
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
            raise InputError(f"{name}.{part}: got a module with hooks, expected none: a fused edge would not call them")

    entries = edge.get_submodule("_ops")
    leaves = dict(_leaves(entries, "_ops"))
    stride = max(_stride(leaf) for leaf in leaves.values())
    channels = next((leaf.out_channels for leaf in leaves.values() if isinstance(leaf, nn.Conv2d)), 0)
    channels = next((leaf.num_features for leaf in leaves.values() if isinstance(leaf, nn.BatchNorm2d)), channels)
    # Not named_children: an entry may be registered twice.
    named = [(f"{name}._ops.{i}", entry) for i, entry in entries._modules.items() if entry is not None]
    primitives = tuple(_primitive(path, entry, channels, stride) for path, entry in named)

    parameters = dict(edge.named_parameters(remove_duplicate=False))
    weights = {path: parameters[path] for path in (f"{leaf}.weight" for leaf in leaves) if path in parameters}
    if len({id(weight) for weight in weights.values()}) < len(weights):
        raise InputError(f"{name}: got primitives that share weights, expected weights of their own")
    # Those of the leaves are known by now; a parameter of the edge itself, or of a container, would be forgotten.
    tensors = [*parameters, *dict(edge.named_buffers(remove_duplicate=False))]
    others = [path for path in tensors if path.rpartition(".")[0] not in leaves]
    if others:
        raise InputError(f"{name}: got {', '.join(others)}, expected no tensors but those of its primitives' layers")
    running = sum(isinstance(leaf, nn.BatchNorm2d) and leaf.running_mean is not None for leaf in leaves.values())
    return DartsEdge(name, edge, channels, stride, primitives, weights, running)


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """Modules without submodules in the order of their registration, a shared one as often as it is registered."""
    if not module._modules:
        yield path, module
    for name, child in module._modules.items():
        if child is not None:
            yield from _leaves(child, f"{path}.{name}")


def _stride(leaf: nn.Module) -> int:
    stride = getattr(leaf, "stride", 1)
    return max(stride) if isinstance(stride, tuple) else int(stride)


def _primitive(name: str, entry: nn.Module, channels: int, stride: int) -> str:
    known = {layers: p for p in SUPPORTED for layers in _layers(p, channels, stride)}
    leaves = dict(_leaves(entry, name))
    found = tuple(_layer(leaf, alone=leaf is entry) for leaf in leaves.values())
    if found in known:
        return known[found]
    nearest = max(known, key=lambda layers: SequenceMatcher(None, ", ".join(layers), ", ".join(found)).ratio())
    expected = f"of {channels} channels and stride {stride}"
    if len(found) == len(nearest) > 1:
        path, got, other = next(x for x in zip(leaves, found, nearest, strict=True) if x[1] != x[2])
        raise InputError(f"{path}: got {got}, expected {other}, as in {known[nearest]} {expected}")
    raise InputError(
        f"{name}: got [{', '.join(found)}], expected a primitive {expected}; "
        f"the nearest, {known[nearest]}, is [{', '.join(nearest)}]"
    )


def _layers(primitive: str, channels: int, stride: int) -> list[tuple[str, ...]]:
    """A primitive's layers in words, as `_layer` puts them; several, where they are written in several ways."""
    kind, _, size = primitive.rpartition("_")
    relu, norm = _layer(nn.ReLU()), _layer(nn.BatchNorm2d(1, affine=False))
    if primitive == "none":
        return [(f"Zero(stride {stride})",)]
    if primitive == "skip_connect" and stride == 1:
        return [("Identity()",)]
    if primitive == "skip_connect":
        half = channels // 2
        convs = tuple(_convolution(channels, out, 1, stride) for out in (half, channels - half))
        # The activation may be a module or a function.
        return [(relu, *convs, norm), (*convs, norm)]
    if primitive == "max_pool_3x3":
        return [(_layer(nn.MaxPool2d(3, stride, 1)), norm)]
    if primitive == "avg_pool_3x3":
        return [(_layer(nn.AvgPool2d(3, stride, 1, count_include_pad=False)), norm)]
    k = int(size[0])
    if kind == "nor_conv":
        return [(relu, _convolution(channels, channels, k, stride), norm)]

    def separable(stride: int, dilation: int) -> tuple[str, ...]:
        depthwise = _convolution(channels, channels, k, stride, dilation, groups=channels)
        return relu, depthwise, _convolution(channels, channels, 1, 1), norm

    if kind == "sep_conv":
        return [separable(stride, 1) + separable(1, 1)]
    return [separable(stride, 2)]


def _convolution(ins: int, outs: int, size: int, stride: int, dilation: int = 1, groups: int = 1) -> str:
    settings = f"{ins} → {outs}, {size}×{size}, stride {stride}, padding {dilation * (size // 2)}"
    return f"Conv2d({settings}, dilation {dilation}, groups {groups})"


def _layer(leaf: nn.Module, alone: bool = False) -> str:
    """A layer with all settings that change what it computes in training.

    Subclasses have another name, and so are other layers. A module that makes up a primitive alone has to be somebody's
    own, and to have no tensors: the identity, or with a stride `none`. That it computes this is for the probe to find.
    """

    def one(value: object) -> str:
        if isinstance(value, tuple):
            return "×".join(map(str, value)) if len({*value}) > 1 else str(value[0])
        return str(value)

    name = type(leaf).__name__
    if isinstance(leaf, nn.Conv2d):
        size = "×".join(map(str, leaf.kernel_size))
        extra = ", bias" * (leaf.bias is not None) + f", {leaf.padding_mode}" * (leaf.padding_mode != "zeros")
        settings = f"{leaf.in_channels} → {leaf.out_channels}, {size}, stride {one(leaf.stride)}"
        settings += f", padding {one(leaf.padding)}, dilation {one(leaf.dilation)}, groups {leaf.groups}{extra}"
        return f"{name}({settings})"
    if isinstance(leaf, nn.BatchNorm2d):
        return f"{name}(eps {leaf.eps:g}, affine {leaf.affine})"
    if isinstance(leaf, nn.MaxPool2d):
        extra = ", ceil_mode" * leaf.ceil_mode + f", dilation {leaf.dilation}" * (one(leaf.dilation) != "1")
        return f"{name}({one(leaf.kernel_size)}, stride {one(leaf.stride)}, padding {one(leaf.padding)}{extra})"
    if isinstance(leaf, nn.AvgPool2d):
        extra = ", ceil_mode" * leaf.ceil_mode + f", divisor {leaf.divisor_override}" * bool(leaf.divisor_override)
        settings = f"{one(leaf.kernel_size)}, stride {one(leaf.stride)}, padding {one(leaf.padding)}"
        return f"{name}({settings}, count_include_pad {leaf.count_include_pad}{extra})"
    if isinstance(leaf, nn.ReLU):
        return f"{name}()"
    own = isinstance(leaf, nn.Identity) or not type(leaf).__module__.startswith("torch.")
    if alone and own and not any(True for _ in (*leaf.parameters(), *leaf.buffers())):
        return f"Zero(stride {_stride(leaf)})" if hasattr(leaf, "stride") else "Identity()"
    return repr(leaf)
