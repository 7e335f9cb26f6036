"""The posterior: derived quantities, storage bit for bit, and files that it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import Categorical

from base_fast.errors import InputError
from base_fast.posterior import Layout, Posterior, inverse_softplus, mean_entropy
from base_fast.runs import load_tensors, save_tensors
from base_fast.space import DARTS, NAS_BENCH_201
from tests import tolerances
from tests.tolerances import assert_close

Make = Callable[..., Posterior]


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def test_inverse_softplus() -> None:
    sigma = torch.logspace(-30, 2, 2001, dtype=torch.float64)
    for dtype, tolerance in (
        (torch.float64, tolerances.INVERSE_SOFTPLUS_FLOAT64),
        (torch.float32, tolerances.INVERSE_SOFTPLUS_FLOAT32),
    ):
        found = torch.nn.functional.softplus(inverse_softplus(sigma.to(dtype)))
        assert found.dtype == dtype
        assert_close(found.double() / sigma.to(dtype).double(), torch.ones_like(sigma), tolerance)


def test_derived_quantities(make: Make) -> None:
    p = make(torch.float64)
    assert_close(p.sigma, torch.log1p(p.rho.exp()), tolerances.FLOAT64)
    assert_close(p.probabilities, p.alpha.exp() / p.alpha.exp().sum(-1, keepdim=True), tolerances.FLOAT64)
    assert_close(p.entropy, Categorical(logits=p.alpha).entropy().mean(-1), tolerances.FLOAT64)
    assert p.entropy.shape == (2,)


def test_entropy_of_known_distributions() -> None:
    uniform = torch.zeros(2, 14, 8, dtype=torch.float64)
    assert_close(mean_entropy(uniform), torch.full((2,), math.log(8), dtype=torch.float64), tolerances.FLOAT64)
    certain = uniform.clone()
    certain[0, :, 3] = 1e4
    assert mean_entropy(certain)[0] == 0.0
    assert_close(mean_entropy(certain)[1], mean_entropy(uniform)[1], 0.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("space", [DARTS, NAS_BENCH_201, DARTS.with_nodes(2)], ids=["darts", "nas_bench_201", "small"])
def test_round_trip_bit_for_bit(make: Make, tmp_path: Path, dtype: torch.dtype, space: Any) -> None:
    p = make(dtype, space)
    p.mu[:3] = torch.tensor([torch.finfo(dtype).max, -0.0, torch.finfo(dtype).smallest_normal / 2], dtype=dtype)
    p.save(tmp_path / "p.safetensors")
    q = Posterior.load(tmp_path / "p.safetensors")
    for name in ("mu", "rho", "alpha"):
        assert same_bits(getattr(q, name), getattr(p, name))
    assert (q.layout, q.space, q.config, q.lineage) == (p.layout, p.space, p.config, p.lineage)
    assert q.space.nodes == space.nodes


def test_a_posterior_that_diverged_is_refused(make: Make, tmp_path: Path) -> None:
    for value in (float("nan"), float("inf")):
        p = make()
        p.rho[1] = value
        p.save(tmp_path / "p.safetensors")
        with pytest.raises(InputError, match="rho holds NaN or infinity"):
            Posterior.load(tmp_path / "p.safetensors")


def test_views_and_gradients_can_be_saved(make: Make, tmp_path: Path) -> None:
    p = make()
    both = torch.stack((p.mu, p.rho), dim=1).requires_grad_()
    replace(p, mu=both[:, 0], rho=both[:, 1]).save(tmp_path / "p.safetensors")
    q = Posterior.load(tmp_path / "p.safetensors")
    assert torch.equal(q.mu, p.mu)
    assert torch.equal(q.rho, p.rho)
    assert not q.mu.requires_grad


def test_saving_twice_gives_the_same_bytes(make: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_lineage(make: Make, tmp_path: Path) -> None:
    p = make()
    mu = (p.mu + 1).requires_grad_()
    q = p.evolve((mu, p.rho, p.alpha), {"event": "adapt", "task": "digits", "steps": 20})
    assert q.lineage == ({"event": "meta", "steps": 3}, {"event": "adapt", "task": "digits", "steps": 20})
    assert torch.equal(q.mu, mu)
    assert not q.mu.requires_grad
    assert p.lineage == ({"event": "meta", "steps": 3},)
    q.save(tmp_path / "q")
    assert Posterior.load(tmp_path / "q").lineage == q.lineage


def test_it_is_frozen(make: Make) -> None:
    with pytest.raises(FrozenInstanceError):
        make().mu = torch.zeros(3)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mu": torch.zeros(3)}, r"mu: got shape \(3,\), expected \(158,\) from the layout"),
        ({"rho": torch.zeros(1, 158)}, r"rho: got shape \(1, 158\), expected \(158,\)"),
        ({"alpha": torch.zeros(2, 14, 7)}, r"alpha: got shape \(2, 14, 7\), expected \(2, 14, 8\) from space 'darts'"),
        ({"space": NAS_BENCH_201}, r"alpha: got shape \(2, 14, 8\), expected \(1, 6, 5\) from space 'nas_bench_201'"),
        ({"layout": Layout.of({"a": (3,)})}, r"mu: got shape \(158,\), expected \(3,\)"),
        ({"rho": torch.zeros(158, dtype=torch.int64)}, r"rho: got torch.int64, expected a floating-point tensor"),
        (
            {"alpha": torch.zeros(2, 14, 8, dtype=torch.bool)},
            r"alpha: got torch.bool, expected a floating-point tensor",
        ),
    ],
)
def test_errors(make: Make, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        replace(make(), **changed)


def refuses(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Posterior.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "absent", "cannot read")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("not a posterior, but long enough to hold a header's length")
    refuses(path, "truncated or not a safetensors file")
    path.write_bytes(b"")
    refuses(path, "truncated or not a safetensors file")


def test_every_truncation_is_refused(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "p"
    make().save(path)
    data = path.read_bytes()
    for length in (*range(0, len(data), 97), len(data) - 1):
        path.write_bytes(data[:length])
        refuses(path, "truncated or not a safetensors file")


Edit = Callable[[dict[str, torch.Tensor], dict[str, Any]], object]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t, h: h.update(kind="checkpoint"), "got a file of kind 'checkpoint', expected a posterior"),
        (lambda t, h: h.pop("kind"), "got a file of kind None"),
        (lambda t, h: h.update(format=2), "got format 2, expected 1"),
        (lambda t, h: h.pop("format"), "got format None"),
        (lambda t, h: t.pop("rho"), "tensors missing: rho"),
        (lambda t, h: [t.pop("mu"), t.pop("alpha"), t.update(x=torch.zeros(1))], "tensors missing: alpha, mu"),
        (lambda t, h: t.update(mu=t["mu"][:-1]), r"mu: got shape \(157,\), expected \(158,\)"),
        (lambda t, h: t.update(alpha=t["alpha"][:1]), r"alpha: got shape \(1, 14, 8\)"),
        (lambda t, h: t.update(rho=t["rho"].long()), "rho: got torch.int64"),
        (lambda t, h: h["layout"]["shapes"].pop(), "layout: got 3 names and 2 shapes"),
        (lambda t, h: h["layout"]["shapes"].__setitem__(2, [11]), r"mu: got shape \(158,\), expected \(159,\)"),
        (lambda t, h: h["layout"]["shapes"].__setitem__(2, [-2, -5]), r"layout: got 'classifier.bias' of shape"),
        (lambda t, h: h["layout"]["shapes"].__setitem__(2, 10), "the header is malformed"),
        (lambda t, h: h["layout"].update(names=["a", "a", "b"]), "layout: names must be unique"),
        (lambda t, h: h.update(layout=[]), "the header is malformed"),
        (lambda t, h: h.update(layout=None), "the header is malformed"),
        (lambda t, h: h["layout"].pop("names"), "the header has no field 'names'"),
        (lambda t, h: h.pop("space"), "the header has no field 'space'"),
        (lambda t, h: h.update(space="darts"), "space: a str; expected a mapping"),
        (lambda t, h: h["space"].update(nodes=3), "concat: no node 5"),
        (lambda t, h: h["space"].update(nodes="4"), "nodes: got '4'"),
        (lambda t, h: h.pop("config"), "the header has no field 'config'"),
        (lambda t, h: h.update(config=[]), "config: got list, expected a dict"),
        (lambda t, h: h.pop("lineage"), "the header has no field 'lineage'"),
        (lambda t, h: h.update(lineage=None), "the header is malformed"),
    ],
)
def test_a_tampered_file_is_refused(make: Make, tmp_path: Path, edit: Edit, message: str) -> None:
    path = tmp_path / "p"
    make().save(path)
    tensors, header = load_tensors(path)
    edit(tensors, header)
    save_tensors(path, tensors, header)
    refuses(path, message)


def test_a_file_without_our_header_is_refused(make: Make, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "p"
    tensors = {"mu": torch.zeros(3)}
    for metadata in (None, {"header": "no json"}, {"header": json.dumps([1])}, {"other": "x"}):
        path.write_bytes(safetensors.save(tensors, metadata=metadata))
        refuses(path, "without a base_fast header")
