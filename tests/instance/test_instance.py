"""Instance-aware networks: skipping is exact, costs add up, the policy gradient is the gradient, and bits come back."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from base_fast.cli import main
from base_fast.errors import InputError, Interrupted
from base_fast.evaluation import count_macs
from base_fast.instance import (
    Costs,
    InstanceConfig,
    InstanceNetwork,
    InstanceRecord,
    InstanceTraining,
    MetaGraph,
    MetaGraphConfig,
    Phase,
    agreement,
    best_static,
    count_costs,
    judged,
    load_instance,
    time_costs,
    train_instance,
)
from base_fast.instance.controller import entropy, explored
from base_fast.instance.record import accuracy_of, mutual_information
from base_fast.instance.reward import Window, reward, self_critical_loss
from base_fast.random import key
from base_fast.runs import RunFolder
from base_fast.space import NAS_BENCH_MACRO, Stack
from base_fast.tasks import Task, open_target
from base_fast.tasks.target import TargetConfig

ROOT = Path(__file__).resolve().parents[2]
GRAPH = MetaGraphConfig(layers=2, channels=(4, 6), controller=(2, 3))
CONFIG = InstanceConfig(
    GRAPH, Phase(4, 0.05), Phase(4, 0.01), Phase(2, 0.01), batch_size=16, window=(0.9, 0.8), cost="macs", log_every=1
)


def network(config: MetaGraphConfig = GRAPH, seed: int = 0) -> InstanceNetwork:
    return InstanceNetwork(*config.build(10, seed))


@pytest.fixture(scope="module")
def task() -> Task:
    return open_target(TargetConfig(resolution=8, limit_per_class=20))


def policies(n: int, shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) < 0.5


def test_each_image_gets_what_its_own_network_gives() -> None:
    graph = network().graph.double().eval()
    x, taken = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double(), policies(12, (2, 2))
    together = graph(x, taken)
    alone = torch.cat([graph(x[i : i + 1], taken[i : i + 1]) for i in range(12)])
    torch.testing.assert_close(together, alone)
    with pytest.raises(InputError, match=r"policies: got torch.bool \(12, 2, 1\), expected bool \(12, 2, 2\)"):
        graph(x, taken[..., :1])


def test_what_no_image_takes_does_not_run() -> None:
    graph, x = network().graph.eval(), torch.zeros(6, 3, 8, 8)
    seen: list[int] = []
    graph.blocks(1)[0].register_forward_hook(lambda module, inputs, out: seen.append(len(inputs[0])))
    taken = torch.zeros(6, 2, 2, dtype=torch.bool)
    graph(x, taken)
    assert seen == []
    taken[[1, 4], 1, 0] = True
    graph(x, taken)
    assert seen == [2]


def test_the_mean_of_blocks_is_added_to_the_input() -> None:
    graph = network().graph.double().eval()
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    one, two = (block(x) for block in graph.blocks(0))
    taken = torch.tensor([[True, True], [True, False], [False, False]])
    expected = torch.stack((x[0] + (one[0] + two[0]) / 2, x[1] + one[1], x[2]))
    torch.testing.assert_close(graph.layer(0, x, taken), expected)


def test_nas_bench_macro_is_a_meta_graph_and_others_are_refused() -> None:
    graph = MetaGraph(NAS_BENCH_MACRO, (4, 8, 8), 10)
    assert graph.shape == (8, 2) and graph.first == [0, 3, 6]
    with pytest.raises(InputError, match="space: got blocks mb3_k3, mb6_k5"):
        MetaGraph(Stack("own", ("mb3_k3", "mb6_k5"), 3), (4,), 10)
    with pytest.raises(InputError, match="channels: got"):
        MetaGraph(NAS_BENCH_MACRO, (), 10)


def test_costs_are_the_sum_of_their_parts() -> None:
    built = network()
    costs = count_costs(built.graph, built.controller, 8)
    every, none = torch.ones(1, 2, 2, dtype=torch.bool), torch.zeros(1, 2, 2, dtype=torch.bool)
    assert costs.of(every).item() == costs.highest == costs.blocks.sum().item() + costs.fixed + costs.controller
    assert costs.of(none).item() == costs.lowest

    hooked = sum(
        count_macs(part, shape).conv_linear
        for part, shape in ((built.graph.stem, (3, 8, 8)), (built.controller, (3, 8, 8)), (built.graph.head, (6, 4, 4)))
    )
    starts = sum(count_macs(s, (4, 8, 8)).conv_linear for s in built.graph.starts)
    assert costs.lowest == hooked + starts
    timed = time_costs(built.graph, built.controller, 8, batch=4, repeats=2)
    assert timed.blocks.shape == (2, 2) and timed.lowest > 0 and timed.highest >= timed.lowest


def test_the_window_scores_nothing_at_its_ends_and_one_in_the_middle() -> None:
    window = Window(2.0, 6.0)
    scores = window.score(torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0, 9.0]))
    assert scores.tolist() == [0.0, 0.0, 0.75, 1.0, 0.0, 0.0]
    found = reward(torch.tensor([True, False]), torch.tensor([4.0, 4.0]), window, 30.0, -1.0)
    assert found.tolist() == [30.0, -1.0]


def test_the_self_critical_gradient_is_that_of_the_expected_reward() -> None:
    """Over all policies of two blocks, weighted by their probabilities."""
    logits = torch.tensor([[[0.3, -0.7]]], dtype=torch.float64, requires_grad=True)
    worth = {(a, b): 1.0 + 2.0 * a - 3.0 * b + 0.5 * a * b for a, b in itertools.product((0, 1), repeat=2)}
    p = explored(logits, 0.8)
    expected, estimate = torch.zeros((), dtype=torch.float64), torch.zeros(1, 1, 2, dtype=torch.float64)
    for (a, b), value in worth.items():
        drawn = torch.tensor([[[a, b]]], dtype=torch.bool)
        q = torch.where(drawn, p, 1.0 - p).prod()
        expected = expected + q * value
        loss = self_critical_loss(p, drawn, torch.tensor([value - worth[1, 0]]))
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        estimate -= q.detach() * gradient
    (exact,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(estimate, exact)
    torch.testing.assert_close(entropy(logits), torch.distributions.Bernoulli(logits=logits).entropy())


def test_mutual_information() -> None:
    labels = torch.arange(12) % 3
    assert mutual_information(labels, labels, 3, 3) == pytest.approx(torch.tensor(3.0).log().item())
    assert mutual_information(torch.arange(12) // 6, labels, 2, 3) == pytest.approx(0.0, abs=1e-12)


def test_a_training_resumes_in_every_phase_to_the_same_bits(task: Task, tmp_path: Path, monkeypatch: Any) -> None:
    whole = network()
    run = RunFolder.create(tmp_path / "whole", "train-instance", CONFIG)
    costs = train_instance(InstanceTraining(whole, task, CONFIG), run)
    rows = run.rows("instance")
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert rows[0]["cost"] == 1.0 and "reward" in rows[5] and "reward" not in rows[9]
    step = InstanceTraining.step
    cut = RunFolder.create(tmp_path / "cut", "train-instance", CONFIG)
    for at in (2, 6, 9):

        def interrupted(self: Any, state: Any, clock: Any, at: int = at) -> Any:
            if state.step == at:
                raise Interrupted("now")
            return step(self, state, clock)

        monkeypatch.setattr(InstanceTraining, "step", interrupted)
        with pytest.raises(Interrupted):
            # Later starts take their weights from the checkpoint, whatever they begin with.
            train_instance(InstanceTraining(network(seed=0 if at == 2 else at), task, CONFIG), cut)
    monkeypatch.setattr(InstanceTraining, "step", step)
    resumed = network(seed=5)
    assert train_instance(InstanceTraining(resumed, task, CONFIG), cut).highest == costs.highest
    found = resumed.state_dict()
    assert all(torch.equal(x, found[name]) for name, x in whole.state_dict().items())
    assert [{**row, "time": 0} for row in cut.rows("instance")] == [{**row, "time": 0} for row in rows]
    with pytest.raises(InputError, match="entropy: got 0.1, expected 0.8"):
        train_instance(InstanceTraining(resumed, task, replace(CONFIG, entropy=0.1)), cut)


def test_static_children(task: Task) -> None:
    built = network()
    costs = count_costs(built.graph, built.controller, 8)
    limit = 0.8 * costs.highest
    policy = best_static(built.graph, task.valid, costs, limit, key(0), draws=4)
    assert costs.of(policy.unsqueeze(0)).item() <= limit
    before = accuracy_of(built.graph, task.valid, policy)
    process = InstanceTraining(built, task, replace(CONFIG, finetune=Phase(30, 0.05)), policy, start=4, costs=costs)
    assert process.total == 34
    train_instance(process)
    assert accuracy_of(built.graph, task.valid, policy) > before
    with pytest.raises(InputError, match="limit: got 0"):
        best_static(built.graph, task.valid, costs, 0.0, key(0))


def test_a_network_is_judged_by_permuting_its_policies(task: Task) -> None:
    built = network()
    costs = Costs(torch.ones(2, 2).double(), 1.0, 0.5)
    with torch.no_grad():
        built.controller.choice.bias.fill_(9.0)
    record = judged(built, task.valid, costs, "ms", 3, key(0), permutations=2)
    # All images take all blocks, so that permuting changes nothing and tells nothing.
    assert record.permuted == record.accuracy and record.permuted_p == 1.0 and record.common == 1
    assert record.cost == record.full == 5.5 and record.share == 1.0 and record.information == pytest.approx(0.0)
    times = agreement(built, costs, policies(3 * 4, (2, 2)).view(3, 4, 2, 2), 8, repeats=1)
    assert len(times.measured) == 3 and times.error >= 0.0 and -1.0 <= times.spearman <= 1.0


def test_the_example_from_the_command_line(tmp_path: Path, capsys: Any) -> None:
    text = re.sub(r"steps = \d+", "steps = 2", (ROOT / "examples/train_instance.toml").read_text())
    (tmp_path / "c.toml").write_text(text)
    command = ["train-instance", "--config", str(tmp_path / "c.toml"), "--run", str(tmp_path / "r")]
    assert main(command) == 0
    assert "Instance-aware network" in capsys.readouterr().out
    record = RunFolder.open(tmp_path / "r").read("results", InstanceRecord)
    loaded, names = load_instance(tmp_path / "r")
    assert names == tuple("0123456789") and not loaded.training
    assert record.unit == "ms" and 0.0 < record.controller < 1.0
    assert sum(x.numel() for x in loaded.parameters()) == record.parameters
    assert main([*command[:3], "--run", str(tmp_path / "s"), "--instance.window", "0.7", "0.01"]) == 1
    assert "window: got" in capsys.readouterr().err
    assert main([*command[:3], "--run", str(tmp_path / "t"), "--instance.graph.channels", "4", "4", "4", "4"]) == 1
    assert "channels: got 4 stages, expected at most 3" in capsys.readouterr().err
