"""The derived network: a genotype's cells in a skeleton, with a classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from base_fast.arguments import integer
from base_fast.errors import InputError
from base_fast.evaluation.skeletons import SKELETONS
from base_fast.random import generator
from base_fast.space import Genotype


class Network(nn.Module):
    """A genotype as an ordinary network, to train from scratch.

    Modules that the genotype never reads (a `preprocess` whose state no edge uses) exist and are counted, as published.

    Args:
        genotype: the cells; a DARTS genotype, or for skeleton "nas_bench_201" one of that benchmark.
        channels: channels of a node in the first cells, 2 to 100,000; they double with every reduction.
        layers: number of cells (1 to 1000; with 1 or 2 every cell is a reduction, by DARTS's formula). With
            "nas_bench_201" 3 × cells per stage + 2, the residual blocks included.
        num_classes: number of logits.
        skeleton: "cifar" (for 8 to 64 pixels), "imagenet" (published for 224) or "nas_bench_201".
        auxiliary: give the DARTS skeletons their auxiliary head. It needs images of at least 29 pixels with "cifar",
            193 with "imagenet", in training mode. Its parameters have "auxiliary" in their names.
        drop_path: probability that an operation's output is dropped for a sample while training; the attribute can be
            set between steps.

    Forward maps x (B, 3, H, W), of the parameters' dtype, to logits (B, num_classes); in training mode with
    `auxiliary` to (logits, auxiliary logits). All sizes work, odd ones too.

    Raises:
        InputError: one line, for arguments that don't fit together, or an input of the wrong shape or dtype.

    Source: Liu et al., DARTS, ICLR 2019; Dong & Yang, NAS-Bench-201, ICLR 2020.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int,
        layers: int,
        num_classes: int,
        skeleton: str = "cifar",
        auxiliary: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        # The limits keep what a file says from building for ever.
        channels, layers = integer("channels", channels, 2, 100_000), integer("layers", layers, 1, 1000)
        num_classes = integer("num_classes", num_classes, 1, 10_000_000)
        if skeleton not in SKELETONS:
            raise InputError(f"skeleton: got {skeleton!r}, expected one of {', '.join(SKELETONS)}")
        if not isinstance(genotype, Genotype):
            raise InputError(f"genotype: got {type(genotype).__name__}, expected a base_fast.space.Genotype")
        genotype.validate()
        parts = SKELETONS[skeleton](genotype, channels, layers)
        if auxiliary and parts.auxiliary is None:
            raise InputError(f"auxiliary: got True, expected False: skeleton {skeleton!r} has no auxiliary head")
        self.genotype = genotype
        self.num_classes = num_classes
        self.drop_path = drop_path
        self._stems = tuple(parts.stems)
        for name, stem in parts.stems.items():
            self.add_module(name, stem)
        self.cells = nn.ModuleList(parts.cells)
        self._auxiliary_after = parts.auxiliary_after if auxiliary else None
        if auxiliary and parts.auxiliary is not None:
            self.auxiliary_head = parts.auxiliary(num_classes)
        self.head = parts.head
        self.classifier = nn.Linear(parts.channels, num_classes)

    @property
    def drop_path(self) -> float:
        """Probability of drop path, from 0 to below 1."""
        return self._drop_path

    @drop_path.setter
    def drop_path(self, probability: float) -> None:
        if not 0.0 <= probability < 1.0:
            raise InputError(f"drop_path: got {probability}, expected a probability from 0 to below 1")
        self._drop_path = float(probability)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """x (B, 3, H, W) → logits (B, num_classes), or (logits, auxiliary logits); see the class."""
        _check_images(x, self.classifier.weight)
        states = [x]
        for name in self._stems:
            states.append(self.get_submodule(name)(states[-1]))
        before, last = (states[-2] if len(self._stems) > 1 else states[-1]), states[-1]
        auxiliary = None
        for i, cell in enumerate(self.cells):
            before, last = last, cell(before, last, self._drop_path)
            if self.training and i == self._auxiliary_after:
                auxiliary = self.auxiliary_head(last)
        logits: Tensor = self.classifier(self.head(last).flatten(1))
        return logits if auxiliary is None else (logits, auxiliary)


def initialize(network: nn.Module, key: Tensor) -> nn.Module:
    """Draw all weights anew, in place, from `key` alone: PyTorch's default distributions, fresh batch norms.

    The draw happens on the CPU, so that every device gets the same weights; the global random state is left alone. A
    network on the meta device comes to the CPU.
    """
    device = next(network.parameters()).device
    seed = generator(key).initial_seed()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        if device.type == "meta":
            network.to_empty(device=(device := torch.device("cpu")))
        network.cpu()
        for module in network.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
    return network.to(device)


def _check_images(x: Tensor, weight: Tensor) -> None:
    if x.dim() != 4 or x.shape[1] != 3 or min(x.shape) < 1:
        raise InputError(f"x: got shape {tuple(x.shape)}, expected (B, 3, H, W)")
    if x.dtype != weight.dtype and not (x.is_floating_point() and torch.is_autocast_enabled(x.device.type)):
        raise InputError(f"x: got dtype {x.dtype}, expected the parameters' {weight.dtype}")
    if x.device != weight.device:
        raise InputError(f"x: got device {x.device}, expected the parameters' {weight.device}")
