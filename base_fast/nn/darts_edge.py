"""DARTS-style mixed edges of a PyTorch model, each primitive recognized by its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from torch import nn

from base_fast.errors import InputError
from base_fast.nn.layers import module_of
from base_fast.nn.mixed_op import MixedOp
from base_fast.space.primitives import (
    PRIMITIVES,
    BatchNorm,
    Convolution,
    FactorizedReduction,
    Identity,
    Primitive,
    Zero,
)


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
    # The first convolution reads x, where a hidden layer may be wider; an edge of pools has only their norms.
    channels = next((leaf.num_features for leaf in leaves.values() if isinstance(leaf, nn.BatchNorm2d)), 0)
    channels = next((leaf.in_channels for leaf in leaves.values() if isinstance(leaf, nn.Conv2d)), channels)
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
    known = {layers: p.name for p in PRIMITIVES.values() for layers in _layers(p, channels, stride)}
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


def _layers(primitive: Primitive, channels: int, stride: int) -> list[tuple[str, ...]]:
    """A primitive's layers in words, as `_layer` puts them; several, where they are written in several ways."""
    words: list[str] = []
    for layer, width in primitive.widths(channels, stride):
        match layer:
            case Zero():
                words.append(f"Zero(stride {layer.stride})")
            case Identity():
                words.append("Identity()")
            case Convolution():
                groups = width if layer.depthwise else 1
                words.append(
                    f"Conv2d({width} → {layer.outputs * channels}, {_pair(layer.kernel, always=True)}, "
                    f"stride {_pair(layer.stride)}, padding {_pair(layer.padding)}, dilation {layer.dilation}, "
                    f"groups {groups})"
                )
            case FactorizedReduction():
                halves = [shape[0] for shape in layer.shapes(channels).values()]
                settings = "1×1, stride 2, padding 0, dilation 1, groups 1"
                words += [_layer(nn.ReLU()), *(f"Conv2d({width} → {half}, {settings})" for half in halves), _NORM]
            case BatchNorm():
                words.append(_NORM)
            case _:
                words.append(_layer(module_of(layer, channels, width, affine=False)))
    # The activation before a factorized reduction may be a module or a function.
    functional = isinstance(primitive.at(stride)[0], FactorizedReduction)
    return [tuple(words), tuple(words[1:])] if functional else [tuple(words)]


def _pair(value: object, always: bool = False) -> str:
    """Two equal numbers as one, unless `always`."""
    if isinstance(value, tuple):
        return "×".join(map(str, value)) if always or len({*value}) > 1 else str(value[0])
    return str(value)


def _layer(leaf: nn.Module, alone: bool = False) -> str:
    """A layer with all settings that change what it computes in training.

    Subclasses have another name, and so are other layers. A module that makes up a primitive alone has to be somebody's
    own, and to have no tensors: the identity, or with a stride `none`. That it computes this is for the probe to find.
    """

    name = type(leaf).__name__
    if isinstance(leaf, nn.Conv2d):
        extra = ", bias" * (leaf.bias is not None) + f", {leaf.padding_mode}" * (leaf.padding_mode != "zeros")
        size = _pair(leaf.kernel_size, always=True)
        settings = f"{leaf.in_channels} → {leaf.out_channels}, {size}, stride {_pair(leaf.stride)}"
        settings += f", padding {_pair(leaf.padding)}, dilation {_pair(leaf.dilation)}, groups {leaf.groups}{extra}"
        return f"{name}({settings})"
    if isinstance(leaf, nn.BatchNorm2d):
        return f"{name}(eps {leaf.eps:g}, affine {leaf.affine})"
    if isinstance(leaf, nn.MaxPool2d):
        extra = ", ceil_mode" * leaf.ceil_mode + f", dilation {leaf.dilation}" * (_pair(leaf.dilation) != "1")
        return f"{name}({_pair(leaf.kernel_size)}, stride {_pair(leaf.stride)}, padding {_pair(leaf.padding)}{extra})"
    if isinstance(leaf, nn.AvgPool2d):
        extra = ", ceil_mode" * leaf.ceil_mode + f", divisor {leaf.divisor_override}" * bool(leaf.divisor_override)
        settings = f"{_pair(leaf.kernel_size)}, stride {_pair(leaf.stride)}, padding {_pair(leaf.padding)}"
        return f"{name}({settings}, count_include_pad {leaf.count_include_pad}{extra})"
    if isinstance(leaf, nn.ReLU):
        return f"{name}()"
    own = isinstance(leaf, nn.Identity) or not type(leaf).__module__.startswith("torch.")
    if alone and own and not any(True for _ in (*leaf.parameters(), *leaf.buffers())):
        return f"Zero(stride {_stride(leaf)})" if hasattr(leaf, "stride") else "Identity()"
    return repr(leaf)


_NORM = _layer(nn.BatchNorm2d(1, affine=False))
