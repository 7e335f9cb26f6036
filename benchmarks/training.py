"""`python -m benchmarks.training`: a search trained side by side in plain PyTorch and in base_fast.

The two compute the same function with other roundings. Their losses agree to one rounding until an activation lies so
close to zero that a ReLU opens in one of them only; from there they part, as two runs of PyTorch do that differ in
nothing but the memory format of the images. How far those part, from the same weights and with the same batches, is the
noise that the distance of base_fast is compared with.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from base_fast.errors import InputError
from base_fast.random import key
from base_fast.reports.render import png
from base_fast.reports.style import new_figure, styled
from base_fast.runs.progress import progress
from base_fast.runs.storage import atomic_write
from base_fast.space import DARTS, Space
from base_fast.supernet import Supernet
from base_fast.tasks import Split
from base_fast.tasks.config import SourceConfig
from base_fast.tasks.target import TargetConfig, open_target
from benchmarks.machine import machine
from benchmarks.plain_darts import PlainDarts, name_in_supernet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS, PLAIN, AGAIN = "base_fast", "PyTorch, channels-last", "PyTorch, contiguous"
CURVES = {PLAIN: "#0072b2", AGAIN: "#56b4e9", OURS: "#d55e00"}
# Steps over which a curve is averaged before curves are compared: single batches jump.
WINDOW = 10
# What the picture shows of curves that are equal; one rounding of a loss is 1e-7.
SMALLEST = 1e-8


@dataclass(frozen=True)
class Training:
    """Weights by SGD and edge logits by Adam, as DARTS takes its steps, both from the gradients of one batch."""

    data: Literal["digits", "cifar10"] = "digits"
    """scikit-learn's digits, or the shards in data/cifar10."""
    channels: int = 8
    layers: int = 5
    nodes: int = 4
    """Computed nodes of a cell."""
    resolution: int = 16
    batch_size: int = 32
    steps: int = 200
    seeds: int = 3
    lr: float = 0.025
    out: Path = Path("runs/training")
    """Folder for training.json and training.png."""


@dataclass(frozen=True)
class Curves:
    """What one seed gave: losses by contender, one per step, and seconds."""

    losses: dict[str, list[float]]
    seconds: dict[str, float]

    def gaps(self, name: str) -> list[float]:
        """Step by step, how far a curve is from PyTorch's."""
        return [abs(a - b) for a, b in zip(self.losses[name], self.losses[PLAIN], strict=True)]

    def apart(self, name: str) -> Tensor:
        """By how much the curve and PyTorch's differ, window by window."""
        a, b = (torch.tensor(self.losses[n], dtype=torch.float64) for n in (name, PLAIN))
        whole = len(a) // WINDOW * WINDOW or len(a)
        return (a - b)[:whole].view(-1, min(WINDOW, whole)).mean(1)


def split_of(training: Training) -> Split:
    source = (
        SourceConfig() if training.data == "digits" else SourceConfig("shards", "data/cifar10", cache_dir="data-cache")
    )
    return open_target(TargetConfig(source, resolution=training.resolution)).train


def space_of(nodes: int) -> Space:
    concat = tuple(range(2, 2 + nodes))
    return Space(f"darts_{nodes}", DARTS.primitives, 2, nodes, DARTS.cell_types, concat, 2)


def curve(
    training: Training, logits: Callable[[Tensor, Tensor], Tensor], weights: Sequence[Tensor], split: Split, seed: int
) -> tuple[list[float], float]:
    """The losses of a training run of `logits(images, z)`, and its seconds."""
    space = space_of(training.nodes)
    alpha = torch.zeros(2, space.num_edges, space.num_primitives, requires_grad=True)
    sgd = torch.optim.SGD(weights, lr=training.lr, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam([alpha], lr=3e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    losses = []
    start = time.perf_counter()
    for step in range(training.steps):
        x, y = split.batch(key(seed), step, training.batch_size)
        loss = F.cross_entropy(logits(x, torch.softmax(alpha, -1)), y)
        for optimizer in (sgd, adam):
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        for optimizer in (sgd, adam):
            optimizer.step()
        losses.append(loss.item())
    return losses, time.perf_counter() - start


def curves(training: Training, split: Split, seed: int) -> Curves:
    """All contenders from the same weights, with the same batches."""
    torch.manual_seed(seed)
    initial = PlainDarts(training.channels, training.layers, split.num_classes, training.nodes)
    supernet = Supernet(space_of(training.nodes), training.channels, training.layers, split.num_classes)
    theta = torch.empty(supernet.layout.numel)
    named = supernet.layout.named(theta)
    for name, parameter in initial.named_parameters():
        named[name_in_supernet(name)].copy_(parameter.detach())
    theta.requires_grad_()
    found = {OURS: curve(training, lambda x, z: supernet(x, theta, z), [theta], split, seed)}
    for name, layout in ((PLAIN, torch.channels_last), (AGAIN, torch.contiguous_format)):
        torch.manual_seed(seed)
        plain = PlainDarts(training.channels, training.layers, split.num_classes, training.nodes)
        plain = plain.to(memory_format=layout)

        def logits(x: Tensor, z: Tensor, plain=plain, layout=layout) -> Tensor:
            return plain(x.contiguous(memory_format=layout), z)

        found[name] = curve(training, logits, list(plain.parameters()), split, seed)
    return Curves({name: losses for name, (losses, _) in found.items()}, {name: s for name, (_, s) in found.items()})


def root_mean_square(differences: Sequence[Tensor]) -> float:
    return float(torch.cat(list(differences)).square().mean().sqrt())


def apart(all_curves: Sequence[Curves]) -> tuple[float, float]:
    """Root mean squares over seeds and windows: base_fast from PyTorch, PyTorch from itself."""
    return (
        root_mean_square([c.apart(OURS) for c in all_curves]),
        root_mean_square([c.apart(AGAIN) for c in all_curves]),
    )


@styled
def picture(all_curves: Sequence[Curves]) -> Figure:
    """Losses, a panel per seed; below it, how far the others are from PyTorch, channels-last."""
    figure = new_figure(12.2, 5.4)
    panels = figure.subplots(2, len(all_curves), squeeze=False, sharex=True, sharey="row")
    for seed, (own, (above, below)) in enumerate(zip(all_curves, panels.T, strict=True)):
        for name, colour in CURVES.items():
            width = 2.4 if name == PLAIN else 1.0
            above.plot(own.losses[name], color=colour, linewidth=width, label=name)
            if name != PLAIN:
                below.semilogy([max(gap, SMALLEST) for gap in own.gaps(name)], color=colour, linewidth=0.9)
        above.set_title(f"seed {seed}")
        below.set_xlabel("step")
    panels[0][0].set_ylabel("loss")
    panels[1][0].set_ylabel("distance in loss")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(CURVES))
    return figure


def table(all_curves: Sequence[Curves]) -> str:
    lines = [
        "| seed | " + " | ".join(f"last losses, {name}" for name in CURVES) + " | apart: base_fast | PyTorch |"
        " seconds: base_fast | PyTorch, channels-last |",
        "|---|" + "---|" * (len(CURVES) + 4),
    ]
    for seed, own in enumerate(all_curves):
        last = [sum(own.losses[name][-WINDOW:]) / len(own.losses[name][-WINDOW:]) for name in CURVES]
        distances = [root_mean_square([own.apart(name)]) for name in (OURS, AGAIN)]
        cells = [*(f"{v:.3f}" for v in (*last, *distances)), *(f"{own.seconds[name]:.0f}" for name in (OURS, PLAIN))]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    ours, theirs = apart(all_curves)
    lines.append(f"\nroot mean square over all: base_fast {ours:.4f} from PyTorch, PyTorch {theirs:.4f} from itself")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    training = tyro.cli(Training, args=arguments, prog="python -m benchmarks.training", description=__doc__)
    try:
        split = split_of(training)
    except InputError as error:
        print(f"benchmarks.training: {error}", file=sys.stderr)
        return 2
    found: list[Curves] = []
    with progress("training", training.seeds) as bar:
        for seed in range(training.seeds):
            found.append(curves(training, split, seed))
            bar.advance(1)
    atomic_write(training.out / "training.png", png(picture(found)))
    setting = {**asdict(training), "out": str(training.out)}
    command = shlex.join(["python", "-m", "benchmarks.training", *(sys.argv[1:] if arguments is None else arguments)])
    data = {**machine(), "command": command, "setting": setting, "curves": [asdict(c) for c in found]}
    atomic_write(training.out / "training.json", (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
    print(table(found))
    print(f"\nlosses and the picture: {training.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
