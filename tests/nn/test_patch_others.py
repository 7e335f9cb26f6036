"""What bf.nn.patch makes of edges that are not quite DARTS's, of what differs outside a probe, and its way back."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import base_fast as bf
from base_fast.errors import InputError
from base_fast.nn import FusedEdge, PatchReport
from base_fast.nn.parity import Probe
from tests.nn.search_network import FactorizedReduce, Mixed, SearchNetwork, Stack, Zero, depthwise

PRIMITIVES = ("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3")
DRAWS = torch.Generator().manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=DRAWS)


def patched(model: nn.Module, **settings: Any) -> PatchReport:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return bf.nn.patch(model, **{"batch_size": 2, "resolution": 4, **settings})


def container(*edges: nn.Module) -> nn.ModuleList:
    return nn.ModuleList(edges)


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# -- calls ---------------------------------------------------------------------------------------------------------


class Keyword(Mixed):
    def forward(self, h: Tensor, alphas: Tensor) -> Tensor:
        return super().forward(h, alphas)

    def strongest(self, alphas: Tensor) -> nn.Module:
        """A method of their own."""
        return self._ops[int(alphas.argmax())]


def test_names_methods_and_classes_stay() -> None:
    edge = Keyword(4, 1, PRIMITIVES)
    x, z = draw(2, 4, 6, 6), draw(4).softmax(-1)
    expected = edge(x, z)
    patched(container(edge))
    assert isinstance(edge, Keyword) and isinstance(edge, FusedEdge)
    for y in (edge(x, z), edge(x, alphas=z), edge(h=x, alphas=z), edge(alphas=z, h=x)):
        assert error(y, expected) < 1e-5
    assert edge.strongest(z) is edge._ops[int(z.argmax())]
    for wrong in (lambda: edge(x), lambda: edge(x, z, 1), lambda: edge(x, weights=z), lambda: edge(x, z, alphas=z)):
        with pytest.raises(InputError, match=r"edge: got a call with \(.*\), expected \(h, alphas\)"):
            wrong()


def test_other_arguments_are_refused() -> None:
    class Third(Mixed):
        def forward(self, x: Tensor, weights: Tensor, selected: int | None = None) -> Tensor:
            return super().forward(x, weights) if selected is None else self._ops[selected](x)

    class Any_(Mixed):
        def forward(self, *args: Any) -> Tensor:
            return super().forward(*args)

    for kind, got in ((Third, r"\(x.*, weights.*, selected.* = None\)"), (Any_, r"\(\*args")):
        with pytest.raises(InputError, match=rf"0: got an edge that is called with {got}"):
            bf.nn.patch(container(kind(4, 1)))
    edge = bf.nn.MixedOp(4)
    with pytest.raises(TypeError, match="positional"):
        edge(draw(2, 4, 4, 4), draw(8), 1)


# -- outside the probe -----------------------------------------------------------------------------------------------


class Clamped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-6, 6)


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else 2 * x


class Raised(nn.Module):
    """A drop path whose probability is raised in the course of a search."""

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return x if self.p == 0.0 else F.dropout(x, self.p)


class Switched(Stack):
    def __init__(self) -> None:
        super().__init__(*depthwise(4, 3, 1, 2))
        self.search = True

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x) if self.search else x


class Repeating(FactorizedReduce):
    """Of odd sizes it repeats the last row and column, where the primitive has zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate"))


class Thresholded(Mixed):
    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self._ops, strict=True) if w > 0.01)


@pytest.mark.parametrize(
    ("entry", "stride", "message"),
    [
        (Clamped, 1, r"not the sum of its primitives: skip_connect \(`_ops\.2`\), on images of 6×6"),
        (Doubled, 1, r"not the sum of its primitives: skip_connect \(`_ops\.2`\), on images of 6×6 in eval\(\)"),
        (Raised, 1, r"0\._ops\.2: got a Raised that does what its `p` says"),
        (Switched, 1, r"0\._ops\.2: got a Switched that does what its `search` says"),
        (lambda: Repeating(4, 4), 2, r"not the sum of its primitives: skip_connect \(`_ops\.2`\), on images of 5×7"),
    ],
)
def test_what_differs_elsewhere_is_seen(entry: Callable[[], nn.Module], stride: int, message: str) -> None:
    edge = Mixed(4, stride, PRIMITIVES)
    edge._ops[2] = entry()
    with pytest.raises(InputError, match=message):
        bf.nn.patch(container(edge))
    with pytest.raises(InputError, match="not the sum of its"):
        bf.nn.patch(container(Thresholded(4, 1, PRIMITIVES)))


def test_a_class_of_pytorchs_name_is_not_pytorchs() -> None:
    class ReLU(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            return x.clamp(0, 6)

    edge = Mixed(4, 1, PRIMITIVES)
    edge._ops[3].op[0] = ReLU()
    with pytest.raises(InputError, match=r"_ops\.3\.op\.0: got .*ReLU\(\), expected ReLU\(\)"):
        bf.nn.patch(container(edge))


# -- kinds -----------------------------------------------------------------------------------------------------------


def test_a_kind_is_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    init = Probe.__init__

    def counted(self: Any, edge: Any, *rest: Any) -> None:
        made.append(edge.name)
        init(self, edge, *rest)

    monkeypatch.setattr(Probe, "__init__", counted)
    edges = [Mixed(4, 1, PRIMITIVES) for _ in range(5)]
    # Another setting, another class: kinds of their own.
    edges[3].threshold = 0.5
    edges[4] = Keyword(4, 1, PRIMITIVES)
    report = patched(container(*edges))
    # For parity, and for times.
    assert made == ["0", "0", "3", "3", "4", "4"]
    assert len(report.edges) == 5
    assert report.edges[1].parity == report.edges[0].parity


# -- names and unknown entries -----------------------------------------------------------------------------------------


class Progressive(nn.Module):
    """As P-DARTS has it: `m_ops`, and a dropout behind the identity."""

    def __init__(self, p: float) -> None:
        super().__init__()
        plain = Mixed(4, 1, PRIMITIVES)
        self.m_ops = plain._ops
        self.m_ops[2] = nn.Sequential(self.m_ops[2], nn.Dropout(p))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self.m_ops, strict=True))


def test_another_name_and_entries_that_are_left() -> None:
    model = container(Progressive(0.5), Progressive(0.5))
    with pytest.raises(InputError, match=r"without an edge to fuse, .*; if `0\.m_ops` is one, pass ops='m_ops'"):
        bf.nn.patch(model)
    with pytest.raises(InputError, match=r"0\.m_ops\.2: got \[.*Dropout"):
        bf.nn.patch(model, ops="m_ops")
    plain = copy.deepcopy(model).double()
    report = patched(model.double(), ops="m_ops", unknown="leave", edges="1")
    assert [type(e).__name__ for e in model] == ["Progressive", "FusedProgressive"]
    assert (report.edges[0].primitives, report.edges[0].left) == (("none", "max_pool_3x3", "dil_conv_3x3"), 1)
    assert "1 entries that are no primitives are left to PyTorch" in str(report)
    x, z = draw(2, 4, 6, 6).double().requires_grad_(), draw(4).softmax(-1).double().requires_grad_()
    results = []
    for edge in (plain[1], model[1]):
        torch.manual_seed(0)
        y = edge(x, z)
        results.append([y, *torch.autograd.grad(y.square().sum() + y[0].sum(), [x, z, *edge.parameters()])])
    for found, expected in zip(results[1], results[0], strict=True):
        assert error(found, expected) < 1e-9
    # What is left goes on as it was, and can be changed.
    model[1].m_ops[2][1].p = 0.0
    plain[1].m_ops[2][1].p = 0.0
    assert error(model[1](x, z), plain[1](x, z)) < 1e-9


def test_an_affine_norm_is_left() -> None:
    edge = Mixed(4, 1, PRIMITIVES)
    edge._ops[1][1] = nn.BatchNorm2d(4)
    expected = copy.deepcopy(edge)
    report = patched(container(edge), unknown="leave")
    x, z = draw(2, 4, 6, 6), draw(4).softmax(-1)
    assert error(edge(x, z), expected(x, z)) < 1e-5
    assert torch.equal(edge._ops[1][1].running_mean, expected._ops[1][1].running_mean)
    assert report.running == 1
    with pytest.raises(InputError, match="unknown: got 'skip', expected one of refuse, leave"):
        bf.nn.patch(container(edge), unknown="skip")


# -- partial channels --------------------------------------------------------------------------------------------------


class Partial(nn.Module):
    """As PC-DARTS and DrNAS have it: the first of k parts of the channels passes the primitives."""

    def __init__(self, channels: int, stride: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.mp = nn.MaxPool2d(2, 2)
        self._ops = Mixed(channels // k, stride, PRIMITIVES)._ops

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        width = x.shape[1] // self.k
        part = sum(w * op(x[:, :width]) for w, op in zip(weights, self._ops, strict=True))
        if self.k == 1:
            return part
        rest = x[:, width:] if part.shape[2] == x.shape[2] else self.mp(x[:, width:])
        return F.channel_shuffle(torch.cat([part, rest], 1), self.k)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels(stride: int, k: int) -> None:
    model = container(Partial(8, stride, k)).double()
    plain = copy.deepcopy(model)
    (edge,) = patched(model).edges
    assert (edge.channels, edge.parts) == (8, k)
    x, z = draw(2, 8, 6, 6).double(), draw(4).softmax(-1).double()
    assert error(model[0](x, z), plain[0](x, z)) < 1e-12


def test_other_partial_channels_are_refused() -> None:
    class Unshuffled(Partial):
        def forward(self, x: Tensor, weights: Tensor) -> Tensor:
            return torch.cat([sum(w * op(x[:, :2]) for w, op in zip(weights, self._ops, strict=True)), x[:, 2:]], 1)

    with pytest.raises(InputError, match="0: got partial channels, expected those of PC-DARTS"):
        bf.nn.patch(container(Unshuffled(8, 1, 4)))


# -- and back ----------------------------------------------------------------------------------------------------------


def test_unpatch() -> None:
    torch.manual_seed(0)
    model = SearchNetwork()
    x = draw(4, 3, 8, 8)
    model(x)  # running statistics of its own
    before, structure = copy.deepcopy(model.state_dict()), repr(model)
    expected = model.eval()(x)
    patched(model.train())
    with pytest.warns(UserWarning, match=r"running statistics of 50 batch norms are those of the time of the patch"):
        assert bf.nn.unpatch(model) == 6
    assert repr(model) == structure
    assert list(model.state_dict()) == list(before)
    assert torch.equal(model.eval()(x), expected)
    with pytest.raises(InputError, match="model: got SearchNetwork without a fused edge"):
        bf.nn.unpatch(model)
    assert len(patched(model).edges) == 6


def test_unpatch_keeps_what_was_learned_and_follows_the_model() -> None:
    model = container(Mixed(4, 1, PRIMITIVES))
    patched(model)
    model.double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    learned = [w.clone() for w in model.parameters()]
    with pytest.warns(UserWarning, match="running statistics"):
        bf.nn.unpatch(model)
    assert all(torch.equal(w, other) for w, other in zip(model.parameters(), learned, strict=True))
    assert model[0]._ops[1][1].running_mean.dtype == torch.float64
    assert torch.isfinite(model[0].eval()(draw(2, 4, 4, 4).double(), draw(4).double())).all()


def test_copies_and_files_of_a_patched_model() -> None:
    model = container(Mixed(4, 1, PRIMITIVES))
    patched(model)
    x, z = draw(2, 4, 6, 6), draw(4).softmax(-1)
    expected = model[0](x, z)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert isinstance(other[0], FusedEdge) and isinstance(other[0], Mixed)
        assert torch.equal(other[0](x, z), expected)
        with pytest.warns(UserWarning, match="running statistics"):
            assert bf.nn.unpatch(other) == 1
        assert type(other[0]) is Mixed
    assert isinstance(model[0], FusedEdge)
    compiled = torch.compile(model[0], fullgraph=True, backend="aot_eager")
    assert error(compiled(x, z), expected) < 1e-5
    with torch.device("meta"), pytest.raises(InputError, match="model: got one on the meta device"):
        bf.nn.patch(container(Mixed(4, 1, PRIMITIVES)))


def test_entries_of_their_own_classes() -> None:
    """A pool without a norm and a zero by a factor: what is known of them is what they compute."""
    edge = Mixed(4, 2, PRIMITIVES)
    edge._ops[0] = Zero(2)
    edge._ops[1] = nn.MaxPool2d(3, 2, 1)
    with pytest.raises(InputError, match=r"_ops\.1: got \[MaxPool2d\(3, stride 2, padding 1\)\]"):
        bf.nn.patch(container(edge))
    expected = copy.deepcopy(edge)
    patched(container(edge), unknown="leave")
    x, z = draw(2, 4, 6, 6), draw(4)
    assert error(edge(x, z), expected(x, z)) < 1e-5
