"""What a meta-training or an adaptation is, as data. Defaults are the settings that worked on small images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from base_fast.arguments import whole_numbers
from base_fast.errors import InputError
from base_fast.meta.architecture import ArchitectureConfig
from base_fast.meta.evidence import CellEvidenceConfig
from base_fast.meta.variables import Group
from base_fast.ops.autocast import Precision, check_precision
from base_fast.runs import changeable
from base_fast.supernet import SupernetConfig
from base_fast.tasks import Augmentation


@dataclass(frozen=True)
class StepRule:
    """How one group of variables moves in an inner step."""

    rule: Literal["sgd", "adam", "natural"] = "sgd"
    """sgd; adam; natural = gradient preconditioned by the inverse Fisher matrix (σ² for mu), not for alpha."""
    lr: float = 0.3
    """Step size η; 0 freezes the group."""
    momentum: float = 0.0
    """Heavy-ball momentum of sgd and natural. Where a gradient is exactly zero, as off a single path, nothing moves and
    the momentum waits."""
    beta1: float = 0.9
    """Adam's decay of the gradient's mean."""
    beta2: float = 0.999
    """Adam's decay of its square."""

    def __post_init__(self) -> None:
        if not (self.lr >= 0.0 and math.isfinite(self.lr)):
            raise InputError(f"lr: got {self.lr!r}, expected a finite number ≥ 0")
        for name in ("momentum", "beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a number in [0, 1)")


@dataclass(frozen=True)
class Schedule:
    """A value that moves from start to end over the part of a run in which the edge logits move."""

    start: float = 1.0
    """Value at the beginning, and during the warm-up."""
    end: float = 1.0
    """Value at the end."""
    shape: Literal["linear", "cosine", "exponential"] = "linear"
    """How it moves; exponential needs both ends > 0."""

    def __post_init__(self) -> None:
        if self.shape == "exponential" and not (self.start > 0.0 and self.end > 0.0):
            raise InputError(f"schedule: got {self.start} → {self.end}, expected both > 0 for an exponential shape")

    def __call__(self, fraction: float) -> float:
        """Value at `fraction` of the way, clamped to [0, 1]."""
        t = min(max(fraction, 0.0), 1.0)
        if self.shape == "exponential":
            return self.start * (self.end / self.start) ** t
        if self.shape == "cosine":
            t = 0.5 - 0.5 * math.cos(math.pi * t)
        return self.start + (self.end - self.start) * t


@dataclass(frozen=True)
class InnerConfig:
    """The per-task inner loop: T gradient steps on the negative ELBO."""

    z: Literal["single", "soft", "hard"] = "single"
    """What runs in a step. single: one drawn genotype, on which the weights learn; q(z) moves by what whole cells turn
    out to be worth (`architecture`, `evidence`). soft, hard: a Gumbel-Softmax sample or its straight-through one-hot;
    the edge logits move along its gradient."""
    uniform: float = 0.5
    """single: share of the steps whose genotype is drawn uniformly; the others' come from q."""
    architecture: ArchitectureConfig = ArchitectureConfig()
    """single: when cells are drawn, and how they move q(z)."""
    evidence: CellEvidenceConfig = CellEvidenceConfig()
    """single: what the drawn cells are worth."""
    batch_size: int = 64
    """Images a step."""
    microbatches: int = 1
    """Equal parts of a batch, each with its own batch norm; a step takes their mean gradient, and several processes can
    share them with the same bits."""
    mu: StepRule = StepRule("sgd", 0.1, momentum=0.9)
    """How the weights' means move."""
    rho: StepRule = StepRule("adam", 0.0)
    """How the weights' (inverse-softplus) deviations move; sgd hardly moves them, for their gradient carries a σ."""
    alpha: StepRule = StepRule("sgd", 1.0)
    """soft, hard: how the edge logits move; their gradient is small: steps of 1 to 3 (sgd) or 0.01 (adam) move them.
    A step size of 0 freezes them with every kind of z."""
    clip: float = 5.0
    """Largest norm of the weights' gradient (mu and rho together); 0 turns clipping off."""
    beta_theta: float = 0.0
    """Weight β_θ of the KL of the weights."""
    beta_z: float = 1.0
    """Weight β_z of the KL of the architecture."""
    kl_z: Literal["categorical", "concrete"] = "categorical"
    """soft, hard: closed form, or the log-ratio of the two Concrete densities at the drawn z."""
    sample_theta: bool = True
    """Draw θ ~ N(μ, σ²); otherwise θ = μ."""
    head: Literal["zeroed", "kept", "own"] = "zeroed"
    """Classifier head at a task's start: zeroed; kept (part of the prior); own (zeroed, as many outputs as classes)."""
    augmentation: Augmentation | None = None
    """Crop, flip and cutout of the training images."""

    @property
    def rules(self) -> dict[Group, StepRule]:
        """How each group of variables moves."""
        return {"mu": self.mu, "rho": self.rho, "alpha": self.alpha}

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.batch_size < 1:
            raise InputError(f"batch_size: got {self.batch_size}, expected an integer ≥ 1")
        if self.microbatches < 1 or self.batch_size % self.microbatches:
            raise InputError(
                f"microbatches: got {self.microbatches}, expected a divisor of batch_size {self.batch_size}"
            )
        if self.mu.lr == self.rho.lr == self.alpha.lr == 0.0:
            raise InputError("mu.lr, rho.lr, alpha.lr: got 0 for all, expected at least one group that moves")
        if self.alpha.rule == "natural":
            raise InputError("alpha.rule: got 'natural', expected 'sgd' or 'adam' (natural is for mu and rho)")
        if not 0.0 <= self.uniform <= 1.0:
            raise InputError(f"uniform: got {self.uniform!r}, expected a share from 0 to 1")
        if self.z == "single" and self.beta_z == 0.0:
            raise InputError("beta_z: got 0 with z = 'single', expected a number > 0: q(z) is held to its prior")
        for name in ("clip", "beta_theta", "beta_z"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a finite number ≥ 0")


@dataclass(frozen=True)
class OuterConfig:
    """The outer step, which moves the prior."""

    rule: Literal["reptile", "first_order", "unrolled"] = "reptile"
    """reptile: towards the adapted posteriors; first_order: gradient at the adapted point; unrolled: exact gradient."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """What turns the (pseudo-)gradient into a step."""
    lr: float = 1.0
    """λ; with reptile and sgd, the share of the way towards the mean of the tasks' posteriors."""
    z_rate: float = 0.25
    """single paths: share of the way that the prior's probabilities move towards the tasks' posteriors."""
    z_floor: float = 0.002
    """single paths: the least probability of a primitive on an edge."""
    step_size_lr: float = 0.0
    """unrolled only: learning rate (Adam) of the logarithms of the inner step sizes; 0 keeps them fixed."""

    def __post_init__(self) -> None:
        if not (self.lr > 0.0 and math.isfinite(self.lr)):
            raise InputError(f"lr: got {self.lr!r}, expected a finite number > 0")
        if not 0.0 < self.z_rate <= 1.0:
            raise InputError(f"z_rate: got {self.z_rate!r}, expected a share in (0, 1]")
        if not 0.0 < self.z_floor < 0.1:
            raise InputError(f"z_floor: got {self.z_floor!r}, expected a probability in (0, 0.1)")
        if not 0.0 <= self.step_size_lr < math.inf or (self.step_size_lr > 0.0 and self.rule != "unrolled"):
            raise InputError(f"step_size_lr: got {self.step_size_lr!r} with {self.rule}, expected 0, or unrolled")


def _check_relaxation(inner: InnerConfig, tau: Schedule, noise: Schedule) -> None:
    """Temperatures are positive, noise is not negative, and the Concrete densities describe z under full noise only."""
    if not (tau.start > 0.0 and tau.end > 0.0):
        raise InputError(f"tau: got {tau.start} → {tau.end}, expected numbers > 0")
    if not (noise.start >= 0.0 and noise.end >= 0.0):
        raise InputError(f"noise: got {noise.start} → {noise.end}, expected numbers ≥ 0")
    if inner.z == "hard" and min(noise.start, noise.end) == 0.0:
        raise InputError(
            f"z: got 'hard' with noise {noise.start} → {noise.end}, expected noise > 0, or a sample never changes"
        )
    if inner.z != "single" and inner.kl_z == "concrete" and inner.beta_z > 0.0 and not noise.start == noise.end == 1.0:
        raise InputError(
            f"kl_z: got 'concrete' with noise {noise.start} → {noise.end}, expected noise 1 → 1, or 'categorical'"
        )


@dataclass(frozen=True)
class MetaConfig:
    """Meta-training: Algorithm 1 of Shaw et al. (2019) and what practice needs around it."""

    supernet: SupernetConfig = SupernetConfig()
    inner: InnerConfig = InnerConfig()
    outer: OuterConfig = OuterConfig()
    iterations: int = 16
    """E, meta-iterations."""
    tasks: int = 1
    """C, tasks per meta-iteration."""
    inner_steps: int = 500
    """T, gradient steps per task."""
    warmup: int = 8
    """Meta-iterations in which q(z) is moved by training-free scores alone (single), or not at all (soft, hard): cold
    weights mislead."""
    step_size: Schedule = Schedule(1.0, 0.1, "cosine")
    """Factor of the weights' inner step sizes, over all meta-iterations."""
    tau: Schedule = Schedule(1.0, 1.0)
    """Temperature of the Gumbel-Softmax."""
    noise: Schedule = Schedule(0.0, 0.0)
    """Scale of the Gumbel noise; full noise (1) from the start costs accuracy."""
    mu_scale: float = 0.4
    """Standard deviation of the initial means in He's, √(2/fan_in); smaller weights turn faster under batch norm."""
    sigma_scale: float = 0.1
    """σ of the initial prior, in standard deviations of the means."""
    precision: Precision = "float32"
    """Activations: float32, or bfloat16 for half their memory; weights and posterior stay float32."""
    seed: int = 0
    """Seed of everything random."""
    device: str = changeable("auto")
    """auto (the GPU if there is one), cpu, cuda or cuda:<number>."""
    record_every: int = changeable(1)
    """Meta-iterations between records of all edge probabilities."""
    checkpoint_every: int = changeable(1)
    """Meta-iterations between checkpoints."""
    ranks_per_task: int = changeable(1)
    """Processes that share each task, its microbatches and the cells that it measures; a divisor of their number."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        for name in ("iterations", "tasks", "inner_steps", "record_every", "checkpoint_every", "ranks_per_task"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected an integer ≥ 1")
        check_precision(self.precision)
        if self.warmup < 0:
            raise InputError(f"warmup: got {self.warmup}, expected an integer ≥ 0")
        for name in ("mu_scale", "sigma_scale"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected a number > 0")
        _check_relaxation(self.inner, self.tau, self.noise)


@dataclass(frozen=True)
class Budget:
    """When an adaptation stops: at the first limit it meets."""

    steps: int | None = 1500
    """Gradient steps."""
    seconds: float | None = None
    """Wall-clock seconds."""
    entropy_tolerance: float | None = None
    """Stop when the entropy of q(z) (nats per edge) has moved by less than this in `entropy_window` steps."""
    entropy_window: int = 50
    """Steps over which the entropy must have settled."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        if self.steps is None and self.seconds is None and self.entropy_tolerance is None:
            raise InputError("budget: got no limit, expected steps, seconds or entropy_tolerance")
        for name in ("steps", "seconds", "entropy_tolerance"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}: got {value!r}, expected a number > 0")
        if self.entropy_window < 1:
            raise InputError(f"entropy_window: got {self.entropy_window}, expected an integer ≥ 1")


@dataclass(frozen=True)
class AdaptConfig:
    """Adaptation of a posterior to one data set: the inner loop alone."""

    inner: InnerConfig = InnerConfig()
    budget: Budget = Budget()
    warmup: int = 0
    """Steps in which q(z) is moved by training-free scores alone (single), or not at all (soft, hard)."""
    step_size: Schedule = Schedule(1.0, 0.1, "cosine")
    """Factor of the weights' step sizes, over the budget."""
    tau: Schedule = Schedule(1.0, 1.0)
    """Temperature, over the budget's steps."""
    noise: Schedule = Schedule(0.0, 0.0)
    """Scale of the Gumbel noise, over the budget's steps."""
    evaluate_every: int = 100
    """Steps between evaluations on the validation split; 0 evaluates at the end alone."""
    evaluate_images: int | None = 2000
    """The largest number of validation images; all if unset."""
    precision: Precision = "float32"
    """Activations: float32, or bfloat16 for half their memory; weights and posterior stay float32."""
    seed: int = 0
    """Seed of everything random."""
    device: str = changeable("auto")
    """auto (the GPU if there is one), cpu, cuda or cuda:<number>."""
    checkpoint_every: int = changeable(50)
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        whole_numbers(self)
        check_precision(self.precision)
        if self.warmup < 0 or self.evaluate_every < 0:
            raise InputError(f"warmup, evaluate_every: got {self.warmup}, {self.evaluate_every}, expected integers ≥ 0")
        if self.evaluate_images is not None and self.evaluate_images < 1:
            raise InputError(f"evaluate_images: got {self.evaluate_images}, expected an integer ≥ 1")
        if self.checkpoint_every < 1:
            raise InputError(f"checkpoint_every: got {self.checkpoint_every}, expected an integer ≥ 1")
        _check_relaxation(self.inner, self.tau, self.noise)
