"""A network's latency as the sum of its parts', each measured once for a device and kept in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from base_fast.errors import InputError
from base_fast.evaluation.cells import Cell
from base_fast.evaluation.counts import measure_latency
from base_fast.evaluation.network import Network
from base_fast.runs import atomic_write, from_dict, to_dict


@dataclass(frozen=True)
class Part:
    """What a part's latency depends on.

    Attributes:
        kind: the name of a primitive; preprocess, sum (of a node's terms), join (of a cell's nodes), between (two
            stages), a stem's name, head (pooling and classifier).
        channels: that come in.
        out: channels that go out; of a head classes, of a sum its terms.
        resolution: of the map that comes in.
        stride: by which the map shrinks.
    """

    kind: str
    channels: int
    out: int
    resolution: int
    stride: int


@dataclass(frozen=True)
class TimedPart:
    """A part and its median latency in milliseconds."""

    part: Part
    ms: float


@dataclass(frozen=True)
class Lookup:
    """What was measured on a device, for batches of one size.

    Attributes:
        device: in words.
        batch_size: images at once.
        parts: as they were measured, in order.
    """

    device: str
    batch_size: int = 1
    parts: tuple[TimedPart, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Lookup:
        """Read a file that `save` wrote.

        Raises:
            InputError: it is missing, or is none.
        """
        try:
            return from_dict(cls, json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}; expected a table of parts") from None
        except ValueError as error:  # an InputError is one
            raise InputError(f"{path}: {error}; expected a table of parts, as `base-fast latency` leaves it") from None

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        atomic_write(path, (json.dumps(to_dict(self), indent=1) + "\n").encode())

    def lacking(self, network: Network, resolution: int) -> list[tuple[Part, nn.Module, tuple[int, ...]]]:
        """Parts of a network that were not measured yet, each once, with a module and the shape of its input."""
        known = {timed.part for timed in self.parts}
        parts = parts_of(network, resolution)
        return list({part: (part, module, shape) for part, module, shape in parts if part not in known}.values())

    def measured(self, network: Network, resolution: int, repeats: int = 50) -> Lookup:
        """With the parts of a network that it lacks."""
        found = [
            TimedPart(part, 1e3 * measure_latency(module, shape, self.batch_size, repeats).median)
            for part, module, shape in self.lacking(network, resolution)
        ]
        return replace(self, parts=(*self.parts, *found))

    def predict(self, network: Network, resolution: int) -> float:
        """Milliseconds of a network on images of so many pixels: the sum of its parts'.

        Raises:
            InputError: a part was not measured.
        """
        known = {timed.part: timed.ms for timed in self.parts}
        total = 0.0
        for part, *_ in parts_of(network, resolution):
            if part not in known:
                raise InputError(
                    f"lookup: got no {part.kind} of {part.channels} channels at {part.resolution} pixels, stride "
                    f"{part.stride}; measure it with `base-fast latency`"
                )
            total += known[part]
        return total


class _Sum(nn.Module):
    """As many terms as a node has, added as a cell does."""

    def __init__(self, terms: int) -> None:
        super().__init__()
        self.terms = terms

    def forward(self, x: Tensor) -> Tensor:
        return sum([x] * (self.terms - 1), start=x)


class _Join(nn.Module):
    """As many states as a cell joins."""

    def __init__(self, states: int) -> None:
        super().__init__()
        self.states = states

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self.states, dim=1)


class _Between(nn.Module):
    """What stands in the place of a cell and reads the last state."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x, x)
        return out


def parts_of(network: Network, resolution: int) -> list[tuple[Part, nn.Module, tuple[int, ...]]]:
    """The parts of a network in the order in which they run, with modules and the shapes (C, H, W) of their inputs."""
    seen: dict[nn.Module, tuple[tuple[int, ...], tuple[int, ...]]] = {}

    def note(module: nn.Module, given: tuple[Any, ...], found: Any) -> None:
        x = given[1] if len(given) > 1 else given[0]
        seen[module] = tuple(x.shape[1:]), tuple(found.shape[1:])

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    training = network.training
    network.eval()
    try:
        weight = network.classifier.weight
        with torch.inference_mode():
            network(torch.zeros(1, 3, resolution, resolution, device=weight.device, dtype=weight.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        network.train(training)
    parts: list[tuple[Part, nn.Module, tuple[int, ...]]] = []

    def add(kind: str, module: nn.Module, key: nn.Module | None = None) -> None:
        into, out = seen[key or module]
        parts.append((Part(kind, into[0], out[0], into[1], -(-into[1] // out[1])), module, into))

    for name in network._stems:
        add(name, network.get_submodule(name))
    for cell in network.cells:
        if isinstance(cell, Cell):
            _of_cell(cell, seen, add, parts)
        else:
            add("between", _Between(cell), cell)
    into, _ = seen[network.head]
    head = nn.Sequential(network.head, nn.Flatten(), network.classifier)
    parts.append((Part("head", into[0], network.num_classes, into[1], into[1]), head, into))
    return parts


def _of_cell(cell: Cell, seen: Any, add: Any, parts: Any) -> None:
    for i in range(cell.inputs):
        module = cell.get_submodule(f"preprocess{i}")
        if not isinstance(module, nn.Identity):
            add(f"preprocess {type(module).__name__}", module)
    for primitive, module in zip(cell.primitives, cell._ops, strict=True):
        add(primitive, module)
    out = seen[cell][1]
    state = (out[0] // len(cell.concat), *out[1:])
    for predecessors in cell.predecessors:
        if len(predecessors) > 1:
            parts.append((Part("sum", state[0], len(predecessors), state[1], 1), _Sum(len(predecessors)), state))
    if len(cell.concat) > 1:
        parts.append((Part("join", state[0], out[0], state[1], 1), _Join(len(cell.concat)), state))
