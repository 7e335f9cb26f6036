"""Training: it learns, and an interrupted run continues bit for bit."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.evaluation import Network, TrainConfig, evaluate, initialize, train
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.space import genotypes
from base_fast.tasks import Split, Task

CONFIG = TrainConfig(
    steps=12, batch_size=16, lr=0.1, warmup_steps=2, label_smoothing=0.1, augmentation="standard", drop_path=0.3,
    evaluate_every=4, checkpoint_every=5, log_every=3, seed=7,
)  # fmt: skip


def make_task(resolution: int = 8) -> Task:
    """Four classes of stripes: brightness along one axis or the other, of one period or the other."""
    n = 96
    labels = torch.arange(n) % 4
    place = torch.arange(resolution, dtype=torch.float32)
    shift = torch.arange(n) * 0.7
    period = torch.where(labels % 2 == 0, 2.0, 5.0)
    wave = torch.sin(2 * math.pi * place / period[:, None] + shift[:, None])
    vertical = (labels < 2)[:, None, None]
    grey = torch.where(vertical, wave[:, :, None].expand(-1, -1, resolution), wave[:, None, :])
    images = (127.5 * (1 + 0.9 * grey)).round().to(torch.uint8)[:, None].expand(-1, 3, -1, -1).contiguous()
    half = torch.full((3,), 0.5)
    train_split, valid = (Split(images[part], labels[part], 4, half, half) for part in (slice(64), slice(64, n)))
    return Task("stripes", train_split, valid, 4, resolution, ("a", "b", "c", "d"))


TASK = make_task()


def make_network(seed: int = 1) -> Network:
    network = Network(genotypes.BASE_CIFAR_TUNED, 4, 3, 4, drop_path=0.05)
    initialize(network, key(seed))
    return network


def make_run(path: Path) -> RunFolder:
    return RunFolder.create(path, "train", CONFIG)


def same(a: nn.Module, b: nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in ("time", "seconds")} for row in rows]


def at_training_step(step: int, action: Callable[[], object]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A forward hook that acts in the given training step, counted from 1."""
    calls = [0]

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[0] += module.training
        if module.training and calls[0] == step:
            action()

    return hook


def crash() -> None:
    raise ZeroDivisionError


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_it_learns() -> None:
    config = TrainConfig(steps=60, batch_size=16, lr=0.1, augmentation="none", drop_path=0.0, evaluate_every=20)
    network = make_network()
    result = train(network, TASK, config)
    assert result.steps == 60
    assert result.seconds > 0
    assert [row["step"] for row in result.history] == [20, 40, 60]
    assert result.history[-1]["loss"] < 0.2 < 0.4 < result.history[0]["loss"]
    assert result.accuracy > 0.8
    assert result.history[-1]["train_accuracy"] > 0.9
    scores = evaluate(network, TASK.valid, batch_size=7)
    assert scores.accuracy == result.accuracy
    assert scores.loss == pytest.approx(result.loss, rel=1e-5)
    assert not network.training
    assert network.drop_path == 0.05
    assert result.steps_to(0.0) == 20
    assert result.steps_to(1.1) is None


def test_seeds_decide_and_the_global_state_is_left_alone() -> None:
    networks = [make_network() for _ in range(3)]
    before = torch.get_rng_state()
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        train(network, TASK, dataclasses.replace(CONFIG, steps=3, seed=seed))
    assert torch.equal(before, torch.get_rng_state())
    assert same(networks[0], networks[1])
    assert not same(networks[0], networks[2])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, precision: Any) -> None:
    config = dataclasses.replace(CONFIG, precision=precision)
    straight_run, run = make_run(tmp_path / "straight"), make_run(tmp_path / "interrupted")
    straight = make_network()
    uninterrupted = train(straight, TASK, config, straight_run, "net")

    # A crash in step 8, after the checkpoint of step 5: the rows of steps 6 and later must go.
    crashing = make_network()
    crashing.register_forward_pre_hook(at_training_step(8, crash))
    with pytest.raises(ZeroDivisionError):
        train(crashing, TASK, config, run, "net")
    # Then a Ctrl-C in the second step after that; other weights at the start make no difference.
    interrupted = make_network(seed=2)
    interrupted.register_forward_pre_hook(at_training_step(2, press_ctrl_c))
    with pytest.raises(Interrupted, match="^train/net: stopped after 7 of 12 steps$"):
        train(interrupted, TASK, config, run, "net")
    assert not interrupted.training
    last = make_network(seed=3)
    result = train(last, TASK, config, run, "net")

    assert result.steps == 12
    assert same(straight, last)
    assert without_time(result.history) == without_time(uninterrupted.history)
    assert (result.accuracy, result.loss) == (uninterrupted.accuracy, uninterrupted.loss)
    assert without_time(run.rows("train/net")) == without_time(straight_run.rows("train/net"))
    # Called once more, a finished training gives its result again.
    again = train(make_network(seed=4), TASK, config, run, "net")
    assert without_time(again.history) == without_time(result.history)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda network: network.classifier.weight.data.fill_(float("nan")),
            "after 0 of 12 steps: loss is nan; a",
        ),
        (
            lambda network: network.classifier.weight.register_hook(lambda gradient: gradient * float("inf")),
            "train/net: after 0 of 12 steps: gradient norm is",
        ),
        (
            lambda network: network.stem[1].running_var.fill_(float("inf")),
            "train/net: after 5 of 12 steps: model.stem.1.running_var holds NaN or infinity; ",
        ),
    ],
)
def test_divergence_stops_in_one_line(tmp_path: Path, spoil: Callable[[Network], object], message: str) -> None:
    network, run = make_network(), make_run(tmp_path / "run")
    spoil(network)
    with pytest.raises(Diverged) as error:
        train(network, TASK, CONFIG, run, "net")
    assert message in str(error.value)
    assert str(error.value).endswith("; no checkpoint was written yet")
    assert "\n" not in str(error.value)
    assert run.load_checkpoint("train/net") is None
    assert not network.training
    assert network.drop_path == 0.05


def test_divergence_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    network, run = make_network(), make_run(tmp_path / "run")
    network.register_forward_pre_hook(at_training_step(8, lambda: network.classifier.bias.data.fill_(float("nan"))))
    with pytest.raises(
        Diverged, match="after 7 of 12 steps: loss is nan; .*; the checkpoint after 5 of 12 steps is kept"
    ):
        train(network, TASK, CONFIG, run)
    checkpoint = run.load_checkpoint("train/network")
    assert checkpoint is not None
    assert checkpoint[1]["steps"] == 5
    assert all(bool(tensor.isfinite().all()) for tensor in checkpoint[0].values())
    assert train(make_network(), TASK, CONFIG, run).steps == 12


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    train(make_network(), TASK, CONFIG, run)
    with pytest.raises(InputError, match=r"^checkpoint train/network: lr: got 0\.2, expected 0\.1, with which"):
        train(make_network(), TASK, dataclasses.replace(CONFIG, lr=0.2), run)
    other = dataclasses.replace(TASK.train, images=255 - TASK.train.images)
    with pytest.raises(InputError, match="data set: got "):
        train(make_network(), dataclasses.replace(TASK, train=other), CONFIG, run)
    renamed = dataclasses.replace(TASK, name="other")
    assert train(make_network(), renamed, dataclasses.replace(CONFIG, log_every=3), run).steps == 12
    with pytest.raises(InputError, match="holds another architecture's weights"):
        train(Network(genotypes.DARTS_V1, 4, 3, 4), TASK, CONFIG, run)


def test_auxiliary_head_learns_too() -> None:
    task = make_task(resolution=32)
    before, after = (initialize(Network(genotypes.DARTS_V2, 4, 3, 4, auxiliary=True), key(0)) for _ in range(2))
    train(after, task, TrainConfig(epochs=1, batch_size=32, augmentation="cutout"))
    old, new = before.state_dict(), after.state_dict()
    assert not torch.equal(old["auxiliary_head.classifier.weight"], new["auxiliary_head.classifier.weight"])


def test_activations_in_bfloat16() -> None:
    seen: list[torch.dtype] = []
    config = TrainConfig(steps=60, batch_size=16, lr=0.1, augmentation="none", drop_path=0.0, evaluate_every=60)
    network = make_network()
    network.cells[-1].register_forward_hook(lambda module, _, y: seen.append(y.dtype))
    result = train(network, TASK, dataclasses.replace(config, precision="bfloat16"))
    # Steps in bfloat16, the evaluation in float32, as whoever uses the network will.
    assert set(seen[:60]) == {torch.bfloat16}
    assert set(seen[60:]) == {torch.float32}
    assert {x.dtype for x in network.parameters()} == {torch.float32}
    assert result.accuracy > 0.8


def test_any_module_can_be_trained_in_any_dtype() -> None:
    def build() -> nn.Module:
        return initialize(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4)).double(), key(0))

    networks = [build(), build()]
    for network in networks:
        assert train(network, TASK, dataclasses.replace(CONFIG, gradient_clip=0.0)).steps == 12
    assert same(*networks)
    assert not same(networks[0], build())


def test_mismatches_are_named() -> None:
    other = Network(genotypes.DARTS_V2, 4, 3, 5)
    with pytest.raises(InputError, match=r"network: got logits of shape \(16, 5\), expected \(B, 4\)"):
        train(other, TASK, CONFIG)
    with pytest.raises(InputError, match="network: got logits of shape"):
        evaluate(other, TASK.valid)
    with pytest.raises(InputError, match="batch_size: got batches of one image"):
        train(make_network(), TASK, dataclasses.replace(CONFIG, batch_size=1))


def test_evaluation_by_hand() -> None:
    class Fixed(nn.Module):
        """The logits of class (first pixel) are 2, of the class after it 1, else 0."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            first = (x[:, 0, 0, 0] * 255).round().long()
            eye = torch.eye(7)
            return 2 * eye[first] + eye[(first + 1) % 7] - 1e-3 * torch.arange(7)

    predicted, labels = torch.tensor([0, 1, 1, 6]), torch.tensor([0, 1, 2, 5])
    images = predicted.to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).contiguous()
    scores = evaluate(Fixed(), Split(images, labels, 7, torch.zeros(3), torch.ones(3)), batch_size=3)
    assert scores.accuracy == 0.5
    assert scores.top5 == 0.75  # the label 5 is last but one: 6 and 0 lead, then 1, 2, 3
    expected = torch.zeros(7, 7, dtype=torch.int64)
    expected[labels, predicted] = 1
    assert torch.equal(scores.confusion, expected)
    first = (x := 2 * torch.eye(7)[predicted] + torch.eye(7)[(predicted + 1) % 7] - 1e-3 * torch.arange(7)).logsumexp(1)
    assert scores.loss == pytest.approx(float((first - x[torch.arange(4), labels]).mean()), rel=1e-5)


def test_schedules() -> None:
    config = TrainConfig(lr=1.0, lr_min=0.2, warmup_steps=4, drop_path=0.4, epochs=5, batch_size=10)
    assert config.total_steps(examples=39) == 15
    assert config.total_steps(examples=3) == 5
    assert [config.lr_at(step, 14) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert config.lr_at(9, 14) == pytest.approx(0.6)
    assert config.lr_at(14, 14) == pytest.approx(0.2)
    assert [config.drop_path_at(step, 10) for step in (0, 5)] == pytest.approx([0.0, 0.2])
    cutout = TrainConfig().augmentation_for(32)
    assert cutout is not None
    assert (cutout.crop_padding, cutout.flip, cutout.cutout) == (4, True, 16)
    standard = TrainConfig(augmentation="standard").augmentation_for(16)
    assert standard is not None
    assert (standard.crop_padding, standard.cutout) == (2, 0)
    assert TrainConfig(augmentation="none").augmentation_for(32) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0), ("steps", 0), ("batch_size", 0), ("log_every", 0), ("evaluate_every", -1), ("lr", 0.0),
        ("lr", float("nan")), ("lr_min", 1.0), ("momentum", 1.0), ("drop_path", -0.1), ("weight_decay", float("nan")),
        ("augmentation", "mixup"), ("precision", "float16"),
    ],
)  # fmt: skip
def test_bad_recipes_are_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match="lr: got" if name == "lr_min" else f"{name}: got"):
        TrainConfig(**{name: value})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_on_the_gpu() -> None:
    network = make_network().cuda()
    before = torch.cuda.get_rng_state()
    assert train(network, TASK, CONFIG).steps == 12
    assert torch.equal(before, torch.cuda.get_rng_state())
