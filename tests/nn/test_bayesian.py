"""A Bayesian layer against the plain one, the ops and torch.distributions, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

import base_fast as bf
from base_fast.nn import BayesianConv2d, BayesianLinear
from tests import tolerances
from tests.nn.bayesian_toys import KEY, both_layers, equal, every_layer, expected_kl, model
from tests.tolerances import assert_close


@every_layer
def test_means_start_as_the_plain_layer_does(plain, ours, shape):
    torch.manual_seed(3)
    expected = plain()
    torch.manual_seed(3)
    layer = ours()
    assert torch.equal(layer.weight_mu, expected.weight)
    assert (layer.bias_mu is None) == (expected.bias is None)
    if expected.bias is not None:
        assert torch.equal(layer.bias_mu, expected.bias)


@every_layer
def test_in_eval_it_is_the_plain_layer_of_the_means(plain, ours, shape):
    layer, x = ours().eval(), torch.randn(shape)
    key = layer.key.clone()
    assert torch.equal(layer(x), layer.mean_layer()(x))
    assert torch.equal(layer.key, key)


@every_layer
def test_weights_move_both_ways(plain, ours, shape):
    original = plain(dtype=torch.float64).eval()
    convert = BayesianLinear.from_linear if isinstance(original, nn.Linear) else BayesianConv2d.from_conv2d
    layer = convert(original, prior_sigma=0.5, sigma_scale=0.2)
    back = layer.mean_layer()
    assert repr(back) == repr(original)
    assert back.training is layer.training is False
    assert layer.weight_mu.data_ptr() != original.weight.data_ptr()
    for name, value in original.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
        assert value.dtype == torch.float64
    assert (layer.prior_sigma, layer.sigma_scale) == (0.5, 0.2)


@every_layer
def test_a_draw_is_that_of_the_op(plain, ours, shape):
    layer, x, key = ours(dtype=torch.float64), torch.randn(shape, dtype=torch.float64), torch.tensor([11, 5])
    reference = layer.mean_layer()
    with torch.no_grad():
        # The bias takes the blocks of four words that follow the weight's.
        behind = torch.tensor([11, 5 + (layer.weight_mu.numel() + 3) // 4])
        for name, k in (("weight", key), ("bias", behind)):
            value = reference.get_parameter(name) if getattr(reference, name) is not None else None
            if value is not None:
                mu, rho = (getattr(layer, f"{name}_{part}") for part in ("mu", "rho"))
                value.copy_(bf.ops.gaussian_sample(mu.flatten(), rho.flatten(), k).view(mu.shape))
    assert torch.equal(layer(x, key), reference(x))
    weight, bias = layer.sample(key)
    assert torch.equal(weight, reference.weight)
    assert (bias is None) == (reference.bias is None)
    fused_weight, fused_bias, kl = layer.sample_kl(key)
    assert_close(fused_weight, weight, tolerances.GAUSSIAN_SAMPLE_FLOAT32)
    if bias is not None:
        assert_close(fused_bias, bias, tolerances.GAUSSIAN_SAMPLE_FLOAT32)
    assert_close(kl, layer.kl(), tolerances.FLOAT64)


@both_layers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dtypes(plain, ours, shape, dtype):
    layer, x = ours().to(dtype), torch.randn(shape, dtype=dtype, requires_grad=True)
    assert layer.key.dtype == torch.int64
    with bf.nn.collect_kl(layer) as kl:
        y = layer(x)
    (y.sum() + kl(dataset_size=10)).backward()
    assert y.dtype == dtype and kl(dataset_size=10).dtype == dtype
    assert all(p.grad.dtype == dtype and p.grad.isfinite().all() for p in [x, *layer.parameters()])


@both_layers
def test_gradients_are_right(plain, ours, shape):
    layer = ours(dtype=torch.float64, sigma_scale=1.0)
    values = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}
    x = torch.randn(shape[0], *shape[1:], dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(values, parameters, strict=True))
        with bf.nn.collect_kl(layer) as kl:
            return functional_call(layer, given, (x, KEY)), kl(dataset_size=3)

    # In fast mode: the Jacobian along random directions.
    assert torch.autograd.gradcheck(run, (x, *values.values()), fast_mode=True)


@both_layers
def test_without_spread_it_is_the_plain_layer(plain, ours, shape):
    layer, x = ours(), torch.randn(shape)
    for rho in (layer.weight_rho, layer.bias_rho):
        nn.init.constant_(rho, -float("inf"))
    assert torch.equal(layer(x), layer.mean_layer()(x))


def test_moments_of_an_output():
    rows = 20_000
    layer = BayesianLinear(3, rows, dtype=torch.float64, sigma_scale=1.0)
    x = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    bf.nn.seed(layer, KEY)
    deviation = (layer(x) - layer.eval()(x)).detach()
    sigma = softplus(layer.weight_rho[0, 0]).item()
    variance = sigma**2 * (x.square().sum().item() + 1.0)  # the 1 is the bias's
    assert deviation.mean().abs() < tolerances.STANDARD_ERRORS * (variance / rows) ** 0.5
    assert (deviation.var() / variance - 1).abs() < tolerances.STANDARD_ERRORS * (2 / rows) ** 0.5


def test_initial_sigma():
    layer = BayesianConv2d(4, 6, 3, sigma_scale=0.25)
    for rho in (layer.weight_rho, layer.bias_rho):
        expected = torch.full_like(rho, 0.25 / (3 * 36) ** 0.5)
        assert_close(softplus(rho) / expected, torch.ones_like(rho), tolerances.INVERSE_SOFTPLUS_FLOAT32)


def test_the_own_key_passes_over_the_blocks_of_weight_and_bias():
    layer = BayesianLinear(5, 3)  # 15 + 3 elements
    layer(torch.zeros(5))
    assert layer.key[1] == 4 + 1
    layer = BayesianLinear(4, 2, bias=False)
    layer(torch.zeros(4))
    assert layer.key[1] == 2


@both_layers
def test_a_given_key_repeats_and_leaves_the_own_alone(plain, ours, shape):
    layer, x = ours(), torch.randn(shape)
    key = layer.key.clone()
    y = layer(x, key=KEY)
    assert torch.equal(layer.eval()(x, key=KEY), y)
    assert not torch.equal(layer(x, key=bf.random.key(8)), y)
    assert torch.equal(layer.key, key)
    assert torch.equal(KEY, bf.random.key(7))


@every_layer
def test_kl_is_that_of_torch_distributions(plain, ours, shape):
    layer = ours(dtype=torch.float64, prior_mu=0.1, prior_sigma=0.3)
    assert_close(layer.kl().detach(), expected_kl(layer), tolerances.FLOAT64)
    other = ours(dtype=torch.float64)
    layer.set_prior(other)
    assert_close(layer.kl().detach(), expected_kl(layer), tolerances.FLOAT64)


def test_scalar_priors():
    layer = BayesianLinear(2, 2, dtype=torch.float64, prior_mu=0.25, prior_sigma=0.5)
    for name in ("weight", "bias"):
        assert layer.get_buffer(f"{name}_prior_mu").tolist() == [0.25]
        assert_close(softplus(layer.get_buffer(f"{name}_prior_rho")), torch.tensor([0.5]).double(), tolerances.FLOAT64)
    assert "prior_mu=0.25, prior_sigma=0.5" in repr(layer)


@both_layers
def test_nothing_drawn_is_stored_but_the_weights_in_use(plain, ours, shape):
    layer, x = ours(), torch.randn(shape)
    saved: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        saved[t.untyped_storage().data_ptr()] = t.numel()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        layer(x)
    used = x.numel() + 2 * sum(p.numel() for p in (layer.weight_rho, layer.bias_rho))  # x, ρ, θ
    assert sum(saved.values()) <= used + 2 * layer.key.numel()


@pytest.mark.parametrize("channels_last_weights", [False, True])
def test_channels_last(channels_last_weights):
    layer, x = BayesianConv2d(4, 6, 3, dtype=torch.float64), torch.randn(2, 4, 6, 5, dtype=torch.float64)
    expected = layer(x, KEY)
    if channels_last_weights:
        layer = layer.to(memory_format=torch.channels_last)
    found = layer(x.to(memory_format=torch.channels_last), KEY)
    assert_close(found, expected, tolerances.EDGE_FLOAT64)
    assert_close(layer.kl().detach(), expected_kl(layer), tolerances.FLOAT64)


@both_layers
def test_checkpointing_a_layer_with_its_key(plain, ours, shape):
    layer, x = ours(), torch.randn(shape, requires_grad=True)
    expected = torch.autograd.grad(layer(x, KEY).square().sum(), [x, *layer.parameters()])
    y = torch.utils.checkpoint.checkpoint(layer, x, KEY, use_reentrant=False)
    found = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
    assert equal(list(found), list(expected))


def test_a_layer_made_without_storage_starts_like_any():
    layer = BayesianLinear(4, 3, device="meta", prior_sigma=0.5)
    assert layer(torch.zeros(2, 4, device="meta")).shape == (2, 3)
    layer = layer.to_empty(device="cpu")
    torch.manual_seed(1)
    layer.reset_parameters()
    torch.manual_seed(1)
    expected = BayesianLinear(4, 3, prior_sigma=0.5)
    assert equal(list(layer.state_dict().values()), list(expected.state_dict().values()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BayesianLinear(0, 3), r"in_features: got 0, expected an integer ≥ 1"),
        (lambda: BayesianLinear(3, -1), r"out_features: got -1, expected an integer ≥ 1"),
        (lambda: BayesianConv2d(0, 3, 3), r"in_channels: got 0, expected an integer ≥ 1"),
        (lambda: BayesianConv2d(4, 6, 3, groups=4), r"out_channels must be divisible by groups"),
        (lambda: BayesianConv2d(4, 4, 3, padding_mode="mirror"), r"padding_mode must be one of"),
        (lambda: BayesianLinear(2, 2, prior_mu=float("nan")), r"prior_mu: got nan, expected a finite number"),
        (lambda: BayesianLinear(2, 2, prior_sigma=0.0), r"prior_sigma: got 0.0, expected a finite number > 0"),
        (lambda: BayesianLinear(2, 2, sigma_scale=float("inf")), r"sigma_scale: got inf, expected a finite number > 0"),
        (lambda: BayesianLinear(2, 2)(torch.zeros(2, 3)), r"x: got shape \(2, 3\), expected \(..., 2\)"),
        (lambda: BayesianConv2d(2, 2, 3)(torch.zeros(2, 2)), r"x: got shape \(2, 2\), expected \(B, 2, H, W\)"),
        (lambda: BayesianLinear(2, 2)(torch.zeros(2), torch.zeros(2)), r"key: got float32 tensor of shape \(2,\)"),
        (lambda: BayesianLinear(2, 2).set_prior(nn.Linear(2, 2)), r"other: got Linear, expected a Bayesian layer"),
        (
            lambda: BayesianLinear(2, 2).set_prior(BayesianLinear(2, 2, bias=False)),
            r"other: got a layer with \{'weight': \(2, 2\)\}, expected \{'weight': \(2, 2\), 'bias': \(2,\)\}",
        ),
        (lambda: bf.nn.set_prior(model(), nn.Sequential()), r"other: it has no Bayesian layer '0'"),
        (lambda: bf.nn.set_prior(nn.Linear(2, 2), model()), r"model: got Linear without a Bayesian layer"),
        (lambda: bf.nn.seed(nn.Linear(2, 2), KEY), r"model: got Linear without a Bayesian layer"),
        (lambda: bf.nn.kl(model(), dataset_size=0), r"dataset_size: got 0, expected an integer ≥ 1"),
        (lambda: bf.nn.kl(model(), dataset_size=1.5), r"dataset_size: got 1.5, expected an integer"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
