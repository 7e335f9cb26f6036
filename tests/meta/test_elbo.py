"""The negative ELBO and its terms against torch.distributions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Normal, RelaxedOneHotCategorical, kl_divergence
from torch.nn.functional import softplus

from base_fast import ops
from base_fast.meta import Elbo, InnerConfig, Variables, elbo
from base_fast.random import fold_in, key
from tests.meta import toys

NET = toys.supernet()
P = Variables.of(toys.prior(NET, 0))
Q = Variables.of(toys.prior(NET, 1))
X, Y = toys.task(key(2)).train.batch(key(3), 0, 8)
BOTH = InnerConfig(z="soft", beta_theta=0.3, beta_z=2.0)
TAU = 0.6


def at(config: InnerConfig, q: Variables = Q, p: Variables = P, k: int = 4, n: int = 50, noise: float = 1.0) -> Elbo:
    return elbo(NET, q, p, X.double(), Y, key(k), config, tau=TAU, noise=noise, dataset_size=n)


def sampled(q: Variables = Q, k: int = 4, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    theta = ops.gaussian_sample(q.mu, q.rho, fold_in(key(k), 0))
    return theta, ops.gumbel_softmax(q.alpha, fold_in(key(k), 1), TAU, False, noise)


def test_likelihood() -> None:
    terms = at(
        InnerConfig(
            z="soft",
            beta_z=0.0,
        )
    )
    logits = NET(X.double(), *sampled())
    torch.testing.assert_close(terms.nll, -Categorical(logits=logits).log_prob(Y).mean())
    assert terms.accuracy.item() == (logits.argmax(1) == Y).double().mean().item()
    assert torch.equal(terms.loss, terms.nll)
    assert terms.kl_theta.item() == terms.kl_z.item() == 0.0


def test_kl_terms_and_their_weights() -> None:
    terms = at(BOTH, n=50)
    of_theta = kl_divergence(Normal(Q.mu, softplus(Q.rho)), Normal(P.mu, softplus(P.rho))).sum()
    of_z = kl_divergence(Categorical(logits=Q.alpha), Categorical(logits=P.alpha)).sum()
    torch.testing.assert_close(terms.kl_theta, of_theta)
    torch.testing.assert_close(terms.kl_z, of_z)
    torch.testing.assert_close(terms.loss, terms.nll + 0.3 / 50 * of_theta + 2.0 / 50 * of_z)


def test_kl_is_divided_by_the_number_of_examples_and_not_the_likelihood() -> None:
    small, large = at(BOTH, n=10), at(BOTH, n=1000)
    assert torch.equal(small.nll, large.nll)
    torch.testing.assert_close((small.loss - small.nll) / (large.loss - large.nll), torch.tensor(100.0).double())


def test_all_kl_vanish_at_the_prior() -> None:
    copy = Variables(*(x.clone() for x in P))
    for kind in ("categorical", "concrete"):
        terms = at(replace(BOTH, kl_z=kind), copy, P)
        assert terms.kl_theta.item() == pytest.approx(0.0, abs=1e-12)
        assert terms.kl_z.item() == pytest.approx(0.0, abs=1e-12)


def test_concrete_log_ratio() -> None:
    config = replace(BOTH, kl_z="concrete")
    _, z = sampled()
    tau = torch.tensor(TAU, dtype=torch.float64)
    q, p = (RelaxedOneHotCategorical(tau, logits=v.alpha, validate_args=False) for v in (Q, P))
    terms = at(config)
    torch.testing.assert_close(terms.kl_z, (q.log_prob(z) - p.log_prob(z)).sum())
    torch.testing.assert_close(terms.loss, terms.nll + 0.3 / 50 * terms.kl_theta + 2.0 / 50 * terms.kl_z)


@pytest.mark.parametrize("tau", [1.0, 0.1, 0.01])
def test_concrete_log_ratio_is_exact_where_z_underflows(tau: float) -> None:
    """It is the same at all temperatures; in float32 at 0.01 most of z is zero."""
    phi, alpha = (4.0 * v.alpha for v in (Q, P))
    config = replace(BOTH, kl_z="concrete")

    def ratio(q: Variables, p: Variables, dtype: torch.dtype) -> Tensor:
        q, p = (Variables(*(x.to(dtype) for x in v)) for v in (q, p))
        return elbo(NET, q, p, X.to(dtype), Y, key(4), config, tau=tau, noise=1.0, dataset_size=50).kl_z

    q, p = Q._replace(alpha=phi), P._replace(alpha=alpha)
    one = torch.tensor(1.0, dtype=torch.float64)
    z = ops.gumbel_softmax(phi, fold_in(key(4), 1), 1.0)
    expected = [RelaxedOneHotCategorical(one, logits=l, validate_args=False).log_prob(z) for l in (phi, alpha)]
    torch.testing.assert_close(ratio(q, p, torch.float64), (expected[0] - expected[1]).sum())
    single = ratio(q, p, torch.float32)
    torch.testing.assert_close(single.double(), (expected[0] - expected[1]).sum(), rtol=1e-5, atol=1e-5)


def test_mean_of_the_concrete_log_ratio_is_positive_and_below_the_categorical_kl() -> None:
    """Of one edge, drawn 20,000 times: a divergence, though single draws may be negative.

    z is a function of φ + ξ, and so is the category argmax_l (φ + ξ)_l, which is a function of z: by the data
    processing inequality the Concrete divergence is the larger of the two.
    """
    count = 20_000
    phi, alpha = Q.alpha[0, 0].expand(count, -1), P.alpha[0, 0].expand(count, -1)
    z = ops.gumbel_softmax(phi, key(9), TAU)
    q, p = (
        RelaxedOneHotCategorical(torch.tensor(TAU), logits=l, validate_args=False).log_prob(z) for l in (phi, alpha)
    )
    ratio = q - p
    error = ratio.std().item() / math.sqrt(count)
    categorical = kl_divergence(Categorical(logits=phi[0]), Categorical(logits=alpha[0])).item()
    assert ratio.min().item() < 0.0
    assert ratio.mean().item() > categorical - 3 * error
    assert ratio.mean().item() > 5 * error


def test_without_sampling_the_weights_are_the_means() -> None:
    terms = at(InnerConfig(z="soft", beta_z=0.0, sample_theta=False), noise=0.0)
    logits = NET(X.double(), Q.mu, torch.softmax(Q.alpha / TAU, dim=-1))
    torch.testing.assert_close(terms.nll, -Categorical(logits=logits).log_prob(Y).mean())
    # The key no longer matters.
    assert torch.equal(terms.nll, at(InnerConfig(z="soft", beta_z=0.0, sample_theta=False), noise=0.0, k=77).nll)


def test_noise_is_a_function_of_the_key() -> None:
    assert torch.equal(at(BOTH).loss, at(BOTH).loss)
    assert not torch.equal(at(BOTH).loss, at(BOTH, k=5).loss)


def test_hard_samples_run_one_primitive_and_have_gradients() -> None:
    phi = Q.alpha.clone().requires_grad_()
    # With this key no edge draws `none`, behind which there would be no gradient.
    terms = at(
        InnerConfig(
            z="hard",
            beta_z=0.0,
        ),
        Q._replace(alpha=phi),
        k=6,
    )
    theta, soft = sampled(k=6)
    assert bool((soft.argmax(-1) > 0).all())
    one_hot = torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).double()
    torch.testing.assert_close(terms.nll, -Categorical(logits=NET(X.double(), theta, one_hot)).log_prob(Y).mean())
    (gradient,) = torch.autograd.grad(terms.loss, phi)
    assert gradient.abs().max().item() > 1e-6
    assert not torch.equal(
        terms.nll,
        at(
            InnerConfig(
                z="soft",
                beta_z=0.0,
            ),
            k=6,
        ).nll,
    )


def test_the_kl_of_weights_does_not_depend_on_their_being_sampled() -> None:
    """One op gives both, another the divergence alone."""
    torch.testing.assert_close(at(replace(BOTH, sample_theta=False)).kl_theta, at(BOTH).kl_theta)
    assert torch.equal(
        at(BOTH).nll,
        at(
            InnerConfig(
                z="soft",
                beta_z=0.0,
            )
        ).nll,
    )


def test_hard_samples_have_the_density_of_the_soft_ones_beneath() -> None:
    config = replace(BOTH, kl_z="concrete")
    assert torch.equal(at(replace(config, z="hard")).kl_z, at(config).kl_z)


def test_differentiable_in_posterior_and_prior() -> None:
    q, p = Q.leaves(), P.leaves()
    gradients = torch.autograd.grad(at(BOTH, q, p).loss, [*q, *p])
    assert all(g.abs().max().item() > 1e-8 for g in gradients)
