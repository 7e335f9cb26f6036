"""bf.nn.patch: the patched network is the same network, and what cannot be patched is left alone and named."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import base_fast as bf
from base_fast.errors import InputError
from base_fast.nn import FusedEdge, PatchReport, patch
from base_fast.nn.fused_edge import Fusion
from benchmarks.plain_darts import NAS_BENCH_201_PRIMITIVES, PRIMITIVES, PlainDarts, PlainMixedOp
from tests import tolerances
from tests.nn.search_network import Identity, Mixed, SearchNetwork, Zero, depthwise, norm
from tests.tolerances import assert_close

ROOT = Path(__file__).resolve().parents[2]
IMAGES, LABELS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2])


def patched(model: nn.Module, **probe: int) -> PatchReport:
    """Without the warning, on a small probe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return patch(model, **{"batch_size": 2, "resolution": 4, **probe})


def network() -> SearchNetwork:
    torch.manual_seed(0)
    return SearchNetwork()


def container(edge: nn.Module) -> nn.Module:
    return nn.ModuleDict({"edge": edge})


def result(model: SearchNetwork, dtype: torch.dtype) -> list[Tensor]:
    """Logits and all gradients."""
    leaves = [*model.parameters(), *model.alphas]
    logits = model(IMAGES.to(dtype))
    return [logits, *torch.autograd.grad(cross_entropy(logits, LABELS), leaves)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, tolerances.SUPERNET_FLOAT64), (torch.float32, tolerances.SUPERNET_FLOAT32)],
)
def test_outputs_and_gradients_stay(dtype: torch.dtype, tolerance: float) -> None:
    model = network().to(dtype)
    model.alphas = [a.detach().to(dtype).requires_grad_() for a in model.alphas]
    before = result(model, dtype)
    report = patched(model)
    assert [edge.name for edge in report.edges] == [f"cells.{i}._ops.{j}" for i in range(2) for j in range(3)]
    assert all(isinstance(edge, FusedEdge) for cell in model.cells for edge in cell._ops)
    assert all(isinstance(edge, Mixed) for cell in model.cells for edge in cell._ops)
    for found, expected in zip(result(model, dtype), before, strict=True):
        assert_close(found, expected, tolerance)


def test_the_benchmarks_network() -> None:
    torch.manual_seed(0)
    model = PlainDarts(4, 3, 5).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    z = torch.randn(2, 14, 8, dtype=torch.float64).softmax(-1)
    before = model(x, z)
    with warnings.catch_warnings():
        # No running statistics, no warning.
        warnings.simplefilter("error")
        report = patch(model, batch_size=2, resolution=4)
    assert len(report.edges) == 42
    assert report.running == 0
    assert_close(model(x, z), before, tolerances.SUPERNET_FLOAT64)


def test_parameters_stay_the_same_objects_in_order() -> None:
    model = network()
    model.cells[0]._ops[1].requires_grad_(False)
    before = list(model.named_parameters())
    patched(model)
    after = list(model.named_parameters())
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(a is b for (_, a), (_, b) in zip(after, before, strict=True))
    assert "cells.1._ops.2._ops.4.op.1.weight" in model.state_dict()
    assert not model.cells[0]._ops[1].get_parameter("_ops.4.op.1.weight").requires_grad


def test_a_training_goes_on_as_if_nothing_had_happened() -> None:
    def train(patch_after: int | None) -> list[float]:
        model = network()
        optimizer = torch.optim.SGD([*model.parameters(), *model.alphas], lr=0.05, momentum=0.9)
        losses = []
        for step in range(8):
            if step == patch_after:
                patched(model)
            optimizer.zero_grad()
            loss = cross_entropy(model(IMAGES), LABELS)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    plain, fused = train(None), train(4)
    assert fused == pytest.approx(plain, rel=1e-3)
    assert plain[-1] < plain[0]


def test_the_probe_leaves_everything_alone() -> None:
    model = network()
    state = copy.deepcopy(model.state_dict())
    model.get_parameter("classifier.weight").grad = torch.ones(3, 16)
    patched(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["classifier.weight"]


def test_the_probe_draws_nothing_from_the_global_generator() -> None:
    # In a process of its own: in this one, threads that other tests have started may draw at the same time.
    code = (
        "import torch; from tests.nn.test_patch import network, patched\n"
        "model = network(); before = torch.get_rng_state(); patched(model)\n"
        "assert torch.equal(torch.get_rng_state(), before)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def test_eval_uses_the_statistics_of_the_batch_and_says_so() -> None:
    model = network().eval()
    with pytest.warns(UserWarning, match=r"running statistics of 50 batch norms .* in eval\(\) fused edges still"):
        report = patch(model, batch_size=2, resolution=4)
    assert report.running == 50
    assert "in eval() fused edges still normalize by the statistics of the batch" in str(report)
    edge = model.cells[0]._ops[0]
    assert not edge.training
    x, z = torch.randn(4, 4, 6, 6), torch.full((8,), 0.125)
    assert torch.equal(edge(x, z), edge.train()(x, z))


def test_state_dicts_move_both_ways() -> None:
    old, new = network(), network()
    before = copy.deepcopy(old.state_dict())
    patched(new)
    new.load_state_dict({name: value + 1 for name, value in before.items()})
    gone = set(before) - set(new.state_dict())
    assert {name.rpartition(".")[2] for name in gone} == {"running_mean", "running_var", "num_batches_tracked"}
    assert "stem.1.running_mean" in new.state_dict()
    for name, value in new.state_dict().items():
        assert torch.equal(value, before[name] + 1)
    missing, unexpected = old.load_state_dict(new.state_dict(), strict=False)
    assert ({*missing}, unexpected) == (gone, [])
    assert "cells.0._ops.0._ops.1.1.running_mean" in before  # load_state_dict left the caller's dictionary alone
    with pytest.raises(RuntimeError, match=r"Unexpected key.*_ops\.9"):
        new.load_state_dict({**new.state_dict(), "cells.0._ops.0._ops.9.op.1.weight": torch.zeros(1)})


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "primitives",
    [
        tuple(reversed(PRIMITIVES)),
        NAS_BENCH_201_PRIMITIVES,
        ("max_pool_3x3",),
        ("sep_conv_7x7", "skip_connect"),
        ("skip_connect", "none", "nor_conv_1x1", "skip_connect"),
    ],
    ids=",".join,
)
def test_primitives_are_recognized_by_their_layers(primitives: tuple[str, ...], stride: int) -> None:
    model = container(PlainMixedOp(6, stride, primitives))
    (edge,) = patched(model).edges
    assert (edge.name, edge.channels, edge.stride, edge.primitives) == ("edge", 6, stride, primitives)


def test_one_channel() -> None:
    (edge,) = patched(container(Mixed(1, 1))).edges
    assert edge.primitives == PRIMITIVES


def test_other_names_and_nestings_are_kept() -> None:
    class Separable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Sequential(*depthwise(4, 3, 1)), nn.Sequential(*depthwise(4, 3, 1)))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = container(Mixed(4, 1, ("max_pool_3x3",)))
    model.edge._ops.append(Separable())
    names = [name for name, _ in model.named_parameters()]
    assert patched(model).edges[0].primitives == ("max_pool_3x3", "sep_conv_3x3")
    assert [name for name, _ in model.named_parameters()] == names
    assert names[0] == "edge._ops.1.net.0.1.weight"


def test_an_edge_that_is_registered_twice() -> None:
    edge = Mixed(4, 1)
    model = nn.ModuleDict({"a": edge, "b": edge})
    assert len(patched(model).edges) == 1
    assert isinstance(model["a"], FusedEdge)
    assert model["a"] is model["b"]


def test_an_entry_that_is_registered_twice() -> None:
    model = container(Mixed(4, 1, ("sep_conv_3x3", "skip_connect")))
    model.edge._ops.append(model.edge._ops[1])
    assert patched(model).edges[0].primitives == ("sep_conv_3x3", "skip_connect", "skip_connect")


def test_edges_without_anything_to_fuse_stay() -> None:
    model = nn.ModuleList([Mixed(4, 1, ("none", "skip_connect")), Mixed(4, 1)])
    report = patched(model)
    assert report.left == ("0",)
    assert not isinstance(model[0], FusedEdge)
    assert str(report).endswith("left as they were, with nothing to fuse: 0")
    with pytest.raises(InputError, match="whose 1 edges are fused already"):
        patch(model)


def test_the_report() -> None:
    report = patched(network())
    assert {(e.channels, e.stride) for e in report.edges} == {(4, 1), (8, 1), (8, 2)}
    for edge in report.edges:
        assert max(edge.parity.fused64.output, edge.parity.fused64.gradient) < 1e-13
        assert edge.parity.fused.output < 1e-6
        assert edge.seconds_before > 0 < edge.seconds_after
    before, after = report.seconds
    assert report.speed_up == before / after
    lines = str(report).splitlines()
    assert re.match(r"6 fused edges; forward and backward of 2 images of 4×4, float32, \d+ thread", lines[0])
    assert lines[2].split()[:4] == ["edges", "channels", "stride", "primitives"]
    assert [line.split()[:4] for line in lines[3:6]] == [
        ["3", "4", "1", "8"],
        ["2", "8", "2", "8"],
        ["1", "8", "1", "8"],
    ]
    assert lines[6].split()[0] == "6" and lines[6].endswith("×")
    assert lines[8].startswith("parity: yes.")


def test_bfloat16() -> None:
    (edge,) = patched(container(Mixed(4, 1)).bfloat16()).edges
    assert edge.parity.fused64.output < 1e-13 < edge.parity.fused.output < 0.02


def test_it_works_without_grad_mode() -> None:
    with torch.no_grad():
        assert len(patched(network()).edges) == 6


def affine(edge: Mixed) -> None:
    edge._ops[4].op[3] = nn.BatchNorm2d(4)


def dropped(edge: Mixed) -> None:
    edge.drop = nn.Dropout(0.1)


def other_pool(edge: Mixed) -> None:
    edge.mp = nn.Identity()


def wide_pool(edge: Mixed) -> None:
    edge._ops[1][0] = nn.MaxPool2d(5, 1, 2)


def padded_average(edge: Mixed) -> None:
    edge._ops[2][0] = nn.AvgPool2d(3, 1, 1)


def other_epsilon(edge: Mixed) -> None:
    edge._ops[6].op[3].eps = 1e-3


def bias(edge: Mixed) -> None:
    edge._ops[4].op[2] = nn.Conv2d(4, 4, 1)


def dropout(edge: Mixed) -> None:
    edge._ops[3] = nn.Dropout(0.3)


def bare_pool(edge: Mixed) -> None:
    edge._ops[1] = edge._ops[1][0]


def another_stride(edge: Mixed) -> None:
    edge._ops[0] = Zero(2)


def scale(edge: Mixed) -> None:
    edge.register_parameter("scale", nn.Parameter(torch.ones(1)))


def hook(edge: Mixed) -> None:
    edge._ops[5].register_forward_hook(lambda *_: None)


def shared_weights(edge: Mixed) -> None:
    edge._ops[6].op[2].weight = edge._ops[7].op[2].weight


def negative(edge: Mixed) -> None:
    class Negative(Identity):
        def forward(self, x: Tensor) -> Tensor:
            return -x

    edge._ops[3] = Negative()


def another_call(edge: Mixed) -> None:
    edge.forward = lambda x: x  # type: ignore[method-assign]


def another_shape(edge: Mixed) -> None:
    class Shorter(Mixed):
        def forward(self, x: Tensor, weights: Tensor) -> Tensor:
            return super().forward(x, weights)[:1]

    edge.__class__ = Shorter


def pools_of_one_value(edge: Mixed) -> None:
    edge._ops[7] = nn.Sequential(norm(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (affine, r"_ops\.4\.op\.3: got BatchNorm2d\(affine=True\), expected affine=False"),
        (dropped, r": got drop \(Dropout\(p=0\.1, inplace=False\)\) beside `_ops`, expected `_ops` alone"),
        (other_pool, r"mp: got Identity\(\) beside `_ops`, expected MaxPool2d\(2, .*: partial channels are known"),
        (
            wide_pool,
            r"_ops\.1\.0: got MaxPool2d\(5, stride 1, padding 2\), expected MaxPool2d\(3, stride 1, padding 1\), "
            r"as in max_pool_3x3 of 4 channels and stride 1$",
        ),
        (
            padded_average,
            r"_ops\.2\.0: got AvgPool2d\(.*count_include_pad True\), expected .*count_include_pad False\)",
        ),
        (other_epsilon, r"_ops\.6\.op\.3: got BatchNorm2d\(eps 0\.001, affine False\), expected .*eps 1e-05"),
        (
            bias,
            r"_ops\.4\.op\.2: got Conv2d\(4 → 4, 1×1, .* groups 1, bias\), expected .* groups 1\), as in sep_conv_3x3",
        ),
        (
            dropout,
            r"_ops\.3: got \[Dropout\(p=0\.3, inplace=False\)\], expected a primitive of 4 channels and stride 1",
        ),
        (bare_pool, r"_ops\.1: got \[MaxPool2d\(.*\)\], .* the nearest, max_pool_3x3, is \[MaxPool2d.*BatchNorm2d"),
        (another_stride, r"_ops\.1\.0: got MaxPool2d\(3, stride 1, padding 1\), expected MaxPool2d\(3, stride 2"),
        (scale, r": got scale, expected no tensors but those of its primitives' layers"),
        (hook, r"_ops\.5: got a module with hooks, expected none"),
        (shared_weights, r": got primitives that share weights"),
        (
            negative,
            r": got a module that is not the sum of its primitives: skip_connect \(`_ops\.3`\), on images of 6×6",
        ),
        (another_call, r": got a forward that was set on the instance"),
        (another_shape, r": got a module that is not the sum of its entries, on images of 6×6"),
        (pools_of_one_value, r"_ops\.7: got \[BatchNorm2d\(eps 1e-05, affine False\)\]"),
    ],
)
def test_what_cannot_be_patched(change: Callable[[Mixed], None], message: str) -> None:
    model = nn.ModuleDict({"good": Mixed(4, 1), "bad": Mixed(4, 1)})
    change(model["bad"])  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"^bad\.?{message}"):
        patch(model)
    assert not any(isinstance(edge, FusedEdge) for edge in model.values())


def test_a_kernel_that_errs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Fusion.__call__

    def off(self: Fusion, module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
        y = call(self, module, x, weights)
        return y * 1.001 if x.dtype == torch.float32 else y

    monkeypatch.setattr(Fusion, "__call__", off)
    model = network()
    with pytest.raises(InputError, match=r"^cells\.0\._ops\.0: in torch\.float32 the fused edge is off by 1\.0e-03"):
        patched(model)
    assert not isinstance(model.cells[0]._ops[0], FusedEdge)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear(1, 1),), r"model: got Linear without an edge to fuse, expected modules with a ModuleList `_ops`"),
        ((Mixed(4, 1),), r"model: got an edge itself"),
        ((container(Mixed(4, 1)), 0), r"batch_size: got 0, expected an integer ≥ 1"),
        ((container(Mixed(4, 1)), 4, 1.5), r"resolution: got 1\.5, expected an integer ≥ 1"),
    ],
)
def test_errors(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        bf.nn.patch(*arguments)  # type: ignore[arg-type]
