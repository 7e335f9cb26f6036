"""Meta-graph and controller as one classifier, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from base_fast.errors import InputError
from base_fast.instance.config import MetaGraphConfig
from base_fast.instance.controller import Controller
from base_fast.instance.meta_graph import MetaGraph
from base_fast.runs import from_dict, load_tensors, save_tensors, to_dict

FILE = "instance.safetensors"


class InstanceNetwork(nn.Module):
    """Images (B, 3, R, R) → logits (B, num_classes), each by the blocks that the controller thinks right for it."""

    def __init__(self, graph: MetaGraph, controller: Controller) -> None:
        super().__init__()
        self.graph, self.controller = graph, controller

    def policies(self, x: Tensor) -> Tensor:
        """The most probable policy of each image: bool (B, L, A)."""
        taken: Tensor = self.controller(x) >= 0.0
        return taken

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.graph(x, self.policies(x))
        return logits


@dataclass(frozen=True)
class _Header:
    kind: Literal["instance"]
    graph: MetaGraphConfig
    class_names: tuple[str, ...]


def save_instance(path: str | Path, network: InstanceNetwork, config: MetaGraphConfig, names: tuple[str, ...]) -> None:
    """Write a network to one safetensors file, with the names of its classes."""
    save_tensors(path, network.state_dict(), to_dict(_Header("instance", config, names)))


def load_instance(path: str | Path) -> tuple[InstanceNetwork, tuple[str, ...]]:
    """A network in evaluation mode, and the names of its classes, from the file or the run folder that holds it.

    Raises:
        InputError: no such file, or it holds something else, or weights that do not fit its description.
    """
    path = Path(path).expanduser()
    tensors, header = load_tensors(path / FILE if path.is_dir() else path)
    if header.get("kind") != "instance":
        raise InputError(f"{path}: got a file of kind {header.get('kind')!r}, expected an instance-aware network")
    told = from_dict(_Header, header)
    network = InstanceNetwork(*told.graph.build(len(told.class_names), 0))
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"{path}: its weights do not fit the network that it describes") from None
    return network.eval(), told.class_names
