"""A model of Bayesian layers: keys and replay, KL, priors, torch.compile, activation checkpointing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import base_fast as bf
from base_fast.errors import InputError
from base_fast.nn import BayesianLayer, BayesianLinear
from tests import tolerances
from tests.nn.bayesian_toys import KEY, X, equal, gradients, model
from tests.tolerances import assert_close


def test_training_passes_differ_and_repeat_from_their_key():
    net = model()
    bf.nn.seed(net, KEY)
    first, second = net(X), net(X)
    assert not torch.equal(first, second)
    assert not torch.equal(first, net.eval()(X))
    bf.nn.seed(net.train(), KEY)
    assert torch.equal(net(X), first)
    assert torch.equal(net(X), second)


def test_a_saved_model_goes_on_where_it_was():
    net = model()
    net(X)
    state = copy.deepcopy(net.state_dict())
    expected = net(X)
    fresh = model()
    assert not torch.equal(fresh(X), expected)
    fresh.load_state_dict(state)
    assert torch.equal(fresh(X), expected)


def test_layers_and_models_differ():
    def noise(layer: BayesianLayer) -> Tensor:
        with torch.no_grad():
            return (layer.sample(layer.key)[0] - layer.weight_mu).flatten()

    left, right = BayesianLinear(8, 8), BayesianLinear(8, 8)
    assert not torch.equal(noise(left), noise(right))
    both = nn.ModuleList([left, right])
    bf.nn.seed(both, KEY)
    assert torch.equal(left.key, bf.random.fold_in(KEY, 0))
    assert torch.equal(right.key, bf.random.fold_in(KEY, 1))
    assert abs(torch.corrcoef(torch.stack([noise(left), noise(right)]))[0, 1]) < tolerances.STANDARD_ERRORS / 8


def test_torch_manual_seed_repeats_a_construction():
    torch.manual_seed(5)
    expected = model()(X)
    torch.manual_seed(5)
    assert torch.equal(model()(X), expected)


def test_copies_draw_alike_until_seeded():
    net = model()
    twin = copy.deepcopy(net)
    assert torch.equal(net(X), twin(X))
    bf.nn.seed(twin, KEY)
    assert not torch.equal(net(X), twin(X))


def test_sampled_draws_a_model_in_any_mode():
    net = model().eval()
    mean = net(X)
    keys = [layer.key.clone() for layer in net if isinstance(layer, BayesianLayer)]
    with bf.nn.sampled(net, KEY):
        draw = net(X)
        assert torch.equal(net(X), draw)
        with bf.nn.sampled(net[0], bf.random.key(1)):
            assert not torch.equal(net(X), draw)
        assert torch.equal(net.train()(X), draw)
    assert not torch.equal(draw, mean)
    assert torch.equal(net.eval()(X), mean)
    assert equal([layer.key for layer in net if isinstance(layer, BayesianLayer)], keys)
    bf.nn.seed(net, KEY)
    assert torch.equal(net.train()(X), draw)


def test_sampled_ends_with_an_exception():
    net = model().eval()
    mean = net(X)
    with pytest.raises(ZeroDivisionError), bf.nn.sampled(net, KEY), bf.nn.collect_kl(net):
        _ = 1 / 0
    assert torch.equal(net(X), mean)
    assert net[0]._kls is None


def test_a_shared_layer_counts_once():
    layer = BayesianLinear(4, 4)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert torch.equal(bf.nn.kl(net, dataset_size=1), layer.kl())
    with bf.nn.collect_kl(net) as kl:
        net(torch.ones(1, 4))
    assert [len(kls) for _, kls in kl.found] == [1]
    assert torch.equal(kl(dataset_size=1), layer.sample_kl(KEY)[2])


def test_kl_of_a_model_is_per_example():
    net = model(dtype=torch.float64)
    layers = [layer for layer in net if isinstance(layer, BayesianLayer)]
    assert_close(bf.nn.kl(net, dataset_size=50), sum(layer.kl() for layer in layers) / 50, tolerances.FLOAT64)


def test_collected_kl_is_the_kl():
    net = model(dtype=torch.float64)
    x = X.double()
    with bf.nn.sampled(net, KEY):
        (net(x).square().sum() + bf.nn.kl(net, dataset_size=10)).backward()
    expected = [bf.nn.kl(net, dataset_size=10), *gradients(net)]
    net.zero_grad()
    with bf.nn.sampled(net, KEY), bf.nn.collect_kl(net) as kl:
        y = net(x)
    (y.square().sum() + kl(dataset_size=10)).backward()
    for a, b in zip([kl(dataset_size=10), *gradients(net)], expected, strict=True):
        # Two kernels draw the noise, in float32.
        assert_close(a, b, tolerances.GAUSSIAN_SAMPLE_FLOAT32)
    assert all(layer._kls is None for layer in net if isinstance(layer, BayesianLayer))


def test_layers_that_draw_nothing_are_collected_too():
    net = model()
    with bf.nn.collect_kl(net) as kl:
        net.eval()(X)
    assert torch.equal(kl(dataset_size=10), bf.nn.kl(net, dataset_size=10))


def test_the_posterior_of_one_task_is_the_prior_of_the_next():
    net = model()
    bf.nn.set_prior(net, net)
    assert bf.nn.kl(net, dataset_size=1).abs() < 1e-4
    assert "prior=per weight" in repr(net[0])
    previous = copy.deepcopy(net)
    with torch.no_grad():
        net[3].weight_mu += 1.0
    assert torch.equal(net[3].weight_prior_mu, previous[3].weight_mu)
    assert bf.nn.kl(net, dataset_size=1) > 1.0
    other = model()
    bf.nn.set_prior(other, net)
    assert torch.equal(other[3].weight_prior_mu, net[3].weight_mu)


def test_priors_are_saved_whatever_their_shape():
    net, fresh = model(), model()
    bf.nn.set_prior(net, model())
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh[0].weight_prior_rho, net[0].weight_prior_rho)
    scalar = model(prior_sigma=0.1)
    fresh.load_state_dict(scalar.state_dict())
    assert fresh[0].weight_prior_rho.shape == (1,)
    assert torch.equal(fresh[0].kl(), scalar[0].kl())
    state = net.state_dict()
    state["0.weight_prior_mu"] = torch.zeros(5)
    with pytest.raises(RuntimeError, match="size mismatch for 0.weight_prior_mu"):
        fresh.load_state_dict(state)


def test_compiled_it_is_the_same():
    net = model()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    results = []
    for run in (net, compiled):
        net.zero_grad()
        bf.nn.seed(net, KEY)
        run(X)
        with bf.nn.collect_kl(net) as kl:
            y = run(X)
        (y.sum() + kl(dataset_size=10)).backward()
        with bf.nn.sampled(net, KEY):
            drawn = run(X)
        results.append([y, kl(dataset_size=10), drawn, *gradients(net), net[0].key.clone()])
    assert equal(*results)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_with_the_own_key_is_refused(compiled, use_reentrant):
    net, x = model(), X.clone().requires_grad_()
    block = torch.compile(net, fullgraph=True, backend="aot_eager") if compiled else net
    y = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=use_reentrant)
    with pytest.raises(InputError, match="^key: got None in a recomputation by activation checkpointing"):
        y.sum().backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_checkpointing_with_a_key_gives_the_gradients_without(compiled):
    net, x = model(), X.clone().requires_grad_()
    block = torch.compile(net, fullgraph=True, backend="aot_eager") if compiled else net
    with bf.nn.sampled(net, KEY):
        y = net(x)
    y.sum().backward()
    expected = [y, *gradients(net), x.grad.clone()]
    net.zero_grad()
    x.grad = None
    y = torch.utils.checkpoint.checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (bf.nn.sampled(net, KEY), bf.nn.sampled(net, KEY))
    )
    y.sum().backward()
    assert equal(expected, [y, *gradients(net), x.grad])


def test_it_learns():
    torch.manual_seed(0)
    x = torch.randn(64, 4)
    y = x @ torch.tensor([1.0, -2.0, 0.5, 0.0])
    net = nn.Sequential(BayesianLinear(4, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    bf.nn.seed(net, KEY)
    losses = []
    for _ in range(150):
        with bf.nn.collect_kl(net) as kl:
            loss = (net(x) - y).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        (loss + kl(dataset_size=64)).backward()
        optimizer.step()
    assert sum(losses[-10:]) < 0.1 * sum(losses[:10])


def test_the_size_of_the_data_set_is_asked_for():
    with pytest.raises(TypeError, match="dataset_size"):
        bf.nn.kl(model())
