"""A supernet as a pure function of images, flat weights and an architecture sample."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.ops import autocast
from base_fast.ops.autocast import Precision
from base_fast.posterior import Layout, Posterior, inverse_softplus
from base_fast.reference import philox
from base_fast.reference.primitives import batch_norm
from base_fast.runs import from_dict, to_dict
from base_fast.space import Space, get
from base_fast.space.primitives import Shape, check
from base_fast.supernet.cells import Cell, ResidualReduction
from base_fast.supernet.config import SupernetConfig
from base_fast.supernet.stems import apply_stem, choose_stem, stem_shapes


class Supernet:
    """All architectures of a space in one network, without parameters of its own.

    The weights are one vector θ (P,), laid out as `layout` says: stems, cells, then the classifier head, which is
    always last (`head` is its slice). In the DARTS space with stem "32" they are exactly the parameters of the
    published search network: 1,930,618 at 16 channels, 8 layers and 10 classes. `precision` is that of its activations
    (`computing_in`).

    Args:
        space: a `Space`, or the name of one.
        channels: of the first cell; every reduction doubles them.
        layers: blocks in the stack.
        num_classes: outputs.
        stems: which stems stand before the stack (`supernet.stems`); the image size chooses among several.
        reductions: indices of the reduction cells; by default layers//3 and 2·layers//3.
        memory: what its edges keep for backward, see `ops.mixed_op`.
        partial: K, a divisor of `channels`: one of K parts of a node's channels meets the primitives of an edge, the
            others pass it, and the channels are shuffled (`supernet.partial_cell`; Xu et al., PC-DARTS, ICLR 2020).

    Raises:
        InputError: for sizes below one or unknown names, those of primitives among them.
    """

    def __init__(
        self,
        space: Space | str = "darts",
        channels: int = 16,
        layers: int = 8,
        num_classes: int = 10,
        stems: tuple[str, ...] = ("32",),
        reductions: tuple[int, ...] | None = None,
        memory: Literal["store", "store_bf16", "recompute"] = "store",
        partial: int = 1,
    ) -> None:
        self.space = get(space)
        self.precision: Precision = "float32"
        check(self.space.primitives)
        if self.space.inputs > 2:
            raise InputError(
                f"space: {self.space.name} has cells of {self.space.inputs} inputs; expected 1 or 2, the outputs "
                "of the last cells"
            )
        self.config = SupernetConfig(
            self.space.name, self.space.nodes, channels, layers, num_classes, tuple(stems), reductions, memory, partial
        )
        # NumPy's numbers are Python's from here on.
        channels, layers, num_classes = self.config.channels, self.config.layers, self.config.num_classes
        width = channels * (3 if self.space.inputs > 1 else 1)
        shapes: dict[str, Shape] = {}
        pieces: dict[str, Shape] = {}
        self._pieces_of: dict[str, slice] = {}

        def add(name: str, own: dict[str, Shape], cut: dict[str, Shape]) -> None:
            self._pieces_of[name] = slice(len(pieces), len(pieces) + len(cut))
            shapes.update(own)
            pieces.update(cut)

        for stem in stems:
            own = stem_shapes(stem, 3, width)
            add(f"stems.{stem}", own, own)
        self.blocks: list[Cell | ResidualReduction] = []
        self._vectors: dict[str, Tensor] = {}
        before, last, reduced = width, width, False
        for i in range(layers):
            reduction = i in self.config.reduction_cells
            channels *= 2 if reduction else 1
            block: Cell | ResidualReduction
            if self.space.inputs == 1 and reduction:
                block = ResidualReduction(f"cells.{i}", last, channels)
            else:
                ins = (before, last) if self.space.inputs == 2 else (last,)
                block = Cell(self.space, f"cells.{i}", ins, channels, reduction, reduced, self.config.partial)
            add(block.prefix, block.shapes(), block.pieces())
            self._vectors |= block.vectors()
            self.blocks.append(block)
            before, last, reduced = last, block.channels_out, reduction
        head: dict[str, Shape] = {"classifier.weight": (num_classes, last), "classifier.bias": (num_classes,)}
        add("classifier", head, head)
        self.layout = Layout.of(shapes)
        # θ is cut into few views, by one split: the gradients of all weights are then one concatenation.
        self._pieces = Layout.of(pieces)
        self.head = slice(self.layout.numel - num_classes * (last + 1), self.layout.numel)

    @classmethod
    def from_config(cls, config: SupernetConfig) -> Supernet:
        """The supernet that `config` describes, in one of the spaces that have a name."""
        return cls(**_arguments(config, config.build_space()))

    @classmethod
    def for_posterior(cls, posterior: Posterior) -> Supernet:
        """The supernet whose weights `posterior` holds.

        Raises:
            InputError: if the posterior's layout is not that of its own configuration.
        """
        config = from_dict(SupernetConfig, posterior.config)
        supernet = cls(**_arguments(config, posterior.space))
        difference = supernet.layout.difference(posterior.layout)
        if difference:
            raise InputError(f"posterior: it does not fit the supernet of its configuration: {difference}")
        return supernet

    @property
    def used_cell_types(self) -> tuple[str, ...]:
        """The cell types that its layers have, in the space's order: of another one, nothing is learned."""
        used = {block.cell_type for block in self.blocks if isinstance(block, Cell)}
        return tuple(self.space.cell_types[number] for number in sorted(used))

    def with_classes(self, num_classes: int) -> Supernet:
        """The same supernet with another head."""
        other = Supernet(**_arguments(replace(self.config, num_classes=num_classes), self.space))
        return other.computing_in(self.precision)

    def computing_in(self, precision: Precision) -> Supernet:
        """The same supernet, with activations of this precision: "float32" leaves them as they are.

        With "bfloat16" what float32 weights meet on their way through stems and cells is bfloat16: half the memory.
        Weights, their gradients, statistics and sums, and all of the head (its batch norm, mean and matrix) stay
        float32. float64 is never rounded.

        Raises:
            InputError: another precision.
        """
        autocast.check_precision(precision)
        if precision in ("float32", self.precision):
            return self
        other = copy.copy(self)
        other.precision = precision
        return other

    def initial_scale(self) -> Tensor:
        """(P,) He's standard deviation √(2/fan_in) of each weight; vectors (batch norm, bias) take the head's."""
        scales = []
        fallback = self.layout.shapes[-2][1]
        for shape, size in zip(self.layout.shapes, self.layout.sizes, strict=True):
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else fallback
            scales.append(torch.full((size,), math.sqrt(2.0 / fan_in), device="cpu"))
        return torch.cat(scales)

    def prior(
        self, key: Tensor, mu_scale: float = 0.4, sigma_scale: float = 0.1, dtype: torch.dtype = torch.float32
    ) -> Posterior:
        """A fresh prior: normal μ, batch norm at (1, 0), the head at zero, uniform edge logits.

        Args:
            key: of the draw.
            mu_scale: standard deviation of μ in He's (√(2/fan_in)). Batch norm makes the network blind to it, but a
                step of the same size turns smaller weights further; 0.41 is PyTorch's own initialization.
            sigma_scale: σ in standard deviations of μ.
            dtype: of all three vectors.
        """
        for name, value in (("mu_scale", mu_scale), ("sigma_scale", sigma_scale)):
            if not value > 0.0:
                raise InputError(f"{name}: got {value!r}, expected a number > 0")
        scale = mu_scale * self.initial_scale().to(key.device)
        mu = scale * philox.normal(key, self.layout.numel)
        for name, where in self.layout.slices.items():
            if name.endswith("bn.weight"):
                mu[where] = 1.0
            elif name.endswith("bn.bias"):
                mu[where] = 0.0
        for name, vector in self._vectors.items():
            mu[self.layout.slices[name]] = vector.flatten().to(mu)
        mu[self.head] = 0.0
        rho = inverse_softplus(sigma_scale * scale)
        alpha = torch.zeros(len(self.space.cell_types), self.space.num_edges, self.space.num_primitives, device="cpu")
        return Posterior(
            mu.to(dtype),
            rho.to(dtype),
            alpha.to(key.device, dtype),
            self.layout,
            self.space,
            to_dict(self.config),
        )

    def __call__(self, x: Tensor, theta: Tensor, z: Tensor, hard: bool = False) -> Tensor:
        """Logits of a batch.

        Args:
            x: (B, 3, H, W) images.
            theta: (P,) weights, same dtype.
            z: (T, E, L) weights of the primitives per cell type and edge. With partial channels their sum is the edge's
                own weight, that of what passes.
            hard: z is one-hot; execute only the chosen primitive of each edge.

        Returns:
            (B, num_classes).

        Raises:
            InputError: for wrong shapes or dtypes.
        """
        if x.dim() != 4 or x.shape[1] != 3:
            raise InputError(f"x: got shape {tuple(x.shape)}, expected images (B, 3, H, W)")
        if tuple(theta.shape) != (self.layout.numel,) or theta.dtype != x.dtype:
            raise InputError(
                f"theta: got {theta.dtype} of shape {tuple(theta.shape)}, expected {x.dtype} ({self.layout.numel},)"
            )
        expected = (len(self.space.cell_types), self.space.num_edges, self.space.num_primitives)
        if tuple(z.shape) != expected:
            raise InputError(f"z: got shape {tuple(z.shape)}, expected {expected}")
        # Every cell of a type shares its edges' samples.
        zs = z.unbind(0)
        chosen = z.detach().argmax(dim=-1).tolist() if hard else [None] * len(zs)
        pieces = self._pieces.split(theta)
        with autocast.activations(self.precision, x.device.type):
            last = self._body(x, pieces, zs, chosen)
        if self.precision != "float32":
            last = last.to(theta.dtype)
        if self.space.inputs == 1:
            last = F.relu(batch_norm(last))
        return F.linear(last.mean(dim=(2, 3)), *pieces[self._pieces_of["classifier"]])

    def _body(
        self, x: Tensor, pieces: Sequence[Tensor], zs: Sequence[Tensor], chosen: Sequence[list[int] | None]
    ) -> Tensor:
        """What the stem and all blocks make of images: (B, C, H', W')."""
        stem = choose_stem(self.config.stems, max(x.shape[2:]))
        x = x.contiguous(memory_format=torch.channels_last)
        x = apply_stem(stem, x, pieces[self._pieces_of[f"stems.{stem}"]])
        before, last = x, x
        for block in self.blocks:
            weights = pieces[self._pieces_of[block.prefix]]
            if isinstance(block, Cell):
                inputs = (before, last) if self.space.inputs == 2 else (last,)
                t = block.cell_type
                y = block.apply(inputs, weights, zs[t], chosen[t], self.config.memory)
            else:
                y = block.apply(last, weights)
            before, last = last, y
        return last


def _arguments(config: SupernetConfig, space: Space) -> dict[str, Any]:
    """What `Supernet` is called with: the configuration, and the space itself in place of its name and size."""
    arguments = asdict(config) | {"space": space}
    del arguments["nodes"]
    return arguments
