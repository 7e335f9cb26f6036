"""A space, a supernet and tasks that are small enough for double precision and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from base_fast import Supernet
from base_fast.meta import Variables
from base_fast.posterior import Posterior
from base_fast.random import generator, key
from base_fast.space import Space
from base_fast.tasks import Split, Task

TOY = Space(
    name="toy",
    primitives=("none", "skip_connect", "avg_pool_3x3", "sep_conv_3x3"),
    inputs=2,
    nodes=1,
    cell_types=("normal", "reduce"),
    concat=(2,),
    arity=2,
)


def supernet(classes: int = 3, layers: int = 2) -> Supernet:
    """The last cell is a reduction."""
    return Supernet(TOY, channels=2, layers=layers, num_classes=classes, reductions=(layers - 1,))


def prior(net: Supernet, seed: int = 0, sigma_scale: float = 0.5, dtype: torch.dtype = torch.float64) -> Posterior:
    """A prior in double precision whose head and edge logits are not zero, so that nothing is right by accident."""
    fresh = net.prior(key(seed), mu_scale=1.0, sigma_scale=sigma_scale, dtype=dtype)
    draws = torch.Generator().manual_seed(seed)
    mu = fresh.mu.clone()
    mu[net.head] = 0.3 * torch.randn(net.head.stop - net.head.start, generator=draws, dtype=dtype)
    rho = fresh.rho + 0.2 * torch.randn(fresh.rho.shape, generator=draws, dtype=dtype)
    alpha = 0.5 * torch.randn(fresh.alpha.shape, generator=draws, dtype=dtype)
    return replace(fresh, mu=mu, rho=rho, alpha=alpha)


def split(draws: torch.Generator, count: int, classes: int) -> Split:
    """8×8 noise in which each class has a bright row of its own: learnable in a few steps."""
    labels = torch.arange(count) % classes
    images = torch.randint(128, (count, 3, 8, 8), dtype=torch.uint8, generator=draws)
    images[torch.arange(count), :, 2 * labels] += 120
    return Split(images, labels, classes, torch.full((3,), 0.3), torch.full((3,), 0.2))


def task(task_key: Tensor, classes: int = 3, train: int = 12, valid: int = 9) -> Task:
    draws = generator(task_key)
    names = tuple(map(str, range(classes)))
    return Task("toy", split(draws, train, classes), split(draws, valid, classes), classes, 8, names)


@dataclass
class Tasks:
    """A task distribution that counts its calls, and can do something at one of them.

    Attributes:
        classes: of the tasks, in turn.
        at, action: `action()` is run before the task number `at` is drawn.
    """

    classes: tuple[int, ...] = (3,)
    at: int = -1
    action: Callable[[], None] = lambda: None
    keys: list[tuple[int, int]] = field(default_factory=list)

    def sample(self, task_key: Tensor) -> Task:
        number = len(self.keys)
        self.keys.append((int(task_key[0]), int(task_key[1])))
        if number == self.at:
            self.action()
        return task(task_key, self.classes[number % len(self.classes)])


def same_bits(a: Posterior | Variables, b: Posterior | Variables) -> bool:
    return all(torch.equal(x, y) for x, y in ((a.mu, b.mu), (a.rho, b.rho), (a.alpha, b.alpha)))
