"""Supernets built again from configurations and posteriors, their priors, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import base_fast as bf
from base_fast.errors import InputError
from base_fast.posterior import Layout, Posterior
from base_fast.space import DARTS
from base_fast.supernet import Supernet, SupernetConfig
from tests import tolerances
from tests.supernet.samples import KEY, images, sample
from tests.tolerances import assert_close

# --- Building again ---------------------------------------------------------------------------------------------------


def test_with_classes_changes_the_head_alone() -> None:
    supernet = Supernet(channels=4, layers=3, num_classes=10, stems=("32", "64"), reductions=(1,))
    other = supernet.with_classes(3)
    assert other.config == replace(supernet.config, num_classes=3)
    assert other.layout.names == supernet.layout.names
    assert other.layout.shapes[:-2] == supernet.layout.shapes[:-2]
    assert other.layout.shapes[-1] == (3,)
    assert other.head.start == supernet.head.start


def test_from_config() -> None:
    config = SupernetConfig(space="darts", nodes=2, channels=4, layers=3, num_classes=5, stems=("64",), reductions=(2,))
    supernet = Supernet.from_config(config)
    assert supernet.config == config
    assert supernet.space == DARTS.with_nodes(2)
    assert SupernetConfig().build_space() == DARTS


@pytest.mark.parametrize("reductions", [None, (1,)])
def test_for_posterior_survives_a_file(tmp_path: Path, reductions: tuple[int, ...] | None) -> None:
    space = replace(DARTS.with_nodes(2), name="mine", primitives=("none", "dil_conv_5x5", "avg_pool_3x3"))
    supernet = Supernet(space, channels=4, layers=3, num_classes=5, stems=("32", "64"), reductions=reductions)
    path = tmp_path / "prior"
    supernet.prior(KEY).save(path)
    loaded = Posterior.load(path)
    again = Supernet.for_posterior(loaded)
    assert again.layout == supernet.layout
    assert again.space == space
    assert again.config == supernet.config
    x = images(2, 8, dtype=torch.float32)
    z = loaded.probabilities
    theta = sample(supernet, dtype=torch.float32)[0]
    assert torch.equal(again(x, theta, z), supernet(x, theta, z))


def test_for_posterior_refuses_a_layout_of_something_else() -> None:
    prior = Supernet(channels=4, layers=3).prior(KEY)
    with pytest.raises(InputError, match=r"^posterior: .* stems.32.0.conv.weight has shape \(12, 3, 3, 3\)"):
        Supernet.for_posterior(replace(prior, config=prior.config | {"channels": 8}))
    shapes = dict(zip(prior.layout.names, prior.layout.shapes, strict=True))
    renamed = Layout.of({name.replace("classifier", "head"): shape for name, shape in shapes.items()})
    with pytest.raises(InputError, match="classifier.weight is missing"):
        Supernet.for_posterior(replace(prior, layout=renamed))
    with pytest.raises(InputError):
        Supernet.for_posterior(replace(prior, config=prior.config | {"depth": 3}))


# --- Priors -----------------------------------------------------------------------------------------------------------


def test_prior() -> None:
    supernet = Supernet(channels=8, layers=5, num_classes=10, stems=("32", "224"))
    prior = supernet.prior(KEY, mu_scale=0.5, sigma_scale=0.2)
    assert prior.layout == supernet.layout
    assert prior.mu.dtype == prior.rho.dtype == prior.alpha.dtype == torch.float32
    assert torch.equal(prior.alpha, torch.zeros(2, 14, 8))
    assert_close(prior.entropy, torch.full((2,), math.log(8)), tolerances.ENTROPY_FLOAT32)
    mu, sigma = supernet.layout.named(prior.mu), supernet.layout.named(prior.sigma)
    assert not prior.mu[supernet.head].any()
    for name, shape in zip(supernet.layout.names, supernet.layout.shapes, strict=True):
        if name.endswith("bn.weight"):
            assert (mu[name] == 1).all()
        elif name.endswith("bn.bias"):
            assert not mu[name].any()
        if len(shape) > 1:
            expected = torch.full(shape, 0.5 * 0.2 * math.sqrt(2 / math.prod(shape[1:])))
            assert_close(sigma[name] / expected, torch.ones(shape), tolerances.INVERSE_SOFTPLUS_FLOAT32)
    head = math.sqrt(2 / supernet.layout.shapes[-2][1])
    for name in ("classifier.bias", "stems.32.0.bn.weight", "stems.224.1.bn.bias"):
        assert_close(
            sigma[name] / (0.5 * 0.2 * head), torch.ones_like(sigma[name]), tolerances.INVERSE_SOFTPLUS_FLOAT32
        )


def test_prior_draws_as_he_initializes() -> None:
    supernet = Supernet(channels=16, layers=8)
    mu = supernet.layout.named(supernet.prior(KEY, mu_scale=1.0).mu)
    standard = torch.cat(
        [
            (weight * math.sqrt(math.prod(weight.shape[1:]) / 2)).flatten()
            for name, weight in mu.items()
            if weight.dim() == 4
        ]
    ).double()
    n = standard.numel()
    assert n > 1_800_000
    assert abs(standard.mean()) < tolerances.STANDARD_ERRORS / n**0.5
    assert abs(standard.std() - 1) < tolerances.STANDARD_ERRORS / (2 * n) ** 0.5


def test_prior_is_a_function_of_its_key() -> None:
    supernet = Supernet(channels=4, layers=3)
    prior, again = supernet.prior(KEY), supernet.prior(KEY.clone())
    other = supernet.prior(bf.random.fold_in(KEY, 0))
    assert torch.equal(prior.mu, again.mu)
    assert torch.equal(prior.rho, again.rho)
    assert not torch.equal(prior.mu, other.mu)
    assert torch.equal(prior.rho, other.rho)
    assert torch.equal(supernet.prior(KEY, sigma_scale=1.0).mu, prior.mu)
    double = supernet.prior(KEY, dtype=torch.float64)
    assert double.mu.dtype == double.rho.dtype == double.alpha.dtype == torch.float64
    assert torch.equal(double.mu, prior.mu.double())


def test_a_fresh_prior_classifies_at_chance() -> None:
    supernet = Supernet(channels=4, layers=3, num_classes=6)
    prior = supernet.prior(KEY)
    logits = supernet(images(2, 8, dtype=torch.float32), prior.mu, prior.probabilities)
    assert torch.equal(logits, torch.zeros(2, 6))


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": "dart"}, "space: no 'dart'; did you mean darts"),
        ({"channels": 0}, "channels: got 0, expected an integer from 1 to 100000"),
        ({"layers": 0}, "layers: got 0"),
        ({"num_classes": 0}, "num_classes: got 0"),
        ({"num_classes": 2.5}, "num_classes: got 2.5"),
        ({"stems": ("16",)}, r"stems: got \('16',\), expected different ones of 32, 64, 224"),
        ({"stems": ()}, r"stems: got \(\)"),
        ({"stems": ("32", "32")}, "stems: got"),
        ({"reductions": (8,)}, r"reductions: got \(8,\), expected indices below layers = 8"),
        ({"reductions": (-1,)}, r"reductions: got \(-1,\)"),
    ],
)
def test_construction_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Supernet(**arguments)  # type: ignore[arg-type]


def test_a_space_with_an_unknown_primitive_is_refused() -> None:
    with pytest.raises(InputError, match="^primitives: got 'conv_9x9'"):
        Supernet(replace(DARTS, primitives=("none", "conv_9x9")), channels=2, layers=1)


def test_call_errors() -> None:
    supernet = Supernet(channels=2, layers=1, stems=("32", "64"))
    theta, z = sample(supernet)
    x = images(2, 8)
    for arguments, message in [
        ((x[0], theta, z), r"x: got shape \(3, 8, 8\), expected images \(B, 3, H, W\)"),
        ((x[:, :1], theta, z), r"x: got shape \(2, 1, 8, 8\)"),
        ((x, theta[:-1], z), r"theta: got torch.float64 of shape \(\d+,\), expected torch.float64"),
        ((x, theta.float(), z), "theta: got torch.float32"),
        ((x, theta, z[:1]), r"z: got shape \(1, 14, 8\), expected \(2, 14, 8\)"),
        ((images(1, 200), theta, z), "resolution: got images of 200 pixels, which want stem '224'"),
    ]:
        with pytest.raises(InputError, match=f"^{message}"):
            supernet(*arguments)


@pytest.mark.parametrize("name", ["mu_scale", "sigma_scale"])
def test_prior_errors(name: str) -> None:
    for value in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match=f"^{name}: got {value}, expected a number > 0"):
            Supernet(channels=2, layers=1).prior(KEY, **{name: value})
