"""One side of `benchmarks.revisions`: runs named cases of the checkout that it was started in, as often as it is told.

It speaks lines of JSON over its standard input and output, and imports nothing of `benchmarks`: the same file serves
another revision, so only what both have in public may be called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from time import perf_counter

import torch
from torch import Tensor
from torch.nn import functional as F

import base_fast as bf

Run = Callable[[], list[Tensor]]


def edge(batch: int, channels: int, size: int, stride: int) -> Run:
    """A search edge of the eight primitives of DARTS, forward and backward, on channels-last images."""
    module = bf.nn.MixedOp(channels, stride)
    x = torch.randn(batch, channels, size, size).contiguous(memory_format=torch.channels_last).requires_grad_()
    z = torch.softmax(torch.randn(8), -1).requires_grad_()
    grad = torch.randn_like(module(x, z))
    return lambda: [*torch.autograd.grad(module(x, z), (x, z, *module.parameters()), grad)]


def supernet_step(batch: int, channels: int, layers: int, size: int, hard: bool) -> Run:
    """Loss and gradients of a DARTS supernet at its initial weights, the head drawn."""
    supernet = bf.Supernet("darts", channels, layers, 10)
    prior = supernet.prior(bf.random.key(0), mu_scale=1.0)
    theta = prior.mu.clone()
    theta[supernet.head] = 0.1 * torch.randn(theta[supernet.head].shape)
    choice = torch.arange(prior.alpha[..., 0].numel()).view(prior.alpha.shape[:2]) % prior.alpha.shape[2]
    z = F.one_hot(choice, prior.alpha.shape[2]).float() if hard else torch.softmax(torch.randn(prior.alpha.shape), -1)
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    leaves = (theta.requires_grad_(), z.requires_grad_())
    labels = torch.arange(batch) % 10
    return lambda: [*torch.autograd.grad(F.cross_entropy(supernet(x, theta, z, hard), labels), leaves)]


def gumbel_softmax(rows: int) -> Run:
    logits, grad, key = torch.randn(rows, 8).requires_grad_(), torch.randn(rows, 8), bf.random.key(1)
    return lambda: [*torch.autograd.grad(bf.ops.gumbel_softmax(logits, key, 0.7), logits, grad)]


def gaussian_sample(weights: int) -> Run:
    mu, rho, key = torch.randn(weights), torch.full((weights,), -3.0), bf.random.key(1)
    return lambda: [bf.ops.gaussian_sample(mu, rho, key)]


def gaussian_sample_kl(weights: int) -> Run:
    mu, rho = torch.randn(weights).requires_grad_(), torch.full((weights,), -3.0).requires_grad_()
    prior, spread, grad = torch.zeros(weights), torch.full((weights,), -2.0), torch.randn(weights)
    key = bf.random.key(1)

    def run() -> list[Tensor]:
        theta, kl = bf.ops.gaussian_sample_kl(mu, rho, prior, spread, key)
        return [*torch.autograd.grad((theta, kl), (mu, rho), (grad, torch.ones(())))]

    return run


def mixed_sum(batch: int, channels: int, size: int) -> Run:
    branches = [torch.randn(batch, channels, size, size).requires_grad_() for _ in range(8)]
    weights = torch.softmax(torch.randn(8), -1).requires_grad_()
    grad = torch.randn(batch, channels, size, size)
    return lambda: [*torch.autograd.grad(bf.ops.mixed_sum(branches, weights), (*branches, weights), grad)]


def sgd_step(weights: int) -> Run:
    values, gradients = ([torch.randn(weights) for _ in range(2)] for _ in range(2))

    def run() -> list[Tensor]:
        moved, norm = bf.ops.sgd_step(values, gradients, [0.1, 0.01], 5.0)
        return [*moved, norm]

    return run


def cases(quick: bool) -> Mapping[str, Callable[[], Run]]:
    """Every case by its name, as a function that sets it up."""
    if quick:
        return {
            "edge (2, 4, 6, 6)": partial(edge, 2, 4, 6, 1),
            "gaussian_sample, 1000": partial(gaussian_sample, 1000),
        }
    found: dict[str, Callable[[], Run]] = {}
    for batch, channels, size in ((64, 16, 32), (64, 32, 16), (64, 64, 8), (32, 48, 28)):
        for stride in (1, 2):
            found[f"edge ({batch}, {channels}, {size}, {size}), stride {stride}"] = partial(
                edge, batch, channels, size, stride
            )
    for batch in (16, 64):
        for hard in (False, True):
            name = f"supernet step, batch {batch}, {'hard' if hard else 'soft'}"
            found[name] = partial(supernet_step, batch, 16, 8, 32, hard)
    return found | {
        "gumbel_softmax, 1,000,000 × 8": partial(gumbel_softmax, 1_000_000),
        "gaussian_sample, 10 M": partial(gaussian_sample, 10_000_000),
        "gaussian_sample_kl, 10 M": partial(gaussian_sample_kl, 10_000_000),
        "mixed_sum, 8 × (64, 16, 32, 32)": partial(mixed_sum, 64, 16, 32),
        "sgd_step, 2 × 10 M": partial(sgd_step, 10_000_000),
    }


def digest(tensors: list[Tensor]) -> str:
    """A hash of the values, in the order of their indices whatever their layout."""
    state = sha256()
    for tensor in tensors:
        state.update(tensor.detach().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]


def main() -> None:
    """Answer each request {"case", "quick"} with a hash of its results, and {"calls"} with seconds per call."""
    run: Run | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "case" in request:
            torch.manual_seed(0)
            # The last case's memory is free before the next one takes its own.
            run = None
            run = cases(request["quick"])[request["case"]]()
            answer: dict[str, object] = {"digest": digest(run())}
        else:
            assert run is not None
            began = perf_counter()
            for _ in range(request["calls"]):
                run()
            answer = {"seconds": (perf_counter() - began) / request["calls"]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
