"""Training a derived network from scratch, so that an interrupted run continues bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.engine import current, even_parts, metered, tree_mean
from base_fast.errors import Diverged, InputError, Interrupted, RankFailed
from base_fast.evaluation.counts import count_macs, count_parameters
from base_fast.evaluation.network import Network
from base_fast.evaluation.recipe import TrainConfig
from base_fast.evaluation.scores import check_classes, evaluate
from base_fast.evaluation.wrappers import check_one_process, unwrapped
from base_fast.ops import autocast
from base_fast.random import fold_in, generator, key
from base_fast.runs import Clock, RunFolder, Step, run_loop, to_dict, unchangeable
from base_fast.runs.artefacts import Evaluated, TrainedNetwork, steps_to
from base_fast.tasks import Task


@dataclass(frozen=True)
class TrainResult:
    """What came of a training."""

    history: list[dict[str, float]]
    """One row per evaluated step: step, seconds, lr, loss (mean over the training images since the row before),
    train_accuracy (likewise), accuracy and valid_loss."""
    steps: int
    """Optimizer steps done."""
    seconds: float
    """Wall-clock time of all of them, over all resumptions, evaluation included."""

    @property
    def evaluated(self) -> tuple[Evaluated, ...]:
        """The history's scores on the validation images."""
        rows = self.history
        return tuple(Evaluated(int(r["step"]), r["accuracy"], r["valid_loss"], r["seconds"]) for r in rows)

    @property
    def accuracy(self) -> float:
        """Accuracy on the validation images at the end, from 0 to 1."""
        return self.history[-1]["accuracy"]

    @property
    def loss(self) -> float:
        """Cross-entropy on the validation images at the end, in nats."""
        return self.history[-1]["valid_loss"]

    def steps_to(self, accuracy: float) -> int | None:
        """The first evaluated step that reached `accuracy` on the validation images, or None."""
        return steps_to(self.evaluated, accuracy)


def train(
    network: nn.Module, task: Task, config: TrainConfig, run: RunFolder | None = None, name: str = "network"
) -> TrainResult:
    """Train `network` in place on `task.train`, from the weights it has (see `initialize`), and leave it in eval mode.

    Images, augmentation and drop path depend on `config.seed` and the step alone: one seed and one start give the same
    weights on the same device (on a GPU, with torch.use_deterministic_algorithms). With `run`, rows go to the phase
    "train/<name>" and a checkpoint of that name holds weights, batch-norm buffers and momentum; called again, the
    training continues from it.

    Args:
        network: maps x (B, 3, R, R) to logits (B, num_classes), or in training mode to (logits, auxiliary logits). It
            may be wrapped by torch.compile, nn.DataParallel or DistributedDataParallel of one process: checkpoints are
            those of the network inside, and every `Network` in it gets its drop path.
        task: what to learn, and where to measure.
        config: the recipe.
        run: where to record; None keeps nothing.
        name: tells several networks of one run apart.

    Raises:
        Diverged: loss, gradient or weights became NaN or infinite; the checkpoint before stays as it was.
        Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
        InputError: the network doesn't fit the task, is distributed over several processes, which would all see the
            same images, or the checkpoint belongs to another training.
    """
    process = _Training(network, task, config)
    devices = [process.device] if process.device.type == "cuda" else []
    with _restored(network), torch.random.fork_rng(devices):
        finished = run_loop(
            process,
            name=f"train/{name}",
            total=config.total_steps(len(task.train)),
            run=run,
            checkpoint_every=config.checkpoint_every or process.epoch,
        )
    return TrainResult(finished.state.history, finished.steps, finished.seconds)


def trained(network: nn.Module, task: Task, result: TrainResult) -> TrainedNetwork:
    """What stays of a training in a run folder, besides the weights: the result, and the network's size."""
    return TrainedNetwork(
        task.name,
        result.accuracy,
        result.loss,
        result.steps,
        result.seconds,
        count_parameters(network, auxiliary=False),
        count_macs(network, (3, task.resolution, task.resolution)).conv_linear,
        result.evaluated,
    )


# Pixels a side from which channels-last convolutions are faster: 1.4 times at 32 pixels and 16 channels, measured on
# 2 Sapphire-Rapids cores. The weights' format is enough, for activations follow it.
CHANNELS_LAST_FROM = 16


@dataclass(frozen=True)
class _State:
    """Where a training stands, beside the weights and the momentum, which network and optimizer hold."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    # Sums over the training images since the last evaluation.
    seen: int = 0
    correct: int = 0
    loss_sum: float = 0.0


class _Training:
    """A training in place, as a process for `run_loop`."""

    def __init__(self, network: nn.Module, task: Task, config: TrainConfig) -> None:
        if min(config.batch_size, len(task.train)) < 2:
            raise InputError("batch_size: got batches of one image, expected at least 2, which batch norm needs")
        check_one_process(network)
        self.network, self.task, self.config = network, task, config
        # Whose names a checkpoint has, whatever it is wrapped in.
        self.inner = unwrapped(network)
        self.derived = [module for module in network.modules() if isinstance(module, Network)]
        self.epoch = config.steps_per_epoch(len(task.train))
        self.total = config.total_steps(len(task.train))
        self.parameters = dict(self.inner.named_parameters())
        self.place = next(iter(self.parameters.values()))
        self.device = self.place.device
        if task.resolution >= CHANNELS_LAST_FROM:
            network.to(memory_format=torch.channels_last)
        self.augmentation = config.augmentation_for(task.resolution)
        self.optimizer = torch.optim.SGD(
            self.parameters.values(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
        )
        self.batch_key, self.noise_key = (fold_in(key(config.seed), branch) for branch in (0, 1))

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have been written with."""
        return {**unchangeable(self.config), "images to learn from": len(self.task.train), "data set": self.task.digest}

    def start(self, clock: Clock) -> Step[_State]:
        return Step(_State())

    def step(self, state: _State, clock: Clock) -> Step[_State]:
        evaluates = clock.limit() is not None or (state.step + 1) % (self.config.evaluate_every or self.epoch) == 0
        if not evaluates or current().world == 1:
            return self._step(state, evaluates, clock)
        # An evaluation that processes share can be cut off when the weights have moved already.
        before = {name: x.clone() for name, x in self.pack(state)[0].items()}
        try:
            return self._step(state, evaluates, clock)
        except (Interrupted, RankFailed):
            self._load(before)
            raise

    def _step(self, state: _State, evaluates: bool, clock: Clock) -> Step[_State]:
        config = self.config
        lr = config.lr_at(state.step, self.total)
        loss, seen, correct = self._optimize(state.step, lr)
        state = replace(
            state,
            step=state.step + 1,
            seen=state.seen + seen,
            correct=state.correct + correct,
            loss_sum=state.loss_sum + loss * seen,
        )
        row: dict[str, float] | None = None
        if evaluates:
            scores = evaluate(self.network, self.task.valid)
            row = {
                "loss": state.loss_sum / state.seen,
                "lr": lr,
                "train_accuracy": state.correct / state.seen,
                "accuracy": scores.accuracy,
                "valid_loss": scores.loss,
            }
            state = _State(state.step, [*state.history, {"step": state.step, "seconds": clock.seconds, **row}])
        elif state.step % config.log_every == 0:
            row = {"loss": loss, "lr": lr}
        accuracy = {"accuracy": state.history[-1]["accuracy"]} if state.history else {}
        return Step(state, row, shown={"loss": loss, **accuracy})

    def _optimize(self, step: int, lr: float) -> tuple[float, int, int]:
        """One optimizer step: the batch's loss, its images, and how many of them were classified right."""
        config = self.config
        self.optimizer.param_groups[0]["lr"] = lr
        for derived in self.derived:
            derived.drop_path = config.drop_path_at(step, self.total)
        with metered("data"):
            x, y = self.task.train.batch(self.batch_key, step, config.batch_size, self.augmentation)
        parts = config.microbatches
        self.network.train()
        if parts == 1:
            self._seed(fold_in(self.noise_key, step))
            loss, correct = self._differentiate(x, y)
        else:
            loss, correct = self._differentiate_parts(even_parts(x, parts), even_parts(y, parts), step)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), config.gradient_clip or float("inf"))
        # One transfer from the device for all three.
        value, length, right = torch.stack([loss, norm, correct]).tolist()
        for what, found in (("loss", value), ("gradient norm", length)):
            if not abs(found) < float("inf"):
                raise Diverged(f"{what} is {found}; a smaller learning rate than {lr:.3g} may help")
        self.optimizer.step()
        return value, len(y), int(right)

    def _seed(self, noise_key: Tensor) -> None:
        # Seeded at every step, so that drop path (or any dropout) after a resumption is what it would have been.
        seed = generator(noise_key).initial_seed()
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index].manual_seed(seed)

    def _differentiate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Leave the gradients of a batch with the parameters: its loss, and how many images were classified right."""
        config = self.config
        x, y = x.to(self.place), y.to(self.device)
        with autocast.activations(config.precision, self.device.type):
            out = self.network(x)
        logits, auxiliary = out if isinstance(out, tuple) else (out, None)
        # Losses are computed in the dtype of the weights.
        logits = logits.to(self.place.dtype)
        check_classes(logits, self.task.num_classes)
        loss = F.cross_entropy(logits, y, label_smoothing=config.label_smoothing)
        if auxiliary is not None:
            loss = loss + config.auxiliary_weight * F.cross_entropy(
                auxiliary.to(self.place.dtype), y, label_smoothing=config.label_smoothing
            )
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        return loss.detach(), (logits.argmax(1) == y).sum()

    def _differentiate_parts(self, xs: list[Tensor], ys: list[Tensor], step: int) -> tuple[Tensor, Tensor]:
        """The same of microbatches, which several processes share: mean gradients, and the mean of what batch norm's
        running statistics become by each of them."""
        buffers = dict(self.inner.named_buffers())
        before = {name: x.clone() for name, x in buffers.items()}
        averaged = [x for x in buffers.values() if x.is_floating_point()]

        def work(part: int) -> tuple[Tensor, tuple[Tensor, Tensor, dict[str, Tensor]]]:
            for name, x in buffers.items():
                x.copy_(before[name])
            self._seed(fold_in(fold_in(self.noise_key, step), part))
            loss, correct = self._differentiate(xs[part], ys[part])
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters.values()]
            counters = {name: x.to("cpu", copy=True) for name, x in buffers.items() if not x.is_floating_point()}
            flat = torch.cat([x.flatten() for x in (*gradients, *averaged)])
            return flat, (loss.cpu(), correct.cpu(), counters)

        try:
            mean, records = current().mean(range(len(xs)), work)
        except BaseException:
            for name, x in buffers.items():  # as they were: whoever is stopped here saves them
                x.copy_(before[name])
            raise
        sizes = [x.numel() for x in (*self.parameters.values(), *averaged)]
        shares = mean.split(sizes)
        for parameter, share in zip(self.parameters.values(), shares, strict=False):
            parameter.grad = torch.empty_like(parameter).copy_(share.view_as(parameter))
        for buffer, share in zip(averaged, shares[len(self.parameters) :], strict=True):
            buffer.copy_(share.view_as(buffer))
        for name, x in records[0][2].items():
            buffers[name].copy_(x)
        loss = tree_mean([one for one, _, _ in records])
        return loss.to(self.device), torch.stack([right for _, right, _ in records]).sum().to(self.device)

    def pack(self, state: _State) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"model.{name}": tensor for name, tensor in self.inner.state_dict().items()}
        for name, parameter in self.parameters.items():
            momentum = self.optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        return tensors, {"identity": self.identity, "state": to_dict(state)}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> _State:
        for name, value in self.identity.items():
            was = header["identity"].get(name)
            if was != value:
                raise InputError(f"{name}: got {value!r}, expected {was!r}, with which it was written")
        try:
            self._load(tensors)
        except RuntimeError:
            raise InputError("network: it holds another architecture's weights") from None
        return _State(**header["state"])

    def _load(self, tensors: dict[str, Tensor]) -> None:
        self.inner.load_state_dict(_under("model.", tensors))
        self.optimizer.state.clear()
        for name, momentum in _under("momentum.", tensors).items():
            parameter = self.parameters[name]
            self.optimizer.state[parameter]["momentum_buffer"] = momentum.to(parameter.device, copy=True)


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    """Whatever happens inside, leave the network in evaluation mode and with its own probabilities of drop path."""
    own = [(module, module.drop_path) for module in network.modules() if isinstance(module, Network)]
    try:
        yield
    finally:
        network.eval()
        for module, probability in own:
            module.drop_path = probability


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
