"""Training: what to minimize, how to step downhill, how to resume.

Woven from chapters/05_pretraining.ipynb and
chapters/appendix_d_training.ipynb. Edit the chapter, then run `make lib`.
"""

import dataclasses
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import AdamW, Optimizer
from torch.utils.data import DataLoader

from lib.data import atomic_path
from lib.gpt import GPT

Batch = tuple[Tensor, Tensor]  # ids and targets, each (B, T)
IGNORE = -100  # a target that asks for nothing, as in F.cross_entropy


class SummedLoss(torch.autograd.Function):
    """Cross-entropy whose gradient is made in place: p - [w = y]."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of -ln p(target) for logits (N, V)."""
        log_p = logits.log_softmax(dim=-1)
        counts = targets != IGNORE
        wanted = targets.where(counts, 0)[:, None]  # (N, 1)
        ctx.save_for_backward(log_p, wanted, counts)
        return -log_p.gather(-1, wanted)[counts].sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """Return the gradient (N, V) at the logits."""
        log_p, wanted, counts = ctx.saved_tensors
        gradient = log_p.exp_()
        minus_one = gradient.new_full(wanted.shape, -1.0)
        gradient.scatter_add_(-1, wanted, minus_one)
        return gradient.mul_((upstream * counts)[:, None]), None


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of -ln p(target), in nats: logits (B, T, V), targets (B, T).

    Targets equal to IGNORE ask for nothing and count for nothing. The
    gradient overwrites what it is made of: backward runs once only.
    """
    return SummedLoss.apply(logits.flatten(0, -2), targets.flatten())


class NGramLM:
    """Count what follows what, and mix the counts of longer contexts in.

    p_0(w) = 1/V is refined order by order: where the last k ids have been
    seen before, p_k+1 = (1 - weight_k) p_k + weight_k count / total; where
    they have not, p_k stays (Jelinek and Mercer, 1980).
    """

    def __init__(self, n: int, vocab_size: int) -> None:
        if n < 1 or vocab_size < 1:
            raise ValueError(
                f"n={n} and vocab_size={vocab_size} must be 1 or more"
            )
        self.n = n
        self.vocab_size = vocab_size
        self.counts: list[dict[tuple[int, ...], Counter[int]]] = [
            defaultdict(Counter) for _ in range(n)
        ]
        self.weights = [0.5] * n

    def fit(self, ids: Sequence[int]) -> "NGramLM":
        """Count every 1-gram to n-gram of ids."""
        for k in range(self.n):
            for end in range(k, len(ids)):
                self.counts[k][tuple(ids[end - k : end])][ids[end]] += 1
        return self

    def shares(self, ids: Sequence[int], end: int) -> list[float]:
        """How often ids[end] followed the last 0, 1, ... ids, as shares.

        The list ends with the longest context that was ever seen.
        """
        shares = []
        for k in range(min(self.n, end + 1)):
            seen = self.counts[k].get(tuple(ids[end - k : end]))
            if seen is None:
                break
            shares.append(seen[ids[end]] / seen.total())
        return shares

    def mix(self, shares: Sequence[float]) -> list[float]:
        """The probabilities p_0, p_1, ... that shares lead to."""
        p = [1 / self.vocab_size]
        for weight, share in zip(self.weights, shares, strict=False):
            p.append((1 - weight) * p[-1] + weight * share)
        return p

    def loss(self, ids: Sequence[int], start: int = 1) -> float:
        """Mean nats per token of ids[start:], given what stands before."""
        if not 0 <= start < len(ids):
            raise ValueError(
                f"no target to evaluate on: {len(ids)} ids, start={start}"
            )
        total = 0.0
        for end in range(start, len(ids)):
            total -= math.log(self.mix(self.shares(ids, end))[-1])
        return total / (len(ids) - start)

    def tune(self, ids: Sequence[int], rounds: int = 30) -> "NGramLM":
        """Choose the weights under which held-out ids are likeliest (EM)."""
        rows = [self.shares(ids, end) for end in range(len(ids))]
        for _ in range(rounds):
            supplied, reached = [0.0] * self.n, [1e-12] * self.n
            for shares in rows:
                p, here = self.mix(shares), 1.0
                for k in reversed(range(len(shares))):
                    taken = here * self.weights[k] * shares[k] / p[k + 1]
                    supplied[k] += taken
                    reached[k] += here
                    here -= taken
            self.weights = [
                s / r for s, r in zip(supplied, reached, strict=True)
            ]
        return self


def count_targets(targets: Tensor) -> int:
    """Count the targets that ask for something."""
    return int((targets != IGNORE).sum())


BOUNDS: dict[str, tuple[float, float | str]] = {
    "steps": (1, math.inf),
    "learning_rate": (0, math.inf),
    "min_learning_rate": (0, "learning_rate"),
    "warmup_steps": (0, "steps"),
    "weight_decay": (0, math.inf),
    "beta1": (0, 0.999999),
    "beta2": (0, 0.999999),
    "clip_norm": (1e-6, math.inf),
    "accumulate": (1, math.inf),
    "eval_every": (1, math.inf),
}


@dataclass(frozen=True)
class TrainConfig:
    """How to train; raises ValueError where a setting makes no sense.

    A step reads `accumulate` batches. The rate rises over warmup_steps to
    learning_rate, then falls along a cosine to min_learning_rate.
    """

    steps: int
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-4
    warmup_steps: int = 0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    accumulate: int = 1
    eval_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            most = getattr(self, high) if isinstance(high, str) else high
            if not low <= value <= most:
                raise ValueError(
                    f"{name} is {value}, but must be between {low} and "
                    + (f"{high}, {most}" if high != most else f"{most}")
                )


def make_optimizer(model: nn.Module, config: TrainConfig) -> AdamW:
    """AdamW on what may change; decays matrices, not biases and norms."""
    weights = [w for w in model.parameters() if w.requires_grad]
    matrices = [w for w in weights if w.dim() >= 2]
    vectors = [w for w in weights if w.dim() < 2]
    return AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def warmup_cosine(
    step: int, *, steps: int, warmup_steps: int, peak: float, floor: float
) -> float:
    """Learning rate of a step (from 0): a straight rise, then a cosine."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - 1 - warmup_steps)
    return floor + (peak - floor) * (1 + math.cos(math.pi * min(1, done))) / 2


def set_rate(optimizer: Optimizer, step: int, config: TrainConfig) -> float:
    """Give the optimizer the learning rate of a step, and return it."""
    rate = warmup_cosine(
        step,
        steps=config.steps,
        warmup_steps=config.warmup_steps,
        peak=config.learning_rate,
        floor=config.min_learning_rate,
    )
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def endless(
    loader: DataLoader[Batch], seed: int, start: int = 0
) -> Iterator[Batch]:
    """Yield batches epoch after epoch, from batch number start on.

    The order of an epoch depends on its number and the seed alone.
    """
    if len(loader) == 0:
        raise ValueError("no batch to learn from: need 1 or more, got 0")
    first_epoch, skip = divmod(start, len(loader))
    for epoch in count(first_epoch):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(epoch)
        torch.manual_seed(seed + epoch)  # for samplers without set_epoch
        yield from islice(loader, skip, None)
        skip = 0


Record = dict[str, float]  # what an evaluation found


def describe(model: GPT, config: TrainConfig | None) -> dict[str, Any]:
    """The settings that weights, and with a config a run, depend on."""
    shape = dataclasses.asdict(model.config)
    training = {"dropout": shape.pop("dropout")}
    if config is None:
        return {"model": shape}
    training |= dataclasses.asdict(config)
    return {"model": shape, "training": training}


def read_checkpoint(
    path: str | Path,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint's facts and tensors; ValueError if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["run"])
            return facts, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no whole checkpoint: {error}") from error


def take_up(history: Sequence[Record]) -> tuple[int, int, float, int]:
    """Steps, tokens and nats so far, and the tokens of the last record.

    A history may end in the middle: a record with `nats`, the loss summed
    since the record before it.
    """
    if not history:
        return 0, 0, 0.0, 0
    last = history[-1]
    step, tokens = int(last["step"]), int(last["tokens"])
    if "nats" not in last:
        return step, tokens, 0.0, tokens
    since = int(history[-2]["tokens"]) if len(history) > 1 else 0
    return step, tokens, last["nats"], since


def in_processes() -> int:
    """How many processes train together: 1 unless torchrun started more."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_processes(value: float) -> float:
    """Add up a number over all processes that train together."""
    if in_processes() == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(shared)
    return shared.item()


def run(
    model: nn.Module,
    optimizer: Optimizer,
    loader: DataLoader[Batch],
    config: TrainConfig,
    history: Sequence[Record] = (),
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Take the steps that history lacks; pause where it is time to look.

    Yields step, tokens, learning_rate and train_loss: the mean, in nats per
    token, since the last record. Where a process asks to stop, the last
    record has nats instead, from which a later run goes on.
    """
    first, tokens, nats, since = take_up(history)
    batches = endless(loader, config.seed, first * config.accumulate)
    own = dist.get_rank() << 32 if dist.is_initialized() else 0
    for step in range(first, config.steps):
        taken = list(islice(batches, config.accumulate))
        torch.manual_seed(own + config.seed * config.steps + step)  # dropout
        rate = set_rate(optimizer, step, config)
        loss, n_targets = train_step(model, optimizer, taken, config.clip_norm)
        nats, tokens = nats + loss, tokens + n_targets
        record = {"step": step + 1, "tokens": tokens, "learning_rate": rate}
        if (step + 1) % config.eval_every == 0 or step + 1 == config.steps:
            yield record | {"train_loss": nats / (tokens - since)}
            nats, since = 0.0, tokens
        elif sum_over_processes(stop()):
            yield record | {"nats": nats}
            return


def train(
    model: GPT,
    train_loader: DataLoader[Batch],
    val_loader: Iterable[Batch],
    config: TrainConfig,
    *,
    checkpoint: str | Path | None = None,
    report: Callable[[Record], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    learner: nn.Module | None = None,
) -> list[Record]:
    """Train model in place; return its history, a record an evaluation.

    report is called with each record. With a checkpoint, the run is saved
    there at each evaluation and, where the file exists, taken up from there:
    on a CPU bit for bit the run that was never stopped. After each step
    `stop()` may end the run early; its history then ends in a record with
    nats in place of losses. learner: what computes, if the model itself
    does not (compiled, or one of several processes).
    """
    learner = model if learner is None else learner
    optimizer = make_optimizer(model, config)
    history: list[Record] = []
    if checkpoint is not None and Path(checkpoint).exists():
        history = load_checkpoint(checkpoint, model, optimizer, config)
    for record in run(learner, optimizer, train_loader, config, history, stop):
        if history and "nats" in history[-1]:
            history.pop()
        if "nats" not in record:
            record["val_loss"] = evaluate(learner, val_loader)
        history.append(record)
        if checkpoint is not None:
            save_checkpoint(checkpoint, model, optimizer, config, history)
        if report is not None:
            report(record)
        if "nats" not in record and sum_over_processes(stop()):
            break
    return history


def gathered(tensor: Tensor) -> Tensor:
    """Return a tensor whole, where several processes hold parts of it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def parted(tensor: Tensor, like: Tensor) -> Tensor:
    """Part a whole tensor over the processes as another one is."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements)


def save_checkpoint(
    path: str | Path,
    model: GPT,
    optimizer: Optimizer,
    config: TrainConfig,
    history: list[Record],
) -> None:
    """Write all that a run needs to go on, to one safetensors file.

    It takes the place of an older file only when it is whole. Of several
    processes the first one writes; all must call.
    """
    tensors = {f"model.{n}": w.data for n, w in model.named_parameters()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, tensor in state.items():
            tensors[f"optimizer.{index}.{name}"] = tensor
    tensors = {name: gathered(tensor) for name, tensor in tensors.items()}
    if dist.is_initialized() and dist.get_rank() > 0:
        return
    facts = describe(model, config) | {"history": history}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(Path(path)) as unfinished:
        save_file(tensors, unfinished, {"run": json.dumps(facts)})


def load_checkpoint(
    path: str | Path,
    model: GPT,
    optimizer: Optimizer | None = None,
    config: TrainConfig | None = None,
) -> list[Record]:
    """Put a saved run back into model and optimizer; return its history.

    Without an optimizer only the weights are read. Raises ValueError where
    the file is damaged or was written with other settings, naming both.
    """
    facts, tensors = read_checkpoint(path)
    for part, settings in describe(model, config).items():
        for name, value in settings.items():
            if facts[part].get(name) != value:
                raise ValueError(
                    f"{path} was saved with {name}={facts[part].get(name)}, "
                    f"but this {part} has {name}={value}"
                )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(parted(tensors[f"model.{name}"], weight))
    if optimizer is not None:
        restore(optimizer, tensors)
    return facts["history"]


def restore(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the saved averages of each weight back."""
    weights = [w for g in optimizer.param_groups for w in g["params"]]
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state[int(index)][name] = parted(tensor, weights[int(index)])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": dict(state), "param_groups": groups})


def train_step(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Sequence[Batch],
    clip_norm: float,
) -> tuple[float, int]:
    """Take one step downhill on the mean loss over all targets of batches.

    Several processes each bring their batches; the mean is over all of
    them. Returns the summed loss in nats and the number of targets, both
    over all processes. Raises ValueError without a target, RuntimeError if
    a gradient is not finite.
    """
    own = sum(count_targets(targets) for _, targets in batches)
    n_targets = int(sum_over_processes(own))
    if n_targets == 0:
        raise ValueError("no target to learn from: need 1 or more, got 0")
    device = next(model.parameters()).device
    model.train()
    total = 0.0
    for ids, targets in batches:
        loss = cross_entropy(model(ids.to(device)), targets.to(device))
        (loss * in_processes() / n_targets).backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(
        model.parameters(), clip_norm, error_if_nonfinite=True
    )
    optimizer.step()
    optimizer.zero_grad()
    return sum_over_processes(total), n_targets


@torch.inference_mode()
def evaluate(model: nn.Module, loader: Iterable[Batch]) -> float:
    """Mean loss in nats per target token, over all batches of loader.

    Every token weighs the same, also in a short last batch, and also where
    each of several processes holds a part. Dropout is off. Raises
    ValueError where there is no target at all.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, n_targets = 0.0, 0
    for ids, targets in loader:
        logits = model(ids.to(device))
        total += cross_entropy(logits, targets.to(device)).item()
        n_targets += count_targets(targets)
    model.train(was_training)
    total, n = sum_over_processes(total), sum_over_processes(n_targets)
    if n == 0:
        raise ValueError("no target to evaluate on: need 1 or more, got 0")
    return total / n


if __name__ == "__main__" and "__file__" in globals():  # not in a notebook
    from lib.launch import main

    sys.exit(main())
