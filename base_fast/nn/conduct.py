"""Does an edge do, wherever it may be called, what its layers say? On small images in float64, for many inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from base_fast.errors import InputError
from base_fast.nn.darts_edge import DartsEdge
from base_fast.nn.fused_edge import fuse, unfuse

# Both in float64: 2e-15. Anything above says that they compute different functions.
SAME = 1e-9
# Even, odd, and one of each.
SIZES = ((6, 6), (5, 7), (6, 5))
# PC-DARTS passes a quarter of the channels; DrNAS a quarter, a half, and at last all.
PARTS = (1, 2, 4, 8)


def kind_of(edge: DartsEdge) -> tuple[Any, ...]:
    """What makes edges alike: classes, settings and shapes of all their modules. One speaks for all."""

    def settings(module: nn.Module) -> tuple[tuple[str, str], ...]:
        plain = (bool, int, float, str, tuple, list, dict, type(None))
        # What is no plain value is known by what it is, so that its edge speaks for itself alone.
        return tuple(
            (name, repr(value) if isinstance(value, plain) else str(id(value)))
            for name, value in vars(module).items()
            if not name.startswith("_") and name != "training"
        )

    modules = tuple((path, type(module), settings(module)) for path, module in edge.module.named_modules())
    shapes = tuple((path, tuple(w.shape), w.dtype, w.device) for path, w in edge.module.named_parameters())
    return edge.channels, edge.stride, edge.entries, modules, shapes


def parts_of(edge: DartsEdge) -> int:
    """One of how many parts of the channels passes the primitives.

    Raises:
        InputError: the edge does something else than its primitives, on some images or in `eval()`.
    """
    if not edge.pooled:
        _check(edge, 1)
        return 1
    # From the most on: an edge of one part takes no image of twice its channels.
    for parts in reversed(PARTS):
        try:
            _check(edge, parts)
        except InputError:
            if isinstance(_run(copy.deepcopy(edge.module).double(), *next(_inputs(edge, parts, SIZES[0]))), Tensor):
                break
        else:
            return parts
    raise InputError(
        f"{edge.name}: got partial channels, expected those of PC-DARTS: the first of {PARTS[1:]} parts passes the "
        "primitives, the rest a 2×2 max pool where the stride is 2, and the channels are shuffled"
    )


def _check(edge: DartsEdge, parts: int) -> None:
    plain, fused = (copy.deepcopy(edge.module).to("cpu", torch.float64).requires_grad_(False) for _ in range(2))
    # Without running statistics, in eval() too a norm uses those of the batch: both modes then compute the same.
    fuse(edge, fused, parts, "store")
    _forget_statistics(edge, plain)
    for size in SIZES:
        for i, (x, z) in enumerate(_inputs(edge, parts, size)):
            if i and size != SIZES[0]:
                break
            for mode in (True, False)[: 1 + (i == 0)]:
                found, expected = (_run(e.train(mode), x, z) for e in (fused, plain))
                if isinstance(expected, Exception):
                    if size == SIZES[0]:
                        shapes = f"x {tuple(x.shape)} and weights {tuple(z.shape)}"
                        raise InputError(f"{edge.name}: called with {shapes}: {type(expected).__name__}: {expected}")
                    continue  # an edge that takes no odd images
                if not _same(found, expected):
                    where = f"images of {size[0]}×{size[1]}" + " in eval()" * (not mode)
                    suspects = _which(edge, fused, plain, x)
                    raise InputError(f"{edge.name}: got a module that is not the sum of {suspects}, on {where}")
    _check_settings(edge, plain, *next(_inputs(edge, parts, SIZES[0])))


def _inputs(edge: DartsEdge, parts: int, size: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Images small and large; weights that are probabilities, below any threshold, zero, negative, or above one."""
    draws = torch.Generator().manual_seed(0)
    shape = (2, edge.channels * parts, *size)
    entries = len(edge.entries)
    for scale in (1.0, 1e3, 1e-3):
        x = scale * torch.randn(shape, dtype=torch.float64, generator=draws, device="cpu")
        z = torch.randn(entries, dtype=torch.float64, generator=draws, device="cpu")
        yield x, {1.0: z.softmax(-1), 1e3: 3 * z, 1e-3: 1e-3 * z}[scale]
    z = torch.zeros(entries, dtype=torch.float64, device="cpu")
    z[0] = 1.0
    yield x, z


def _run(edge: nn.Module, x: Tensor, z: Tensor) -> Tensor | Exception:
    with same_draws(x.device), torch.no_grad():
        try:
            y = edge(x, z)
        except Exception as error:
            return error
    if not isinstance(y, Tensor):
        return TypeError(f"got an output of {type(y).__name__}, expected a tensor")
    return y


def _same(found: Tensor | Exception, expected: Tensor | Exception) -> bool:
    if not isinstance(found, Tensor) or not isinstance(expected, Tensor) or found.shape != expected.shape:
        return False
    return bool((found - expected).norm() <= SAME * expected.norm().clamp_min(1e-300)) or torch.equal(found, expected)


def _which(edge: DartsEdge, fused: nn.Module, plain: nn.Module, x: Tensor) -> str:
    """The entries that differ when each stands alone."""
    named = []
    for i, entry in enumerate(edge.entries):
        z = torch.zeros(len(edge.entries), dtype=torch.float64, device="cpu")
        z[i] = 1.0
        if not _same(_run(fused, x, z), _run(plain, x, z)):
            named.append(f"{entry or 'an entry of its own'} (`{edge.ops}.{i}`)")
    return f"its primitives: {', '.join(named)}" if 0 < len(named) < len(edge.entries) else "its entries"


def _check_settings(edge: DartsEdge, plain: nn.Module, x: Tensor, z: Tensor) -> None:
    """A number or switch of somebody's own module that changes what it computes: a fused edge would not read it."""
    expected = _run(plain, x, z)
    left = [f"{edge.ops}.{i}" for i, entry in enumerate(edge.entries) if entry is None]
    for path, module in plain.named_modules():
        own = not type(module).__module__.startswith(("torch.", "base_fast."))
        if not own or any(path == entry or path.startswith(f"{entry}.") for entry in left):
            continue
        for name, value in list(vars(module).items()):
            if name == "training" or not (isinstance(value, bool | float) or (isinstance(value, int) and value == 0)):
                continue
            setattr(module, name, not value if isinstance(value, bool) else 0.375 + value)
            changed = not _same(_run(plain, x, z), expected)
            setattr(module, name, value)
            if changed:
                where = ".".join(part for part in (edge.name, path) if part)
                raise InputError(
                    f"{where}: got a {type(module).__name__} that does what its `{name}` says, expected nothing that "
                    "may change: a fused edge would not read it"
                )


def _forget_statistics(edge: DartsEdge, plain: nn.Module) -> None:
    """Fusing drops them; so do that and undo the rest."""
    fuse(edge, plain, 1, "store")
    plain.__dict__["_fusion"].dropped.clear()
    unfuse(plain)


@contextmanager
def same_draws(device: torch.device) -> Iterator[None]:
    """For what is left to PyTorch, dropout for instance: inside, it draws what it drew the last time."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(0)
        if devices:
            torch.cuda.default_generators[device.index].manual_seed(0)
        yield
