"""Training a network that chooses its blocks: pretraining, search, finetuning, as one resumable process."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from base_fast.errors import Diverged, InputError
from base_fast.instance.config import InstanceConfig
from base_fast.instance.controller import entropy, explored
from base_fast.instance.costs import Costs, count_costs, time_costs
from base_fast.instance.network import InstanceNetwork
from base_fast.instance.reward import Window, reward, self_critical_loss
from base_fast.random import fold_in, key
from base_fast.reference import philox
from base_fast.runs import Clock, RunFolder, Step, run_loop, unchangeable
from base_fast.runs.loop import matching
from base_fast.tasks import Augmentation, Task

Row = dict[str, float]


class InstanceState(NamedTuple):
    """Beside the weights, which the networks hold: the steps done, and what a policy costs."""

    step: int
    costs: Costs


class InstanceTraining:
    """The three phases on a task, in place, as a process for `run_loop`.

    Args:
        network: with untrained or pretrained weights.
        task: its training images move all weights.
        config: the phases.
        policy: bool (L, A), which all images take from the search on, in place of a controller's choices: a static
            child, tuned as long as the others.
        start: the first step; `config.pretrain.steps` for a pretrained network.
        costs: those of the network, counted or timed if not given.

    Raises:
        InputError: images too small for so many stages.
    """

    def __init__(
        self,
        network: InstanceNetwork,
        task: Task,
        config: InstanceConfig,
        policy: Tensor | None = None,
        start: int = 0,
        costs: Costs | None = None,
    ) -> None:
        stages = len(config.graph.channels)
        if task.resolution < 2**stages:
            raise InputError(f"channels: got {stages} stages, expected at most {int(math.log2(task.resolution))}")
        self.network, self.task, self.config = network, task, config
        self.policy, self.first, self._costs = policy, start, costs
        self.augmentation = Augmentation(crop_padding=task.resolution // 8, flip=True) if config.augment else None
        self.sgd = torch.optim.SGD(
            network.graph.parameters(), lr=1.0, momentum=config.momentum, weight_decay=config.weight_decay
        )
        self.adam = torch.optim.Adam(network.controller.parameters(), lr=config.controller_lr)
        self._batch_key, self._search_key, self._policy_key = (fold_in(key(config.seed), i) for i in range(3))
        self.total = config.total - start

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must have been written with."""
        return {**unchangeable(self.config), "data set": self.task.digest}

    def start(self, clock: Clock) -> Step[InstanceState]:
        network, resolution = self.network, self.task.resolution
        measure = time_costs if self.config.cost == "latency" else count_costs
        costs = self._costs or measure(network.graph, network.controller, resolution)
        return Step(InstanceState(self.first, costs))

    def step(self, state: InstanceState, clock: Clock) -> Step[InstanceState]:
        config, number = self.config, state.step
        x, y = self.task.train.batch(self._batch_key, number, config.batch_size, self.augmentation)
        row: Row = {}
        if number < config.pretrain.steps:
            phase, done = config.pretrain, number
            policies = self._kept(number, len(x))
        elif number < config.pretrain.steps + config.search.steps:
            phase, done = config.search, number - config.pretrain.steps
            if self.policy is None:
                policies, row = self._searched(x, state, done)
            else:
                policies = self.policy.expand(len(x), -1, -1)
        else:
            phase, done = config.finetune, number - config.pretrain.steps - config.search.steps
            policies = self._chosen(x)
        row |= self._descend(x, y, policies, phase.lr_at(done))
        row["cost"] = (state.costs.of(policies).mean() / state.costs.highest).item()
        state = state._replace(step=number + 1)
        logged = row if state.step % config.log_every == 0 or clock.limit() else None
        return Step(state, logged, shown={"loss": row["loss"], "cost": row["cost"]})

    def _kept(self, number: int, images: int) -> Tensor:
        """Random policies of pretraining: everything at first, then less and less."""
        done = number / self.config.pretrain.steps
        keep = 1.0 - max(0.0, done - 0.5)
        return self._uniform(number, images) < keep

    def _uniform(self, number: int, images: int) -> Tensor:
        shape = (images, *self.network.graph.shape)
        return philox.uniform(fold_in(self._policy_key, number), math.prod(shape)).view(shape)

    def _chosen(self, x: Tensor) -> Tensor:
        """The controller's choices, or the fixed policy."""
        if self.policy is not None:
            return self.policy.expand(len(x), -1, -1)
        self.network.controller.eval()
        with torch.no_grad():
            return self.network.policies(x)

    def _searched(self, x: Tensor, state: InstanceState, done: int) -> tuple[Tensor, Row]:
        """A step of the controller on images of its own; then policies for x, shuffled, and what there is to say."""
        config, network, costs = self.config, self.network, state.costs
        own, labels = self.task.train.batch(self._search_key, done, config.batch_size, self.augmentation)
        network.controller.train()
        logits = network.controller(own)
        probabilities = explored(logits, config.certainty)
        drawn = self._uniform(state.step, len(own)) < probabilities.detach()
        likely = logits.detach() >= 0.0
        start, end = config.window
        upper = (start + (end - start) * done / max(1, config.search.steps - 1)) * costs.highest
        if upper <= costs.lowest:
            share = costs.lowest / costs.highest
            raise InputError(f"window: got {config.window}, expected more than the cost of no block, {share:.2f}")
        window = Window(costs.lowest, upper)
        network.graph.eval()
        with torch.no_grad():
            both = torch.cat((drawn, likely))
            right = network.graph(own.repeat(2, 1, 1, 1), both).argmax(dim=1) == labels.repeat(2)
            rewards = reward(right, costs.of(both), window, *config.reward)
        of_drawn, of_likely = rewards.chunk(2)
        uncertainty = entropy(logits).sum(dim=(1, 2)).mean()
        loss = self_critical_loss(probabilities, drawn, (of_drawn - of_likely).float()) - config.entropy * uncertainty
        self.adam.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.controller.parameters(), config.clip or math.inf)
        self.adam.step()
        network.controller.eval()
        with torch.no_grad():
            policies = network.policies(x)
        # Shuffled, so that no block sees the images alone that the controller sends there now.
        order = self._uniform(state.step + config.total, len(x))[:, 0, 0].argsort()
        row = {
            "reward": rewards.mean().item(),
            "rewarded": (rewards > 0.0).double().mean().item(),
            "entropy": uncertainty.item(),
            "window": upper / costs.highest,
            "policies": float(len(torch.unique(likely.flatten(1), dim=0))),
        }
        return policies[order], row

    def _descend(self, x: Tensor, y: Tensor, policies: Tensor, lr: float) -> Row:
        """A step of the meta-graph."""
        network, config = self.network, self.config
        network.graph.train()
        logits = network.graph(x, policies)
        loss = F.cross_entropy(logits, y)
        self.sgd.param_groups[0]["lr"] = lr
        self.sgd.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(network.graph.parameters(), config.clip or math.inf).item()
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            raise Diverged(f"loss is {loss.item()}, gradient norm {norm}; a smaller lr than {lr:.3g} may help")
        self.sgd.step()
        return {"loss": loss.item(), "lr": lr, "train_accuracy": (logits.argmax(1) == y).double().mean().item()}

    def pack(self, state: InstanceState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"network.{name}": x for name, x in self.network.state_dict().items()} | {
            "costs": state.costs.blocks
        }
        for what, optimizer in (("sgd", self.sgd), ("adam", self.adam)):
            for i, slots in optimizer.state_dict()["state"].items():
                tensors |= {f"{what}.{i}.{name}": x for name, x in slots.items() if isinstance(x, Tensor)}
        header = {"step": state.step, "fixed": state.costs.fixed, "controller": state.costs.controller}
        return tensors, {"identity": self.identity, **header}

    def unpack(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> InstanceState:
        for name, value in self.identity.items():
            if header["identity"].get(name) != value:
                raise InputError(
                    f"{name}: got {value!r}, expected {header['identity'].get(name)!r}, with which it was written"
                )
        expected = {f"network.{name}": x for name, x in self.network.state_dict().items()}
        found = matching({name: x for name, x in tensors.items() if name.startswith("network.")}, expected)
        self.network.load_state_dict({name.removeprefix("network."): x for name, x in found.items()})
        for what, optimizer in (("sgd", self.sgd), ("adam", self.adam)):
            slots: dict[int, dict[str, Tensor]] = {}
            for name, x in tensors.items():
                if name.startswith(f"{what}."):
                    _, i, slot = name.split(".")
                    slots.setdefault(int(i), {})[slot] = x.clone()
            optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
        return InstanceState(
            header["step"], Costs(tensors["costs"].clone(), float(header["fixed"]), float(header["controller"]))
        )


def train_instance(process: InstanceTraining, run: RunFolder | None = None, name: str = "instance") -> Costs:
    """Run the phases to their end, and leave the network in evaluation mode; gives what policies cost.

    Raises:
        Diverged: a loss or gradient became NaN or infinite; the checkpoint before stays.
        Interrupted: SIGINT or SIGTERM; with a run the state is saved, and the same call continues it.
    """
    every = process.config.checkpoint_every
    finished = run_loop(process, name=name, total=process.total, run=run, checkpoint_every=every)
    process.network.eval()
    return finished.state.costs
