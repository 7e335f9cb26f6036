"""Arguments of every op that has kernels: sizes from nothing to several cuts of the work, dtypes, strides.

A kernel cuts its work into pieces of 16,384 elements, so tensors of more than three pieces have whole ones, a last one
that is shorter, and more of them than threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from base_fast.reference.relu_conv_norm import relu_conv_norm as reference_of_relu_conv_norm

Arguments = tuple[Any, ...]

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
CUT = 16384
# Around the widths of vectors and blocks of noise, and of cuts.
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 129, 1000, 4097, CUT - 1, CUT, CUT + 1, 3 * CUT + 5)
# Rows that straddle cuts, and rows of more than a cut.
ROWS = (
    *((rows, count) for rows, count in itertools.product((1, 3), (*range(1, 18), 31, 32, 33, 63, 64))),
    *((0, 8), (14, 8), (2, 14, 8), (28, 5), (1000, 7), (6145, 8), (7001, 7), (770, 64), (2, CUT + 3)),
)
IMAGES = (
    *((1, 1, 1, 2), (2, 3, 5, 7), (4, 1, 3, 3), (3, 5, 1, 1), (1, 17, 4, 4), (2, 33, 3, 2), (4, 16, 16, 16)),
    *((2, 24, 33, 31), (3, 7, 50, 49)),
)


class Draws:
    """Standard normal tensors of one dtype, repeatable."""

    def __init__(self, dtype: torch.dtype, seed: int = 0) -> None:
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        x = torch.randn(shape, dtype=torch.float64, generator=self.generator)
        return (scale * x + shift).to(self.dtype)

    def key(self) -> Tensor:
        """Of any seed, and an offset of up to more than 32 bits."""
        seed = torch.randint(-(2**62), 2**62, (1,), generator=self.generator)
        return torch.cat((seed, torch.randint(0, 2**40, (1,), generator=self.generator)))

    def sigma(self, *shape: int) -> Tensor:
        """ρ whose σ = softplus(ρ) is from 1e-4 to 4."""
        return self(*shape, scale=2.0, shift=-3.0)


def every_other(x: Tensor) -> Tensor:
    """The same values, not contiguous."""
    wide = torch.full((*x.shape, 2), float("nan"), dtype=x.dtype)
    wide[..., 0] = x
    return wide[..., 0]


def shifted(x: Tensor) -> Tensor:
    """The same values, contiguous, at an address that is no multiple of a vector."""
    flat = torch.cat((x.new_full((1,), float("nan")), x.flatten()))
    return flat[1:].view(x.shape)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def layouts() -> Iterator[Callable[[Tensor], Tensor]]:
    """How tensors lie in memory, in turn."""
    return itertools.cycle((torch.Tensor.contiguous, every_other, shifted))


def gaussian_sample(draws: Draws) -> Iterator[Arguments]:
    for count, lay in zip(SIZES, layouts(), strict=False):
        yield lay(draws(count)), lay(draws.sigma(count)), draws.key()


def gaussian_sample_backward(draws: Draws) -> Iterator[Arguments]:
    yield from gaussian_sample(draws)
    yield draws(1).expand(100), draws.sigma(100), draws.key()


def gaussian_kl(draws: Draws) -> Iterator[Arguments]:
    for count, lay in zip(SIZES, layouts(), strict=False):
        yield tuple(map(lay, (draws(count), draws.sigma(count), draws(count), draws.sigma(count))))
    for count in (0, 1, 5, 4097, 3 * CUT + 5):
        yield draws(count), draws.sigma(count), draws(1).expand(count), draws.sigma(1).expand(count)
    mu, rho = draws(1000), draws.sigma(1000)
    yield mu, rho, mu, rho
    # Narrow posteriors, wide ones, and a prior that is narrow.
    for shift, prior_shift in ((-30.0, 0.0), (20.0, 0.0), (-5.0, -8.0)):
        yield draws(100, scale=1e-3), draws(100, shift=shift), draws(100, scale=1e-3), draws(100, shift=prior_shift)


def gaussian_kl_backward(draws: Draws) -> Iterator[Arguments]:
    for i, arguments in enumerate(gaussian_kl(draws)):
        yield draws(1)[0], *arguments, i % 2 == 0


def gaussian_sample_kl(draws: Draws) -> Iterator[Arguments]:
    for arguments in gaussian_kl(draws):
        yield *arguments, draws.key()


def gaussian_sample_kl_backward(draws: Draws) -> Iterator[Arguments]:
    for i, arguments in enumerate(gaussian_kl(draws)):
        yield draws(len(arguments[0])), draws(1)[0], *arguments, draws.key(), i % 2 == 0


def rows(draws: Draws) -> Iterator[Tensor]:
    for shape, lay in zip(ROWS, layouts(), strict=False):
        yield lay(draws(*shape))
    yield draws(8, 14).T
    yield draws(8).expand(5, 8)


def gumbel_softmax(draws: Draws) -> Iterator[Arguments]:
    # Of z in bfloat16 several entries may be the largest; which one is first depends on how they were rounded.
    hard = (False, True) if draws.dtype != torch.bfloat16 else (False,)
    settings = itertools.cycle(itertools.product((0.5, 1.0, 3.0), hard, (1.0, 0.5, 0.0)))
    for x, (tau, hard, noise) in zip(rows(draws), settings, strict=False):
        yield x, draws.key(), tau, hard, noise


def gumbel_softmax_backward(draws: Draws) -> Iterator[Arguments]:
    for x, tau in zip(rows(draws), itertools.cycle((0.5, 1.0, 3.0)), strict=False):
        yield draws(*x.shape), torch.softmax(x, -1), tau


def branches(draws: Draws, count: int, shape: tuple[int, ...]) -> Iterator[list[Tensor]]:
    """The same branches in all memory formats and a mixture of them."""
    own = [draws(*shape, scale=1.0 + k / 4, shift=k - 2.0) for k in range(count)]
    yield own
    if len(shape) == 4:
        yield list(map(channels_last, own))
        yield [channels_last(x) if k % 2 else x for k, x in enumerate(own)]
    yield [every_other(x) if k % 2 else shifted(x) for k, x in enumerate(own)]


def mixtures(draws: Draws, shapes: tuple[tuple[int, ...], ...]) -> Iterator[Arguments]:
    """branches, weights, positions: as many weights as branches, or more."""
    for shape, count in zip(shapes, itertools.cycle((1, 2, 3, 8, 7)), strict=False):
        for i, own in enumerate(branches(draws, count, shape)):
            extra = i % 3
            positions = list(range(extra, extra + count))[:: -1 if i % 2 else 1]
            yield own, every_other(draws(count + extra)) if i == 1 else draws(count + extra), positions


def mixed_sum(draws: Draws) -> Iterator[Arguments]:
    yield from mixtures(draws, ((), (3,), (5, 3), (1, 1, 1, 1), (0, 4, 5, 5), *IMAGES, (3 * CUT + 5,)))
    yield [draws(2, 3, 4, 4) for _ in range(20)], draws(64), list(range(0, 60, 3))


def upstream(draws: Draws, x: Tensor, i: int) -> Tensor:
    """A gradient of the shape of x: dense, channels-last, or the first image's for all."""
    grad = draws(*x.shape)
    return (grad, channels_last(grad), grad[:1].expand_as(grad) if x.dim() and len(x) else grad)[i % 3]


def mixed_sum_backward(draws: Draws) -> Iterator[Arguments]:
    for i, (own, weights, positions) in enumerate(mixed_sum(draws)):
        yield upstream(draws, own[0], i), own, weights, positions


def sgd_step(draws: Draws) -> Iterator[Arguments]:
    for i, (count, lay) in enumerate(zip(SIZES, layouts(), strict=False)):
        counts = ((count,), (count, count), (count, 5, 0, 33))[i % 3]
        lrs = [0.1 * (j + 1) for j in range(len(counts))]
        for clip in (0.0, 0.5, 1e6):
            yield [lay(draws(c)) for c in counts], [lay(draws(c)) for c in counts], lrs, clip


def relu_conv_norm(draws: Draws) -> Iterator[Arguments]:
    filters = itertools.cycle((1, 16, 5, 33, 48, 2))
    lays = itertools.cycle((torch.Tensor.contiguous, channels_last, every_other, shifted))
    for (b, c, h, w), out, lay in zip(IMAGES, filters, lays, strict=False):
        for stride in (1, 2):
            if b * -(-h // stride) * -(-w // stride) == 1:
                continue
            x = draws(b, c, h, w, shift=0.5)
            yield lay(x), draws(out, c, scale=c**-0.5), stride
            # Some channels of wider images.
            yield channels_last(draws(b, c + 9, h, w))[:, 4 : 4 + c], draws(out, c, scale=c**-0.5), stride


def relu_conv_norm_backward(draws: Draws) -> Iterator[Arguments]:
    for i, (x, weight, stride) in enumerate(relu_conv_norm(draws)):
        y, rstd = reference_of_relu_conv_norm(x, weight, stride)
        yield upstream(draws, y, i), x, weight, stride, y, rstd


SAMPLES: dict[str, Callable[[Draws], Iterator[Arguments]]] = {
    f.__name__: f
    for f in (
        *(gumbel_softmax, gumbel_softmax_backward),
        *(gaussian_sample, gaussian_sample_backward),
        *(gaussian_kl, gaussian_kl_backward),
        *(gaussian_sample_kl, gaussian_sample_kl_backward),
        *(mixed_sum, mixed_sum_backward),
        sgd_step,
        *(relu_conv_norm, relu_conv_norm_backward),
    )
}
