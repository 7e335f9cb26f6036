"""Training a derived network from scratch, so that an interrupted run continues bit for bit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.errors import Diverged, InputError
from base_fast.evaluation.network import Network
from base_fast.evaluation.recipe import TrainConfig
from base_fast.evaluation.scores import check_classes, evaluate
from base_fast.random import fold_in, generator, key
from base_fast.runs import RunFolder, interruptible, progress, to_dict
from base_fast.tasks import Task


@dataclass(frozen=True)
class TrainResult:
    """What came of a training."""

    accuracy: float
    """Accuracy on the validation images at the last step done, from 0 to 1."""
    loss: float
    """Cross-entropy on the validation images at the last step done, in nats."""
    history: list[dict[str, float]]
    """One row per evaluated step: step, seconds, lr, loss (mean over the training images since the row before),
    train_accuracy (likewise), accuracy and valid_loss."""
    steps: int
    """Optimizer steps done."""
    seconds: float
    """Wall-clock time of all of them, over all resumptions, evaluation included."""
    finished: bool
    """False when the training was interrupted."""

    def steps_to(self, accuracy: float) -> int | None:
        """The first evaluated step that reached `accuracy` on the validation images, or None."""
        return next((int(row["step"]) for row in self.history if row["accuracy"] >= accuracy), None)


def train(
    network: nn.Module, task: Task, config: TrainConfig, run: RunFolder | None = None, name: str = "network"
) -> TrainResult:
    """Train `network` in place on `task.train`, from the weights it has (see `initialize`), and leave it in eval mode.

    Images, augmentation and drop path depend on `config.seed` and the step alone: one seed and one start give the same
    weights on the same device (on a GPU, with torch.use_deterministic_algorithms). With `run`, rows go to the phase
    "train/<name>" and a checkpoint of that name holds weights, batch-norm buffers and momentum; called again, the
    training continues from it. The first Ctrl-C writes a checkpoint and returns with `finished` False.

    Args:
        network: maps x (B, 3, R, R) to logits (B, num_classes), or in training mode to (logits, auxiliary logits).
        task: what to learn, and where to measure.
        config: the recipe.
        run: where to record; None keeps nothing.
        name: tells several networks of one run apart.

    Raises:
        Diverged: loss, gradient or weights became NaN or infinite; the checkpoint before stays as it was.
        InputError: the network doesn't fit the task, or the checkpoint belongs to another training.
    """
    total = config.total_steps(len(task.train))
    epoch = config.steps_per_epoch(len(task.train))
    loop = _Loop(network, task, config, run, f"train/{name}", total)
    loop.resume()
    devices = [loop.device] if loop.device.type == "cuda" else []
    with (
        _restored(network),
        torch.random.fork_rng(devices),
        interruptible() as interruption,
        progress(f"train {name}", total, start=loop.step) as bar,
    ):
        while loop.step < total and not interruption.requested:
            loop.advance()
            if loop.step == total or loop.step % (config.evaluate_every or epoch) == 0:
                loop.measure()
            elif loop.step % config.log_every == 0:
                loop.log(loss=loop.loss, lr=loop.lr)
            if loop.step % (config.checkpoint_every or epoch) == 0:
                loop.save()
            bar.advance(1, loss=loop.loss, **({"accuracy": loop.history[-1]["accuracy"]} if loop.history else {}))
    if loop.last_saved != loop.step:
        loop.save()
    if loop.history and loop.history[-1]["step"] == loop.step:
        accuracy, loss = loop.history[-1]["accuracy"], loop.history[-1]["valid_loss"]
    else:  # interrupted: a row here would make the resumed history differ from an uninterrupted one
        scores = evaluate(network, task.valid)
        accuracy, loss = scores.accuracy, scores.loss
    return TrainResult(accuracy, loss, loop.history, loop.step, loop.seconds, loop.step == total)


# Pixels a side from which channels-last convolutions are faster: 1.4 times at 32 pixels and 16 channels, measured on
# 2 Sapphire-Rapids cores. The weights' format is enough, for activations follow it.
CHANNELS_LAST_FROM = 16

# What a checkpoint's header holds of the loop.
_HEADER = ("step", "loss", "lr", "history", "seen", "correct", "loss_sum")


class _Loop:
    """The state that a checkpoint holds, and one step of it."""

    def __init__(
        self, network: nn.Module, task: Task, config: TrainConfig, run: RunFolder | None, phase: str, total: int
    ) -> None:
        if min(config.batch_size, len(task.train)) < 2:
            raise InputError("batch_size: got batches of one image, expected at least 2, which batch norm needs")
        self.network, self.task, self.config = network, task, config
        self.run, self.phase, self.total = run, phase, total
        self.parameters = dict(network.named_parameters())
        self.place = next(iter(self.parameters.values()))
        self.device = self.place.device
        if task.resolution >= CHANNELS_LAST_FROM:
            network.to(memory_format=torch.channels_last)
        self.augmentation = config.augmentation_for(task.resolution)
        self.optimizer = torch.optim.SGD(
            self.parameters.values(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
        self.batch_key, self.noise_key = (fold_in(key(config.seed), branch) for branch in (0, 1))
        self.identity = {**to_dict(config), "task": task.name, "examples": len(task.train)}
        self.step = 0
        self.loss = self.lr = 0.0
        self.history: list[dict[str, float]] = []
        # Sums over the training images since the last evaluation.
        self.seen, self.correct, self.loss_sum = 0, 0, 0.0
        self.began = time.perf_counter()
        self.last_saved: int | None = None

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def advance(self) -> None:
        """One optimizer step."""
        config, step = self.config, self.step
        self.lr = config.lr_at(step, self.total)
        self.optimizer.param_groups[0]["lr"] = self.lr
        if isinstance(self.network, Network):
            self.network.drop_path = config.drop_path_at(step, self.total)
        # Seeded at every step, so that drop path (or any dropout) after a resumption is what it would have been.
        seed = generator(fold_in(self.noise_key, step)).initial_seed()
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index].manual_seed(seed)
        x, y = self.task.train.batch(self.batch_key, step, config.batch_size, self.augmentation)
        x, y = x.to(self.place), y.to(self.device)
        self.network.train()
        out = self.network(x)
        logits, auxiliary = out if isinstance(out, tuple) else (out, None)
        check_classes(logits, self.task.num_classes)
        loss = F.cross_entropy(logits, y, label_smoothing=config.label_smoothing)
        if auxiliary is not None:
            loss = loss + config.auxiliary_weight * F.cross_entropy(
                auxiliary, y, label_smoothing=config.label_smoothing
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), config.gradient_clip or float("inf"))
        # One transfer from the device for all three.
        self.loss, finite, correct = torch.stack([loss.detach(), norm, (logits.argmax(1) == y).sum()]).tolist()
        for what, value in (("loss", self.loss), ("gradient norm", finite)):
            if not abs(value) < float("inf"):
                raise self.diverged(f"{what} is {value} in step {step + 1}")
        self.optimizer.step()
        self.step += 1
        self.seen += len(y)
        self.correct += int(correct)
        self.loss_sum += self.loss * len(y)

    def measure(self) -> None:
        """Evaluate, and start the next row of the history."""
        scores = evaluate(self.network, self.task.valid)
        row = {
            "loss": self.loss_sum / self.seen,
            "lr": self.lr,
            "train_accuracy": self.correct / self.seen,
            "accuracy": scores.accuracy,
            "valid_loss": scores.loss,
        }
        self.history.append({"step": self.step, "seconds": self.seconds, **row})
        self.log(**row)
        self.seen, self.correct, self.loss_sum = 0, 0, 0.0

    def log(self, **values: float) -> None:
        if self.run is not None:
            self.run.log(self.phase, self.step, **values)

    def save(self) -> None:
        """Write the checkpoint, unless the weights are lost."""
        state = self.network.state_dict()
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            raise self.diverged(f"a weight or batch-norm statistic is NaN or infinite after step {self.step}")
        if self.run is None:
            return
        momentum = {name: self.optimizer.state[p].get("momentum_buffer") for name, p in self.parameters.items()}
        tensors = {f"model.{name}": tensor for name, tensor in state.items()}
        tensors |= {f"momentum.{name}": tensor for name, tensor in momentum.items() if tensor is not None}
        header = {name: getattr(self, name) for name in _HEADER} | {"seconds": self.seconds, "identity": self.identity}
        self.run.save_checkpoint(self.phase, tensors, header)
        self.last_saved = self.step

    def resume(self) -> None:
        """Continue from the run's checkpoint, if it has one."""
        if self.run is None or (checkpoint := self.run.load_checkpoint(self.phase)) is None:
            return
        tensors, header = checkpoint
        _check_identity(header["identity"], self.identity, self.phase)
        try:
            self.network.load_state_dict(_under("model.", tensors))
        except RuntimeError:
            raise InputError(f"network: the checkpoint {self.phase} holds another architecture's weights") from None
        for name, momentum in _under("momentum.", tensors).items():
            parameter = self.parameters[name]
            self.optimizer.state[parameter]["momentum_buffer"] = momentum.to(parameter.device)
        for name in _HEADER:
            setattr(self, name, header[name])
        self.began = time.perf_counter() - header["seconds"]
        self.last_saved = self.step
        self.run.truncate(self.phase, after_step=self.step)

    def diverged(self, what: str) -> Diverged:
        kept = "none was written" if self.last_saved is None else f"of step {self.last_saved}"
        return Diverged(f"{self.phase}: {what} (learning rate {self.lr:.3g}); last good checkpoint: {kept}")


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    """Whatever happens inside, leave the network in evaluation mode and with its own probability of drop path."""
    own = network.drop_path if isinstance(network, Network) else 0.0
    try:
        yield
    finally:
        network.eval()
        if isinstance(network, Network):
            network.drop_path = own


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _check_identity(was: Mapping[str, Any], now: Mapping[str, Any], phase: str) -> None:
    for name, value in now.items():
        if was.get(name) != value:
            raise InputError(f"{name}: got {value!r}, expected {was.get(name)!r} as in the checkpoint {phase}")
