"""Meta-training: determinism, warm-up, monitors, interruption and resumption, failures."""

from __future__ import annotations

import math
import signal
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from base_fast import MetaConfig, MetaTrainer, Supernet
from base_fast.errors import Diverged, InputError, Interrupted
from base_fast.meta import InnerConfig, OuterConfig, Schedule, StepRule, Variables, monitors
from base_fast.posterior import Posterior
from base_fast.runs import RunFolder
from base_fast.tasks import ArraySource, Task, TaskDistribution
from tests.meta import toys

NET = toys.supernet()
START = toys.prior(NET)
INNER = InnerConfig(
    z="soft",
    batch_size=5,
    mu=StepRule("sgd", 0.05, momentum=0.5),
    rho=StepRule("adam", 0.01),
    alpha=StepRule("sgd", 0.8),
    beta_z=0.5,
)
CONFIG = MetaConfig(
    inner=INNER,
    iterations=5,
    inner_steps=2,
    warmup=1,
    tau=Schedule(1.0, 0.5),
    noise=Schedule(0.0, 1.0),
    record_every=2,
    checkpoint_every=2,
    step_size=Schedule(),
)
CONFIGS = {
    "reptile-adam": replace(CONFIG, outer=OuterConfig("reptile", "adam", 0.01)),
    "unrolled-step-sizes": replace(CONFIG, outer=OuterConfig("unrolled", "sgd", 0.5, step_size_lr=0.1)),
}
FIELDS = {
    "phase", "step", "time", "times", "loss_first", "loss_last", "ln_classes", "accuracy_last", "entropy", "none",
    "skip", "none_edges", "skip_edges", "max_probability", "sigma_drift", "mu_moved", "kl_pull", "tau", "noise",
    "gradient_norm",
}  # fmt: skip


class PowerCut(Exception):
    pass


def fit(
    config: MetaConfig, path: Path | None = None, tasks: toys.Tasks | None = None, net: Supernet = NET
) -> tuple[Posterior, RunFolder | None]:
    run = None if path is None else RunFolder.create(path, "meta-train", config, resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return MetaTrainer(config, net).fit(tasks or toys.Tasks(), run=run, start=START), run  # type: ignore[arg-type]
        finally:
            if run is not None:
                run.close()


def rows(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in ("time", "times")} for row in RunFolder.open(path).rows()]


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def cut() -> None:
    raise PowerCut


def test_deterministic_and_dependent_on_the_seed() -> None:
    assert toys.same_bits(fit(CONFIG)[0], fit(CONFIG)[0])
    assert not toys.same_bits(fit(CONFIG)[0], fit(replace(CONFIG, seed=1))[0])


def test_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, _ = fit(CONFIG)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert toys.same_bits(a, fit(CONFIG)[0])


def test_logging_changes_nothing(tmp_path: Path) -> None:
    assert toys.same_bits(fit(CONFIG)[0], fit(CONFIG, tmp_path / "run")[0])


def test_a_task_is_drawn_from_its_iteration_and_number_alone() -> None:
    one, two = toys.Tasks(), toys.Tasks()
    fit(replace(CONFIG, tasks=1), tasks=one)
    fit(replace(CONFIG, tasks=2), tasks=two)
    assert two.keys[::2] == one.keys
    assert len(set(two.keys)) == 10


def test_fresh_prior_is_where_a_search_from_scratch_starts() -> None:
    config = replace(CONFIG, iterations=1, warmup=0, mu_scale=0.5, sigma_scale=0.2)
    trainer = MetaTrainer(config, NET)
    a = trainer.fit(toys.Tasks())  # type: ignore[arg-type]
    b = trainer.fit(toys.Tasks(), start=trainer.initial())  # type: ignore[arg-type]
    assert a.mu.dtype == torch.float32
    assert toys.same_bits(a, b)
    assert not toys.same_bits(a, trainer.initial())
    ratio = trainer.initial().sigma / NET.initial_scale()
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.1))


def test_supernet_of_the_configuration() -> None:
    trainer = MetaTrainer(MetaConfig())
    assert trainer.supernet.config == replace(MetaConfig().supernet, nodes=4)
    assert trainer.supernet.layout.numel == 1_930_618


def test_warmup_freezes_alpha(tmp_path: Path) -> None:
    config = replace(CONFIG, warmup=3, record_every=1)
    fit(config, tmp_path / "run")
    recorded = [torch.tensor(row["probabilities"], dtype=torch.float64) for row in rows(tmp_path / "run")]
    assert [torch.equal(pi, START.probabilities) for pi in recorded] == [True, True, True, False, False]
    with pytest.warns(UserWarning, match="warmup is 5 of 5 iterations"):
        adapted = MetaTrainer(replace(CONFIG, warmup=5), NET).fit(toys.Tasks(), start=START)  # type: ignore[arg-type]
    assert torch.equal(adapted.alpha, START.alpha)
    assert not torch.equal(adapted.mu, START.mu)


@pytest.mark.parametrize("rule", ["reptile", "first_order", "unrolled"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_frozen_groups_do_not_move(rule: Any, optimizer: Any) -> None:
    """Also where the prior terms of the loss depend on them."""
    inner = replace(INNER, rho=StepRule("sgd", 0.0), alpha=StepRule("sgd", 0.0), beta_theta=0.01)
    adapted, _ = fit(replace(CONFIG, inner=inner, outer=OuterConfig(rule, optimizer, 0.01)))
    assert torch.equal(adapted.rho, START.rho)
    assert torch.equal(adapted.alpha, START.alpha)
    assert not torch.equal(adapted.mu, START.mu)


@pytest.mark.parametrize("head", ["zeroed", "own", "kept"])
@pytest.mark.parametrize("rule", ["reptile", "first_order", "unrolled"])
def test_a_replaced_head_is_not_part_of_the_prior(head: Any, rule: Any) -> None:
    config = replace(CONFIG, inner=replace(INNER, head=head), outer=OuterConfig(rule, lr=0.5))
    adapted, _ = fit(config, tasks=toys.Tasks((3, 2) if head == "own" else (3,)))
    for name in ("mu", "rho"):
        same = torch.equal(getattr(adapted, name)[NET.head], getattr(START, name)[NET.head])
        assert same == (head != "kept")


def test_rows(tmp_path: Path) -> None:
    fit(CONFIG, tmp_path / "run")
    found = RunFolder.open(tmp_path / "run").rows()
    assert [row["step"] for row in found] == [0, 1, 2, 3, 4]
    assert {row["phase"] for row in found} == {"meta"}
    for row in found:
        assert set(row) - {"probabilities"} == FIELDS
        assert set(row["entropy"]) == {"normal", "reduce"}
        assert all(0.0 < h < math.log(4) for h in row["entropy"].values())
        assert row["ln_classes"] == math.log(3)
    # Every second one, and the last.
    assert ["probabilities" in row for row in found] == [True, False, True, False, True]
    # The schedules run over the iterations in which alpha moves: 1 to 4.
    assert [row["tau"] for row in found] == pytest.approx([1.0, 1.0, 1 - 0.5 / 3, 1 - 1 / 3, 0.5])
    assert [row["noise"] for row in found] == pytest.approx([0.0, 0.0, 1 / 3, 2 / 3, 1.0])


def test_first_loss_of_a_zeroed_head_is_ln_classes(tmp_path: Path) -> None:
    config = replace(CONFIG, inner=replace(INNER, sample_theta=False))
    fit(config, tmp_path / "run")
    assert all(row["loss_first"] == pytest.approx(math.log(3), abs=1e-12) for row in rows(tmp_path / "run"))


def test_monitors() -> None:
    alpha = torch.zeros(2, 2, 4, dtype=torch.float64)
    alpha[0, :, 0] = 2.0
    alpha[1, 1, 1] = 3.0
    row = monitors.architecture(toys.TOY, alpha)
    pi = torch.softmax(alpha, -1)
    assert row["none"] == pytest.approx(pi[..., 0].mean().item())
    assert row["skip"] == pytest.approx(pi[..., 1].mean().item())
    assert row["skip_edges"] == 1
    assert row["none_edges"] >= 2
    assert row["max_probability"] == pytest.approx(math.exp(3) / (math.exp(3) + 3))
    normal = torch.distributions.Categorical(logits=alpha[0]).entropy().mean().item()
    assert row["entropy"]["normal"] == pytest.approx(normal)


def test_movement() -> None:
    sigma = START.sigma
    doubled = torch.log(torch.expm1(2 * sigma))
    moved = START.mu + 3 * sigma
    row = monitors.movement(Variables(moved, doubled, START.alpha), Variables.of(START))
    assert row["sigma_drift"] == pytest.approx(math.log(2))
    assert row["mu_moved"] == pytest.approx(3.0)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("action", "error"), [(interrupt, Interrupted), (cut, PowerCut)], ids=["ctrl-c", "power-cut"])
@pytest.mark.parametrize("at", [0, 3, 4])
def test_resumed_equals_uninterrupted(
    tmp_path: Path, name: str, action: Callable[[], None], error: type[Exception], at: int
) -> None:
    config = CONFIGS[name]
    expected, whole = fit(config, tmp_path / "whole")
    if action is interrupt and at == config.iterations - 1:
        # The last iteration is finished anyway: there is nothing left to interrupt.
        got, _ = fit(config, tmp_path / "cut", toys.Tasks(at=at, action=action))
    else:
        with pytest.raises(error):
            fit(config, tmp_path / "cut", toys.Tasks(at=at, action=action))
        resumed = toys.Tasks()
        got, part = fit(config, tmp_path / "cut", resumed)
        # Ctrl-C keeps the iteration that was under way; a power cut goes back to the last checkpoint.
        done = at + 1 if action is interrupt else at // 2 * 2
        assert len(resumed.keys) == config.iterations - done
        assert whole is not None
        assert part is not None
        ours, theirs = whole.load_checkpoint("meta"), part.load_checkpoint("meta")
        assert ours is not None
        assert theirs is not None
        assert ours[0].keys() == theirs[0].keys()
        assert all(torch.equal(x, theirs[0][k]) for k, x in ours[0].items())
    assert toys.same_bits(got, expected)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_interruption_says_how_far_it_got(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="^meta: stopped after 2 of 5 meta-iterations$"):
        fit(CONFIG, tmp_path / "run", toys.Tasks(at=1, action=interrupt))


def test_a_finished_run_draws_no_more_tasks(tmp_path: Path) -> None:
    expected, _ = fit(CONFIG, tmp_path / "run")
    again = toys.Tasks()
    got, _ = fit(CONFIG, tmp_path / "run", again)
    assert again.keys == []
    assert toys.same_bits(got, expected)


def test_lineage() -> None:
    adapted, _ = fit(CONFIG)
    assert [event["event"] for event in adapted.lineage] == ["meta-train"]
    assert adapted.lineage[0]["iterations"] == 5
    assert adapted.lineage[0]["config"]["inner"]["mu"]["momentum"] == 0.5


class Poisoned(toys.Tasks):
    """From task `at` on, images are not numbers."""

    def sample(self, task_key: Tensor) -> Task:
        task = super().sample(task_key)
        if len(self.keys) <= self.at:
            return task
        return replace(task, train=replace(task.train, mean=torch.full((3,), math.nan)))


def test_diverged_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    expected = (
        r"^meta: after 3 of 5 meta-iterations: inner step 0: loss nan, .*; "
        r"the checkpoint after 2 of 5 meta-iterations is kept$"
    )
    with pytest.raises(Diverged, match=expected) as caught:
        fit(CONFIG, tmp_path / "run", Poisoned(at=3))
    assert "\n" not in str(caught.value)
    found = RunFolder.open(tmp_path / "run").load_checkpoint("meta")
    assert found is not None
    assert found[1]["steps"] == 2
    assert all(bool(torch.isfinite(x).all()) for x in found[0].values())
    # With sound data the run goes on as if nothing had happened.
    assert toys.same_bits(fit(CONFIG, tmp_path / "run")[0], fit(CONFIG)[0])


def test_diverged_without_a_checkpoint(tmp_path: Path) -> None:
    for path in (None, tmp_path / "run"):
        with pytest.raises(Diverged, match="^meta: after 0 of 5 meta-iterations: .*no checkpoint was written yet$"):
            fit(CONFIG, path, Poisoned(at=0))


def test_an_infinite_outer_step_is_caught() -> None:
    single = toys.prior(NET, dtype=torch.float32)
    with pytest.raises(Diverged, match=r"outer\.lr"):
        MetaTrainer(replace(CONFIG, outer=OuterConfig(lr=1e300)), NET).fit(toys.Tasks(), start=single)  # type: ignore[arg-type]


def test_start_of_another_layout_or_space() -> None:
    wide = Supernet(toys.TOY, channels=4, layers=2, num_classes=3, reductions=(1,))
    with pytest.raises(InputError, match=r"^start: the posterior does not fit the supernet: stems\.32\.0"):
        MetaTrainer(CONFIG, NET).fit(toys.Tasks(), start=toys.prior(wide))  # type: ignore[arg-type]
    renamed = replace(START, space=replace(toys.TOY, name="other"))
    with pytest.raises(InputError, match="another space"):
        MetaTrainer(CONFIG, NET).fit(toys.Tasks(), start=renamed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        replace(CONFIG, outer=OuterConfig("reptile", "adam", 0.01)),
        replace(CONFIG, outer=OuterConfig("unrolled", step_size_lr=0.1)),
    ],
    ids=["adam", "step-sizes"],
)
def test_checkpoint_of_another_configuration(tmp_path: Path, other: MetaConfig) -> None:
    for first, second in ((CONFIG, other), (other, CONFIG)):
        path = tmp_path / str(first is CONFIG)
        fit(first, path)
        # RunFolder.create would refuse; a caller may open the folder all the same.
        run = RunFolder.open(path)
        with pytest.raises(InputError, match=r"^checkpoint meta: .*written under another configuration$"):
            MetaTrainer(second, NET).fit(toys.Tasks(), run=run, start=START)  # type: ignore[arg-type]


def test_checkpoint_of_another_supernet(tmp_path: Path) -> None:
    _, run = fit(CONFIG, tmp_path / "run")
    wide = Supernet(toys.TOY, channels=4, layers=2, num_classes=3, reductions=(1,))
    with pytest.raises(InputError, match=r"^checkpoint meta: got torch\.float64 \(\d+,\) for mu"):
        MetaTrainer(CONFIG, wide).fit(toys.Tasks(), run=run, start=toys.prior(wide))  # type: ignore[arg-type]


def pulled(factor: float, rule: Any) -> MetaConfig:
    """A configuration whose KL pull is `factor` under plain steps: η·β_θ/(N·σ²) with the smallest σ."""
    beta = factor * 12 * START.sigma.min().item() ** 2 / 1e-3
    return replace(CONFIG, iterations=1, warmup=0, inner=replace(INNER, mu=StepRule(rule, 1e-3), beta_theta=beta))


def test_warning_of_a_strong_pull(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"pulls the means back by 0\.11 .*inner\.beta_theta.*natural"):
        MetaTrainer(pulled(0.11, "sgd"), NET).fit(toys.Tasks(), start=START)  # type: ignore[arg-type]
    # `fit` turns warnings into errors.
    fit(pulled(0.09, "sgd"))
    fit(pulled(0.11, "natural"))
    fit(pulled(0.11, "adam"))
    fit(pulled(0.05, "sgd"), tmp_path / "run")
    assert rows(tmp_path / "run")[0]["kl_pull"] == pytest.approx(0.05)


def test_kl_pull_is_the_contraction_of_the_means() -> None:
    """One plain step on β/N·KL alone takes μ of the smallest σ by this share of its way back."""
    config = pulled(0.25, "sgd").inner
    offset = torch.ones_like(START.mu)
    mu = (START.mu + offset).requires_grad_()
    q, p = (torch.distributions.Normal(m, START.sigma) for m in (mu, START.mu))
    kl = config.beta_theta / 12 * torch.distributions.kl_divergence(q, p).sum()
    (gradient,) = torch.autograd.grad(kl, mu)
    assert (config.mu.lr * gradient).max().item() == pytest.approx(monitors.kl_pull(config, START.rho, 12))
    assert monitors.kl_pull(replace(config, mu=StepRule("natural", 1e-3)), START.rho, 12) == pytest.approx(
        1e-3 * config.beta_theta / 12
    )
    assert monitors.kl_pull(replace(config, beta_theta=0.0), START.rho, 12) == 0.0


def test_tasks_that_do_not_fit_are_refused_at_the_start() -> None:
    source = ArraySource("toy", torch.zeros(40, 3, 8, 8, dtype=torch.uint8), torch.arange(40) % 4)
    mixed = TaskDistribution([source], ways=(2, 3), resolutions=(8,))
    with pytest.raises(InputError, match="tasks of 2 to 3 classes for a head of 3 outputs"):
        MetaTrainer(CONFIG, NET).fit(mixed, start=START)
    stems = Supernet(toys.TOY, 2, 1, 4, ("64", "224"))
    with pytest.raises(InputError, match="which want stem '32'"):
        MetaTrainer(CONFIG, stems).fit(TaskDistribution([source], ways=4, resolutions=(8,)))
