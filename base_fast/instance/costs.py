"""What a policy costs: the parts of a meta-graph, each counted or timed once, and their sum."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from base_fast.arguments import integer
from base_fast.evaluation import count_macs
from base_fast.instance.controller import Controller
from base_fast.instance.meta_graph import MetaGraph

WARM = 2


class Costs(NamedTuple):
    """For one image: of every block, (L, A) float64; of what every image passes; of the controller."""

    blocks: Tensor
    fixed: float
    controller: float

    def of(self, policies: Tensor) -> Tensor:
        """(B,) float64, of policies (B, L, A), the controller included."""
        return self.lowest + (policies.to(self.blocks) * self.blocks).sum(dim=(1, 2))

    @property
    def lowest(self) -> float:
        """Of an image that takes no block."""
        return self.fixed + self.controller

    @property
    def highest(self) -> float:
        """Of one that takes all."""
        return self.lowest + self.blocks.sum().item()


def count_costs(graph: MetaGraph, controller: Controller, resolution: int) -> Costs:
    """Multiply-adds of convolutions and linear layers."""
    x = graph.stem(torch.zeros(1, 3, resolution, resolution, device="cpu"))
    fixed, rows = count_macs(graph.stem, (3, resolution, resolution)).conv_linear, []
    with torch.no_grad():
        for layer in range(graph.shape[0]):
            blocks = graph.blocks(layer)
            if layer in graph.first:
                fixed += count_macs(graph.starts[graph.first.index(layer)], x.shape[1:]).conv_linear
            x = graph.entered(layer, x)
            rows.append([count_macs(block, x.shape[1:]).conv_linear for block in blocks])
        fixed += count_macs(graph.head, x.shape[1:]).conv_linear
    own = count_macs(controller, (3, resolution, resolution)).conv_linear
    return Costs(torch.tensor(rows, dtype=torch.float64, device="cpu"), float(fixed), float(own))


def time_costs(graph: MetaGraph, controller: Controller, resolution: int, batch: int = 32, repeats: int = 20) -> Costs:
    """Milliseconds for an image in batches, in which half of the images take a block: the fastest of `repeats` passes.

    Of a block it is what it adds to its layer, gathering and adding included. Where torch has one thread on the CPU,
    its CPU time is taken, which is the time on the clock of an otherwise idle machine; else the time on the clock.
    """
    integer("batch", batch, 2)
    integer("repeats", repeats, 1)
    place = next(graph.parameters())
    x = torch.zeros(batch, 3, resolution, resolution, device="cpu").to(place)
    training = graph.training, controller.training
    graph.eval()
    controller.eval()

    def milliseconds(work: Callable[[], object], images: int) -> float:
        return 1e3 * seconds(work, place.device, repeats) / images

    with torch.inference_mode():
        own = milliseconds(lambda: controller(x), batch)
        fixed = milliseconds(lambda: graph.stem(x), batch)
        x, rows = graph.stem(x), []
        half = torch.arange(batch, device=place.device) % 2 == 0
        for layer in range(graph.shape[0]):
            if layer in graph.first:
                fixed += milliseconds(lambda layer=layer, x=x: graph.entered(layer, x), batch)  # type: ignore[misc]
            x = graph.entered(layer, x)
            none = torch.zeros(batch, graph.shape[1], dtype=torch.bool, device=place.device)
            idle = milliseconds(lambda layer=layer, x=x, none=none: graph.layer(layer, x, none), batch)  # type: ignore[misc]
            fixed += idle
            row = []
            for action in range(graph.shape[1]):
                taken = none.clone()
                taken[:, action] = half
                busy = milliseconds(lambda layer=layer, x=x, taken=taken: graph.layer(layer, x, taken), batch)  # type: ignore[misc]
                row.append((busy - idle) * batch / half.sum().item())
            rows.append(row)
        fixed += milliseconds(lambda: graph.head(x), batch)
    graph.train(training[0])
    controller.train(training[1])
    return Costs(torch.tensor(rows, dtype=torch.float64, device="cpu").clamp(min=0.0), fixed, own)


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The least time that some work takes, after two passes that are not timed; see `time_costs` for the clock."""
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    found = []
    for _ in range(WARM + repeats):
        start = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(clock() - start)
    return min(found[WARM:])
