"""The table of primitives: the layers of each, and the number under which kernels know it. Data, no torch.

What else knows primitives takes it from here: their definition (`reference.primitives`), the fused ops, supernets and
`nn.MixedOp`, the modules of derived networks, `nn.patch` and reports. docs/primitives.md says how to add one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from base_fast.errors import InputError
from base_fast.space.own_module import Factory, OwnModule

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Zero:
    """No edge at all: zeros of the output's size."""

    stride: int


@dataclass(frozen=True)
class Identity:
    """x as it is."""


@dataclass(frozen=True)
class ReLU:
    """max(x, 0)."""


@dataclass(frozen=True)
class BatchNorm:
    """Of the batch's statistics and without parameters in a search; affine, with running averages, in a derived
    network, which has none behind a pool (as DARTS)."""


@dataclass(frozen=True)
class Pool:
    """3×3 with padding 1; the average doesn't count the padding."""

    kind: Literal["max", "average"]
    stride: int


@dataclass(frozen=True)
class Convolution:
    """Without bias, padded so that a stride of 1 keeps the size. Pairs are (rows, columns).

    Channels are multiples of the edge's: `inputs=6, outputs=1` brings the hidden layer of an inverted bottleneck back.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: int = 1
    depthwise: bool = False
    inputs: int = 1
    outputs: int = 1

    @property
    def padding(self) -> tuple[int, int]:
        """Rows and columns on each side."""
        rows, columns = self.kernel
        return self.dilation * (rows // 2), self.dilation * (columns // 2)

    def shape(self, channels: int) -> Shape:
        """Of its weight on an edge of `channels`."""
        return (self.outputs * channels, 1 if self.depthwise else self.inputs * channels, *self.kernel)


@dataclass(frozen=True)
class FactorizedReduction:
    """ReLU, two 1×1 convolutions of stride 2 side by side, the second on the input shifted by a pixel, and a batch
    norm: the skip connection that halves an image."""

    def shapes(self, channels: int, channels_in: int | None = None) -> dict[str, Shape]:
        """Of its weights, from as many channels unless `channels_in` says otherwise."""
        half, ins = channels // 2, channels if channels_in is None else channels_in
        return {"conv_1.weight": (half, ins, 1, 1), "conv_2.weight": (channels - half, ins, 1, 1)}


Layer: TypeAlias = Zero | Identity | ReLU | BatchNorm | Pool | Convolution | FactorizedReduction | OwnModule
WithWeights: TypeAlias = Convolution | FactorizedReduction | OwnModule


@dataclass(frozen=True)
class Primitive:
    """What an edge can be.

    Args:
        name: letters, digits and underscores.
        layers: those of a stride, 1 or 2, in order.
        label: how people write it; by default the name in words: `max_pool_3x3` is "max pool 3×3".
        prefix: of its weights' names, which are those of an `nn.Sequential` of the layers: `op.1.weight`.
        number: the one that the fused kernels know it by; None where PyTorch computes it.

    Raises:
        InputError: for layers that do not fit together.
    """

    name: str
    layers: Callable[[int], tuple[Layer, ...]] = field(compare=False)
    label: str = ""
    prefix: str = "op."
    number: int | None = None
    _of_strides: tuple[tuple[Layer, ...], ...] = field(init=False, repr=False)
    _with_weights: tuple[tuple[tuple[str, WithWeights], ...], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", in_words(self.name))
        of_strides = tuple(tuple(self.layers(stride)) for stride in (1, 2))
        for stride, layers in zip((1, 2), of_strides, strict=True):
            _check_layers(f"{self.name}: layers({stride})", layers, stride)
        object.__setattr__(self, "_of_strides", of_strides)
        # Ops ask for shapes in every call.
        object.__setattr__(self, "_with_weights", tuple(map(self._named, of_strides)))

    def _named(self, layers: tuple[Layer, ...]) -> tuple[tuple[str, WithWeights], ...]:
        """The layers with weights, and what these are called; a layer alone is the module itself."""
        return tuple(
            (f"{self.prefix}{i}." if len(layers) > 1 else "", layer)
            for i, layer in enumerate(layers)
            if isinstance(layer, WithWeights)
        )

    def at(self, stride: int) -> tuple[Layer, ...]:
        """The layers of an edge of this stride, 1 or 2."""
        return self._of_strides[stride - 1]

    def widths(self, channels: int, stride: int) -> Iterator[tuple[Layer, int]]:
        """The layers, each with the channels of the images that it meets on an edge of `channels`."""
        width = channels
        for layer in self.at(stride):
            yield layer, width
            width = layer.outputs * channels if isinstance(layer, Convolution) else width

    def weights(self, channels: int, stride: int) -> dict[str, Shape]:
        """Names and shapes of its weights in the order of its layers, on an edge of `channels`."""
        shapes: dict[str, Shape] = {}
        for before, layer in self._with_weights[stride - 1]:
            if isinstance(layer, Convolution):
                shapes[before + "weight"] = layer.shape(channels)
            else:
                shapes |= {before + name: shape for name, shape in layer.shapes(channels).items()}
        return shapes

    def convolution_norms(self, stride: int) -> int:
        """How many of its batch norms follow a convolution: kernels keep the values before these."""
        layers = self.at(stride)
        return len(self._with_weights[stride - 1]) and sum(
            isinstance(layer, BatchNorm | FactorizedReduction) for layer in layers
        )

    @property
    def is_module(self) -> bool:
        """Whether it is a module of one's own, of whose layers nothing is known here."""
        return any(isinstance(layer, OwnModule) for layer in self.at(1))

    @property
    def family(self) -> str:
        """none, skip, pool, separable, dilated or convolution, by the layers of stride 1; other of a module of one's
        own."""
        layers = self.at(1)
        if self.is_module:
            return "other"
        depthwise = [layer for layer in layers if isinstance(layer, Convolution) and layer.depthwise]
        if depthwise:
            return "dilated" if any(layer.dilation > 1 for layer in depthwise) else "separable"
        if any(isinstance(layer, Convolution) for layer in layers):
            return "convolution"
        kinds = {Zero: "none", Pool: "pool"}
        return next((kinds[type(layer)] for layer in layers if type(layer) in kinds), "skip")


def is_primitive_name(value: object) -> bool:
    """Letters, digits and underscores: anything else could not be read back from a genotype's text."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]+", value) is not None


def in_words(name: str) -> str:
    """`max_pool_3x3` as people write it: `max pool 3×3`."""
    return " ".join(word.replace("x", "×") if word[:1].isdigit() else word for word in name.split("_"))


def _check_layers(what: str, layers: tuple[Layer, ...], stride: int) -> None:
    """Raises InputError unless the layers lead from C channels to C channels at 1/stride of the size."""
    if not layers:
        raise InputError(f"{what}: empty; expected at least one layer, such as Identity()")
    channels, taken = 1, (1, 1)
    for layer in layers:
        if not isinstance(layer, Layer):
            raise InputError(
                f"{what}: {layer!r}; expected one of {', '.join(kind.__name__ for kind in Layer.__args__)}"
            )
        if isinstance(layer, Convolution):
            if layer.inputs != channels:
                raise InputError(f"{what}: {layer!r} on {channels} times the edge's channels")
            if layer.depthwise and layer.outputs != layer.inputs:
                raise InputError(f"{what}: {layer!r}; expected as many outputs as inputs of a depthwise one")
            if any(size % 2 == 0 for size in layer.kernel):
                raise InputError(f"{what}: {layer!r}; expected odd kernel sizes")
            channels = layer.outputs
        if isinstance(layer, FactorizedReduction | OwnModule) and channels != 1:
            raise InputError(f"{what}: {layer!r} on {channels} times the edge's channels; expected as many as the edge")
        strides = (2, 2) if isinstance(layer, FactorizedReduction) else getattr(layer, "stride", 1)
        rows, columns = strides if isinstance(strides, tuple) else (strides, strides)
        taken = taken[0] * rows, taken[1] * columns
    if channels != 1:
        raise InputError(f"{what}: ends with {channels} times the edge's channels; expected as many")
    if taken != (stride, stride):
        raise InputError(f"{what}: strides of {taken[0]}×{taken[1]} together; expected {stride}×{stride}")


def _square(kernel: int, stride: int = 1, dilation: int = 1, depthwise: bool = False) -> Convolution:
    return Convolution((kernel, kernel), (stride, stride), dilation, depthwise)


def _depthwise_separable(kernel: int, stride: int, dilation: int = 1) -> tuple[Layer, ...]:
    return ReLU(), _square(kernel, stride, dilation, depthwise=True), _square(1), BatchNorm()


def _separable(kernel: int) -> Callable[[int], tuple[Layer, ...]]:
    return lambda stride: _depthwise_separable(kernel, stride) + _depthwise_separable(kernel, 1)


def _dilated(kernel: int) -> Callable[[int], tuple[Layer, ...]]:
    return lambda stride: _depthwise_separable(kernel, stride, dilation=2)


def _ordinary(kernel: int) -> Callable[[int], tuple[Layer, ...]]:
    return lambda stride: (ReLU(), _square(kernel, stride), BatchNorm())


def _rows_and_columns(kernel: int) -> Callable[[int], tuple[Layer, ...]]:
    """1×k, then k×1; each takes half of the stride (NASNet, Zoph et al. 2018)."""
    return lambda stride: (
        ReLU(),
        Convolution((1, kernel), (1, stride)),
        Convolution((kernel, 1), (stride, 1)),
        BatchNorm(),
    )


_ALL = (
    Primitive("none", lambda stride: (Zero(stride),), number=0),
    Primitive("max_pool_3x3", lambda stride: (Pool("max", stride), BatchNorm()), number=1),
    Primitive("avg_pool_3x3", lambda stride: (Pool("average", stride), BatchNorm()), number=2),
    Primitive(
        "skip_connect",
        lambda stride: (Identity(),) if stride == 1 else (FactorizedReduction(),),
        label="skip",
        number=3,
    ),
    Primitive("sep_conv_3x3", _separable(3), number=4),
    Primitive("sep_conv_5x5", _separable(5), number=5),
    Primitive("sep_conv_7x7", _separable(7), number=6),
    Primitive("dil_conv_3x3", _dilated(3), number=7),
    Primitive("dil_conv_5x5", _dilated(5), number=8),
    Primitive("nor_conv_1x1", _ordinary(1), label="conv 1×1"),
    Primitive("nor_conv_3x3", _ordinary(3), label="conv 3×3"),
    Primitive("conv_1x3_3x1", _rows_and_columns(3)),
    # The one that is an nn.Sequential itself in the published DARTS code.
    Primitive("conv_7x1_1x7", _rows_and_columns(7), prefix=""),
)
PRIMITIVES = {primitive.name: primitive for primitive in _ALL}
"""Every primitive by its name: those of DARTS, NAS-Bench-201 and the published cells, and what `register` added."""

FUSED = tuple(primitive for primitive in _ALL if primitive.number is not None)
"""Those that the kernels know, by their numbers."""


REGISTER = "one of your own is registered first: bf.space.register, or --register FILE.py"
"""What may help against an unknown name."""


def register(primitive: Primitive | str, factory: Factory | None = None, *, label: str = "") -> Primitive:
    """Let a primitive of your own be used by its name, in spaces, edges, genotypes, derived networks and reports.

    It belongs to the process: a program that loads what was searched with it registers it first. PyTorch computes it,
    beside the fused kernel of the edge's others. Returns the primitive.

    Args:
        primitive: a `Primitive`, made of the table's layers; or the name of one that `factory` makes.
        factory: called as those of DARTS's `OPS`, factory(channels, stride, affine): a `torch.nn.Module` that maps
            (B, C, H, W) to (B, C, ⌈H/stride⌉, ⌈W/stride⌉), with weights in its batch norms where `affine`. In a search
            (`affine` False) batch norms take the statistics of the batch, and dropout rests.
        label: of a factory's primitive, how people write it; by default the name in words.

    Raises:
        InputError: another one has this name, or it has a number, which is for the kernels to give. A factory's name
            may be registered again by the same module, as when a notebook's cell runs twice; the last one counts.
    """
    if isinstance(primitive, str):
        primitive = _of_factory(primitive, factory, label)
    elif factory is not None or label:
        raise InputError("factory, label: given beside a Primitive, expected beside a name")
    if not isinstance(primitive, Primitive):
        raise InputError(f"primitive: got {type(primitive).__name__}, expected a Primitive, or a name and a factory")
    if primitive.number is not None:
        raise InputError(f"{primitive.name}: number {primitive.number}; expected None, as no kernel knows it")
    if not is_primitive_name(primitive.name):
        raise InputError(f"name: {primitive.name!r}; expected letters, digits and underscores")
    if PRIMITIVES.get(primitive.name, primitive) != primitive:
        raise InputError(f"name: {primitive.name!r} is the name of another primitive")
    PRIMITIVES[primitive.name] = primitive
    return primitive


def _of_factory(name: str, factory: Any, label: str) -> Primitive:
    if not is_primitive_name(name):
        raise InputError(f"name: {name!r}; expected letters, digits and underscores")
    if not callable(factory):
        raise InputError(f"factory: {factory!r}; expected a function (channels, stride, affine) -> module")
    return Primitive(name, lambda stride: (OwnModule(name, stride, factory),), label)


def find(name: str) -> Primitive:
    """The primitive of this name; raises InputError with those that there are."""
    if name not in PRIMITIVES:
        raise InputError(f"primitives: got {name!r}, expected one of {', '.join(PRIMITIVES)}; {REGISTER}")
    return PRIMITIVES[name]


def numbered(number: int) -> Primitive:
    """The primitive that kernels know by this number; raises InputError where there is none."""
    if not 0 <= number < len(FUSED):
        raise InputError(f"primitives: got the number {number}, expected one from 0 to {len(FUSED) - 1}")
    return FUSED[number]


def check(names: Iterable[str]) -> None:
    """Raises InputError unless all are known."""
    for name in names:
        find(name)
