"""DARTS-style mixed edges of a PyTorch model, each primitive recognized by its layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

from torch import nn

from base_fast.errors import InputError
from base_fast.nn.fused import Fused
from base_fast.nn.layers import module_of
from base_fast.nn.mixed_op import MixedOp
from base_fast.reference.convolution import Conv2d
from base_fast.space.primitives import (
    PRIMITIVES,
    BatchNorm,
    Convolution,
    FactorizedReduction,
    Identity,
    Primitive,
    Zero,
)

LEAVE = "leave"
UNKNOWN = ("refuse", LEAVE)
"""What to do about entries that are no primitive: refuse the edge, or leave them to PyTorch."""


@dataclass(frozen=True)
class DartsEdge:
    """What has to be known of a module, called as `edge(x, weights)`, to fuse it."""

    name: str
    module: nn.Module
    ops: str
    """The attribute that holds the primitives, an nn.ModuleList."""
    arguments: tuple[str, str]
    """What its forward calls x and weights."""
    channels: int
    """Of the primitives."""
    stride: int
    entries: tuple[str | None, ...]
    """A primitive for each entry; None for one that is left to PyTorch."""
    weights: Mapping[str, nn.Parameter]
    """Of the primitives, in order, by their names in the edge."""
    norms: tuple[str, ...]
    """Names of the primitives' batch norms that have running statistics."""
    pooled: bool
    """Whether it holds the pool beside the primitives that PC-DARTS has for the channels that pass them by."""

    @property
    def primitives(self) -> tuple[str, ...]:
        """Those to fuse."""
        return tuple(entry for entry in self.entries if entry is not None)

    @property
    def running(self) -> int:
        """Batch norms with running statistics."""
        return len(self.norms)

    @property
    def is_trivial(self) -> bool:
        """Nothing but identities and `none`: no kernel could be faster, and the channels are unknown."""
        return not self.weights and {*self.primitives} <= {"none", "skip_connect"}


def darts_edges(
    model: nn.Module, ops: str = "_ops", edges: Sequence[str] = ("*",), unknown: str = "refuse"
) -> list[DartsEdge]:
    """The mixed edges of a model in module order, those left out that are fused already.

    Args:
        ops: the attribute that holds an edge's primitives.
        edges: patterns of the edges' names.
        unknown: one of `UNKNOWN`.

    Raises:
        InputError: for an edge that cannot be fused, with its name, what it holds and what it should.
    """
    return [
        _read(name, module, ops, unknown)
        for name, module in model.named_modules()
        if any(fnmatchcase(name, pattern) for pattern in edges) and _is_edge(module, ops)
    ]


def _is_edge(module: nn.Module, ops: str) -> bool:
    """The innermost modules with a list of this name: the cells of DARTS hold their edges in an `_ops` as well."""
    inside = [other for other in module.modules() if other is not module]
    return (
        isinstance(module._modules.get(ops), nn.ModuleList)
        and not isinstance(module, Fused)
        and not any(isinstance(m, MixedOp | Fused) or isinstance(m._modules.get(ops), nn.ModuleList) for m in inside)
    )


def _read(name: str, edge: nn.Module, ops: str, unknown: str) -> DartsEdge:
    pooled = _check_beside(name, edge, ops)
    arguments = _arguments(name, edge)
    entries = edge.get_submodule(ops)
    leaves = dict(_leaves(entries, ops))
    stride = max(_stride(leaf) for leaf in leaves.values())
    # The first convolution reads x, where a hidden layer may be wider; an edge of pools has only their norms.
    channels = next((leaf.num_features for leaf in leaves.values() if isinstance(leaf, nn.BatchNorm2d)), 0)
    channels = next((leaf.in_channels for leaf in leaves.values() if isinstance(leaf, nn.Conv2d)), channels)
    # Not named_children: an entry may be registered twice.
    named = [(f"{name}.{ops}.{i}", entry) for i, entry in entries._modules.items() if entry is not None]
    primitives = tuple(_entry(path, entry, channels, stride, unknown) for path, entry in named)

    # What the fused edge takes over: the tensors of the leaves of these entries.
    taken = {
        path: leaf
        for (path_of, entry), primitive in zip(named, primitives, strict=True)
        if primitive is not None
        for path, leaf in _leaves(entry, path_of.removeprefix(f"{name}."))
    }
    parameters = dict(edge.named_parameters(remove_duplicate=False))
    weights = {path: parameters[path] for path in (f"{leaf}.weight" for leaf in taken) if path in parameters}
    if len({id(weight) for weight in weights.values()}) < len(weights):
        raise InputError(f"{name}: got primitives that share weights, expected weights of their own")
    # Those of the leaves are known by now; a parameter of the edge itself, or of a container, would be forgotten.
    left = [path.removeprefix(f"{name}.") for (path, _), p in zip(named, primitives, strict=True) if p is None]
    tensors = [*parameters, *dict(edge.named_buffers(remove_duplicate=False))]
    others = [
        path
        for path in tensors
        if path.rpartition(".")[0] not in taken and not any(path.startswith(f"{entry}.") for entry in left)
    ]
    if others:
        raise InputError(f"{name}: got {', '.join(others)}, expected no tensors but those of its primitives' layers")
    norms = tuple(p for p, leaf in taken.items() if isinstance(leaf, nn.BatchNorm2d) and leaf.running_mean is not None)
    return DartsEdge(name, edge, ops, arguments, channels, stride, primitives, weights, norms, pooled)


def _check_beside(name: str, edge: nn.Module, ops: str) -> bool:
    """Nothing stands beside the primitives but the pool of PC-DARTS; says whether that does."""
    beside = {n: module for n, module in edge._modules.items() if n != ops and module is not None}
    if set(beside) == {"mp"}:
        if layer_in_words(beside["mp"]) == layer_in_words(nn.MaxPool2d(2, 2)):
            return True
        got, expected = layer_in_words(beside["mp"]), layer_in_words(nn.MaxPool2d(2, 2))
        raise InputError(
            f"{name}.mp: got {got} beside `{ops}`, expected {expected}: partial channels are known as in PC-DARTS"
        )
    if any(True for module in beside.values() for _ in module.parameters()):
        raise InputError(
            f"{name}: got {', '.join(beside)} beside `{ops}`: a cell, and no mixed edge; in a derived network, whose "
            "operations are decided, there is nothing to patch"
        )
    if beside:
        got = ", ".join(f"{n} ({layer_in_words(module)})" for n, module in beside.items())
        raise InputError(f"{name}: got {got} beside `{ops}`, expected `{ops}` alone: a fused edge would not call it")
    return False


def _arguments(name: str, edge: nn.Module) -> tuple[str, str]:
    """What the edge's forward calls its two arguments."""
    if "forward" in vars(edge):
        raise InputError(f"{name}: got a forward that was set on the instance, expected that of its class")
    signature = inspect.signature(edge.forward)
    kinds = [p.kind for p in signature.parameters.values()]
    if kinds != [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 2:
        raise InputError(
            f"{name}: got an edge that is called with {signature}, expected (x, weights) alone: a fused edge would not "
            "do what other arguments ask for"
        )
    x, weights = signature.parameters
    return x, weights


def _entry(name: str, entry: nn.Module, channels: int, stride: int, unknown: str) -> str | None:
    try:
        for part, module in entry.named_modules():
            path = f"{name}.{part}" if part else name
            if isinstance(module, nn.BatchNorm2d) and module.affine:
                raise InputError(
                    f"{path}: got BatchNorm2d(affine=True), expected affine=False, as in the search network of DARTS"
                )
            if (
                module._forward_hooks
                or module._forward_pre_hooks
                or module._backward_hooks
                or module._backward_pre_hooks
            ):
                raise InputError(f"{path}: got a module with hooks, expected none: a fused edge would not call them")
            if "forward" in vars(module):
                raise InputError(f"{path}: got a forward that was set on the instance, expected that of its class")
        return _primitive(name, entry, channels, stride)
    except InputError:
        if unknown == LEAVE:
            return None
        raise


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
    table = [p for p in PRIMITIVES.values() if not p.is_module]
    known = {layers: p.name for p in table for layers in _layers(p, channels, stride)}
    leaves = dict(_leaves(entry, name))
    found = tuple(layer_in_words(leaf, alone=leaf is entry) for leaf in leaves.values())
    if found in known:
        return known[found]
    nearest = max(known, key=lambda layers: SequenceMatcher(None, ", ".join(layers), ", ".join(found)).ratio())
    expected = f"of {channels} channels and stride {stride}"
    differ = [x for x in zip(leaves, found, nearest, strict=False) if x[1] != x[2]]
    # Where most layers are those of the nearest, the first that is not says most.
    if len(found) == len(nearest) and 2 * len(differ) <= len(found):
        path, got, other = differ[0]
        raise InputError(f"{path}: got {got}, expected {other}, as in {known[nearest]} {expected}")
    raise InputError(
        f"{name}: got [{', '.join(found)}], expected a primitive {expected}; "
        f"the nearest, {known[nearest]}, is [{', '.join(nearest)}]"
    )


def _layers(primitive: Primitive, channels: int, stride: int) -> list[tuple[str, ...]]:
    """A primitive's layers in words, as `layer_in_words` puts them; several, where they are written in several ways."""
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
                words += [
                    layer_in_words(nn.ReLU()),
                    *(f"Conv2d({width} → {half}, {settings})" for half in halves),
                    _NORM,
                ]
            case BatchNorm():
                words.append(_NORM)
            case _:
                words.append(layer_in_words(module_of(layer, channels, width, affine=False)))
    # The activation before a factorized reduction may be a module or a function.
    functional = isinstance(primitive.at(stride)[0], FactorizedReduction)
    return [tuple(words), tuple(words[1:])] if functional else [tuple(words)]


def _pair(value: object, always: bool = False) -> str:
    """Two equal numbers as one, unless `always`."""
    if isinstance(value, tuple):
        return "×".join(map(str, value)) if always or len({*value}) > 1 else str(value[0])
    return str(value)


def layer_in_words(leaf: nn.Module, alone: bool = False) -> str:
    """A layer with all settings that change what it computes in training.

    Subclasses have another name, and so are other layers. A module that makes up a primitive alone has to be somebody's
    own, and to have no tensors: the identity, or with a stride `none`. That it computes this is for the probe to find.
    """

    # A class of somebody's own may have the name of PyTorch's, and compute something else.
    torchs = type(leaf).__module__.startswith("torch.nn.modules") or type(leaf) is Conv2d
    name = type(leaf).__name__ if torchs else f"{type(leaf).__module__}.{type(leaf).__qualname__}"
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
    own = type(leaf) is nn.Identity or not type(leaf).__module__.startswith("torch.")
    if alone and own and not any(True for _ in (*leaf.parameters(), *leaf.buffers())):
        return f"Zero(stride {_stride(leaf)})" if hasattr(leaf, "stride") else "Identity()"
    return repr(leaf)


_NORM = layer_in_words(nn.BatchNorm2d(1, affine=False))
