"""A trained network in one file, with everything that it takes to use it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from base_fast.device import resolve
from base_fast.errors import InputError
from base_fast.evaluation.config import NetworkConfig
from base_fast.evaluation.network import Network
from base_fast.runs import from_dict, load_tensors, save_tensors, to_dict
from base_fast.space import Genotype, Space
from base_fast.tasks import OnDemand, Split, Task
from base_fast.tasks.decode import decode
from base_fast.tasks.resize import check_resolution

FILE = "network.safetensors"


@dataclass(frozen=True)
class Inputs:
    """What a network was trained to tell apart, and how its images were prepared."""

    class_names: tuple[str, ...]
    """One name per logit."""
    resolution: int
    """R, pixels per side: the shorter side of an image is scaled to it, and the centre cut out."""
    mean: tuple[float, float, float]
    """Per channel (red, green, blue), of pixels in [0, 1]; subtracted."""
    std: tuple[float, float, float]
    """Per channel, of pixels in [0, 1]; divided by."""

    def __post_init__(self) -> None:
        check_resolution(self.resolution)
        if len(self.class_names) < 2:
            raise InputError(f"class_names: {len(self.class_names)}, expected at least two")
        if not all(abs(m) < float("inf") and 0 < s < float("inf") for m, s in zip(self.mean, self.std, strict=True)):
            raise InputError(f"mean, std: {self.mean}, {self.std}, expected finite numbers, and std above 0")

    @classmethod
    def of(cls, task: Task) -> Inputs:
        """Those of a network that was trained on `task`."""
        red, green, blue = zip(task.train.mean.tolist(), task.train.std.tolist(), strict=True)
        mean, std = zip(red, green, blue, strict=True)
        return cls(task.class_names, task.resolution, mean, std)


@dataclass(frozen=True)
class _Header:
    """What the file says beside the weights."""

    kind: Literal["network"]
    space: Space | None
    genotype: Genotype
    network: NetworkConfig
    inputs: Inputs


class Classifier(Network):
    """A trained `Network`, in evaluation mode, that knows its classes and how its images are prepared.

    As a module it is the network: x float32 (B, 3, R, R), normalized, to logits (B, num_classes).

    Attributes:
        config: the network's size.
        inputs: class names, resolution and normalization.
    """

    def __init__(self, genotype: Genotype, config: NetworkConfig, inputs: Inputs) -> None:
        super().__init__(
            genotype, config.channels, config.layers, len(inputs.class_names), config.skeleton, config.auxiliary
        )
        self.config, self.inputs = config, inputs
        self.eval()

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per logit."""
        return self.inputs.class_names

    @property
    def resolution(self) -> int:
        """R, pixels per side."""
        return self.inputs.resolution

    def read(self, file: str | Path | bytes) -> Tensor:
        """An image file, or its bytes, as training saw images: uint8 (3, R, R).

        Raises BrokenImage (a ValueError), with the reason, when it cannot be decoded.
        """
        return decode(file if isinstance(file, bytes) else Path(file).expanduser(), self.resolution)

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, R, R) → what the network takes: (B, 3, R, R), in its dtype and on its device."""
        return (
            self.split(images, torch.zeros(len(images), dtype=torch.int64, device="cpu"))
            .normalized(images)
            .to(self._place)
        )

    def classify(self, images: Tensor) -> Tensor:
        """Probabilities of the classes: uint8 (B, 3, R, R) → float32 (B, num_classes), on the CPU."""
        with torch.inference_mode():
            logits = self(self.normalize(images))
            return torch.as_tensor(logits, device="cpu").float().softmax(1).cpu()

    def split(self, images: Tensor | OnDemand, labels: Tensor) -> Split:
        """Labelled images, uint8 (N, 3, R, R) and int64 (N,), for `evaluate`."""
        inputs = self.inputs
        return Split(
            images,
            labels,
            len(inputs.class_names),
            torch.tensor(inputs.mean, device="cpu"),
            torch.tensor(inputs.std, device="cpu"),
        )

    @property
    def _place(self) -> Tensor:
        return self.classifier.weight


def save_network(path: str | Path, network: Network, config: NetworkConfig, task: Task) -> None:
    """Write a network that was trained on `task` to one safetensors file, for `load_network`."""
    genotype = network.genotype
    header = _Header("network", genotype.known_space, genotype, config, Inputs.of(task))
    save_tensors(path, network.state_dict(), to_dict(header))


def load_network(path: str | Path, device: str = "cpu") -> Classifier:
    """A trained network from network.safetensors, or from the run folder that holds it. Executes no code from there.

    Args:
        path: the file or the folder.
        device: cpu, cuda, cuda:<number>, or auto for the GPU if there is one.

    Raises:
        InputError: no such file, or it holds no network, one that does not fit its description, or one with primitives
            that are not registered here.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / FILE
    tensors, header = load_tensors(path)
    if header.get("kind") != "network":
        raise InputError(f"{path}: got a file of kind {header.get('kind')!r}, expected a network")
    try:
        told = from_dict(_Header, header)
        # On the meta device, so that a wrong description allocates nothing.
        with torch.device("meta"):
            network = Classifier(told.genotype, told.network, told.inputs)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    expected = network.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        found, wanted = (
            f"{x[name].dtype} {tuple(x[name].shape)}" if name in x else "none" for x in (tensors, expected)
        )
        if found != wanted:
            raise InputError(f"{path}: weights {name}: {found}, expected {wanted} of the network that it describes")
    network.load_state_dict(tensors, assign=True)
    return network.to(resolve(device))
