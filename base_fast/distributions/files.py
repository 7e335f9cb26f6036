"""Distributions as safetensors files with a JSON header."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from base_fast.distributions.controller import Controller
from base_fast.distributions.distribution import Distribution
from base_fast.distributions.empirical import Empirical
from base_fast.distributions.independent import IndependentEdges
from base_fast.errors import InputError
from base_fast.runs.storage import load_tensors, save_tensors
from base_fast.space import from_dict_any

FORMAT = 1
KINDS: dict[str, Callable[..., Distribution]] = {c.kind: c for c in (IndependentEdges, Empirical, Controller)}


def save_distribution(path: str | Path, distribution: Distribution) -> None:
    """Write a distribution, atomically."""
    space = distribution.space
    header: dict[str, Any] = {"kind": f"distribution.{distribution.kind}", "format": FORMAT, "space": space.to_dict()}
    if settings := distribution.settings():
        header["settings"] = settings
    save_tensors(path, distribution.tensors(), header)


def load_distribution(path: str | Path) -> Distribution:
    """Read and check what `save_distribution` wrote; executes no code.

    Raises:
        InputError: the file is missing, truncated, of another kind or format, or inconsistent in itself.
    """
    tensors, header = load_tensors(path)
    kind = str(header.get("kind")).removeprefix("distribution.")
    if kind not in KINDS or header.get("format") != FORMAT:
        raise InputError(
            f"{path}: got kind {header.get('kind')!r}, format {header.get('format')!r}; expected a distribution "
            f"({', '.join(KINDS)}) of format {FORMAT}"
        )
    try:
        return KINDS[kind](from_dict_any(header["space"]), **tensors, **header.get("settings", {}))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: the header is malformed ({error})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
