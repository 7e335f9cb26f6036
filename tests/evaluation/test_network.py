"""The derived network beyond the published sizes: odd sizes, drop path, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from base_fast.errors import InputError
from base_fast.evaluation import Network, initialize
from base_fast.evaluation.cells import drop_path
from base_fast.evaluation.primitives import FactorizedReduce, Skip, build
from base_fast.random import key
from base_fast.space import DARTS, NAS_BENCH_201, PRIMITIVES, Genotype, genotypes


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (7, 8), (9, 9)])
@pytest.mark.parametrize("primitive", sorted(PRIMITIVES))
def test_every_primitive_keeps_or_halves_any_size(primitive: str, size: tuple[int, int], stride: int) -> None:
    x = torch.randn(2, 5, *size, generator=torch.Generator().manual_seed(0))
    out = build(primitive, 5, stride).eval()(x)
    assert out.shape == (2, 5, -(-size[0] // stride), -(-size[1] // stride))
    assert bool(out.isfinite().all())
    assert primitive != "none" or not out.any()


def test_factorized_reduce_of_an_odd_size_pads_with_zeros() -> None:
    x = torch.randn(1, 4, 7, 5, generator=torch.Generator().manual_seed(1))
    module = FactorizedReduce(4, 5).eval()
    padded = nn.functional.pad(x, (0, 1, 0, 1))
    torch.testing.assert_close(module(x), module(padded), rtol=0, atol=0)


@pytest.mark.parametrize("resolution", [8, 9, 13, 32, 33, 64])
@pytest.mark.parametrize("skeleton", ["cifar", "imagenet", "nas_bench_201"])
def test_any_resolution(skeleton: str, resolution: int) -> None:
    space = NAS_BENCH_201 if skeleton == "nas_bench_201" else DARTS
    network = Network(Genotype.random(space, seed=3), 3, 5, 7, skeleton)
    x = torch.randn(2, 3, resolution, resolution)
    logits = network(x)
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert network.eval()(x).shape == (2, 7)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_few_layers(layers: int) -> None:
    network = Network(genotypes.DARTS_V1, 4, layers, 5, auxiliary=True)
    logits, auxiliary = network(torch.randn(2, 3, 32, 32))
    assert logits.shape == auxiliary.shape == (2, 5)


@pytest.mark.parametrize(("skeleton", "resolution"), [("cifar", 64), ("imagenet", 256)])
def test_auxiliary_head_averages_larger_maps(skeleton: str, resolution: int) -> None:
    network = Network(genotypes.BASE_CIFAR_TUNED, 4, 3, 5, skeleton, auxiliary=True)
    logits, auxiliary = network(torch.randn(2, 3, resolution, resolution))
    assert logits.shape == auxiliary.shape == (2, 5)
    assert network.eval()(torch.randn(1, 3, 8, 8)).shape == (1, 5)


@pytest.mark.parametrize(("skeleton", "smallest"), [("cifar", 29), ("imagenet", 193)])
def test_auxiliary_head_names_a_map_that_is_too_small(skeleton: str, smallest: int) -> None:
    network = Network(genotypes.DARTS_V2, 2, 3, 5, skeleton, auxiliary=True)
    network(torch.randn(2, 3, smallest, smallest))
    with pytest.raises(InputError, match="auxiliary: got a map of"):
        network(torch.randn(2, 3, smallest - 1, smallest - 1))


def test_drop_path_drops_whole_samples_in_training_only() -> None:
    x = torch.ones(1000, 2, 3, 3)
    op = nn.MaxPool2d(3)
    torch.manual_seed(0)
    dropped = drop_path(op, x, 0.25)
    values = dropped.flatten(1)
    assert bool((values == values[:, :1]).all())
    assert sorted(set(values[:, 0].tolist())) == [0.0, pytest.approx(1 / 0.75)]
    # 1000 samples: the standard deviation of the share is 0.014.
    assert float((values[:, 0] == 0).double().mean()) == pytest.approx(0.25, abs=0.06)
    assert drop_path(op.eval(), x, 0.25) is x
    assert drop_path(Skip(), x, 0.25) is x


def test_drop_path_can_be_set_between_steps() -> None:
    network = Network(genotypes.DARTS_V2, 4, 3, 5)
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(network(x), network(x))
    network.drop_path = 0.5
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    with pytest.raises(InputError, match=r"drop_path: got 1\.0"):
        network.drop_path = 1.0


def test_auxiliary_parameters_say_so_in_their_names() -> None:
    with_head, without = (Network(genotypes.DARTS_V2, 4, 3, 5, auxiliary=a).state_dict() for a in (True, False))
    assert {name for name in with_head if "auxiliary" not in name} == set(without)
    assert set(with_head) > set(without)


def test_initialize_depends_on_the_key_alone() -> None:
    networks = [Network(genotypes.DARTS_V1, 4, 3, 5) for _ in range(3)]
    before = torch.get_rng_state()
    for network, seed in zip(networks, (5, 5, 6), strict=True):
        network.get_buffer("stem.1.running_mean").fill_(3.0)
        assert initialize(network, key(seed)) is network
    assert torch.equal(before, torch.get_rng_state())
    first, second, other = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    assert not first["stem.1.running_mean"].any()


NAS_BENCH = Genotype.random(NAS_BENCH_201, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((genotypes.DARTS_V2, 1, 5, 10), "channels: got 1, expected an integer from 2 to 100000"),
        ((genotypes.DARTS_V2, 16.0, 5, 10), "channels: got 16.0"),
        ((genotypes.DARTS_V2, 16, 0, 10), "layers: got 0"),
        ((genotypes.DARTS_V2, 16, 5, 0), "num_classes: got 0"),
        ((genotypes.DARTS_V2, 16, 5, 10, "resnet"), "skeleton: got 'resnet', expected one of cifar"),
        (("DARTS_V2", 16, 5, 10), "genotype: got str"),
        ((Genotype([("swish", 0), ("none", 1)], [2], [("none", 0), ("none", 1)], [2]), 16, 5, 10), "swish"),
        ((NAS_BENCH, 16, 5, 10), "genotype: got a NAS-Bench-201 genotype"),
        ((genotypes.DARTS_V2, 16, 5, 10, "nas_bench_201"), "genotype: got a DARTS genotype"),
        ((NAS_BENCH, 16, 6, 10, "nas_bench_201"), "layers: got 6"),
        ((NAS_BENCH, 16, 5, 10, "nas_bench_201", True), "auxiliary: got True"),
        ((genotypes.DARTS_V2, 16, 5, 10, "cifar", False, -0.1), "drop_path: got -0.1"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError) as error:
        Network(*arguments)  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 32, 32), "x: got shape (3, 32, 32), expected (B, 3, H, W)"),
        (torch.zeros(1, 1, 32, 32), "x: got shape (1, 1, 32, 32)"),
        (torch.zeros(0, 3, 32, 32), "x: got shape (0, 3, 32, 32)"),
        (
            torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
            "x: got dtype torch.uint8, expected the parameters' torch.float32",
        ),
        (torch.zeros(1, 3, 32, 32, device="meta"), "x: got device meta, expected the parameters' cpu"),
    ],
)
def test_bad_images_are_named_in_one_line(x: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError) as error:
        Network(genotypes.DARTS_V2, 4, 3, 5)(x)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_autocast_takes_reduced_precision() -> None:
    network = Network(genotypes.DARTS_V2, 4, 3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(torch.randn(2, 3, 8, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("training", [False, True])
def test_a_network_is_one_graph(training: bool) -> None:
    network = Network(genotypes.DARTS_V2, 4, 3, 5).train(training)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), network(x), rtol=0.0, atol=0.0)
