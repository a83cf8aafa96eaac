"""Trials: what a training step, an evaluation and a generation must do.

Woven from chapters/appendix_i_troubleshooting.ipynb. Edit the chapter, then
run `make lib`.
"""

import copy
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.probes import Finding, awake, mean_loss, rates_of
from lib.train import IGNORE, Batch, train_step

TrainStep = Callable[[nn.Module, Optimizer, Batch], Any]


def book_step(model: nn.Module, optimizer: Optimizer, batch: Batch) -> Any:
    """Take a step as `train` does, on a single batch."""
    return train_step(model, optimizer, [batch], 1.0)


def copied_without_dropout(
    model: nn.Module, optimizer: Optimizer
) -> tuple[nn.Module, Optimizer]:
    """Copy both together, so that the one still moves the other."""
    net, copied = copy.deepcopy((model, optimizer))
    for module, name in rates_of(net):
        setattr(module, name, 0.0)
    return net, copied


def in_a_row(
    tensors: Iterable[Tensor | None], like: Sequence[Tensor]
) -> Tensor:
    """Lay gradients end to end, zeros where there is none."""
    pairs = zip(tensors, like)
    full = [torch.zeros_like(w) if g is None else g for g, w in pairs]
    return torch.cat([g.detach().flatten().double() for g in full])


def check_step(
    model: nn.Module, optimizer: Optimizer, batch: Batch, step: TrainStep
) -> Finding:
    """A step follows the gradient of the mean loss of its batch, no more."""
    net, moving = copied_without_dropout(model, optimizer)
    weights, taken = [w for w in net.parameters() if w.requires_grad], []
    moving.register_step_pre_hook(
        lambda *_: taken.append(in_a_row([w.grad for w in weights], weights))
    )
    for n, half in enumerate(zip(*(part.chunk(2) for part in batch)), 1):
        loss = mean_loss(net, half)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        right = in_a_row(found, weights)
        step(net, moving, half)
        if len(taken) != n:
            said = f"after {n} calls the optimizer took {len(taken)} steps"
            return Finding("step", False, said)
        cosine = float(F.cosine_similarity(taken[-1], right, 0))
        times = float(taken[-1].norm() / right.norm())
        if cosine < 0.999 or times > 1.01:
            said = f"step {n} follows {times:.1f} times the gradient of the "
            said += f"mean loss, at a cosine of {cosine:.2f}"
            return Finding("step", False, said)
    said = "each step follows the gradient of its own batch"
    return Finding("step", True, said)


def floor_of(batch: Batch) -> float:
    """Lowest mean loss that a causal model can reach on a batch by heart."""
    seen: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for ids, targets in zip(*(part.tolist() for part in batch)):
        for t, target in enumerate(targets, 1):
            if target != IGNORE:
                seen[tuple(ids[:t])][target] += 1
    counts = [(n, c.total()) for c in seen.values() for n in c.values()]
    total = sum(n for n, _ in counts)
    return sum(n * math.log(among / n) for n, among in counts) / total


def by_heart(
    model: nn.Module,
    optimizer: Optimizer,
    batch: Batch,
    step: TrainStep,
    times: float = 1.0,
    looks: Sequence[int] = (20,),
) -> list[float]:
    """Losses on a batch after some steps on nothing else.

    times: the rate, in multiples of the optimizer's. looks: rising counts
    of steps after which the loss is taken, without dropout.
    """
    net, moving = copied_without_dropout(model, optimizer)
    for group in moving.param_groups:
        group["lr"] *= times
    losses = []
    for done in range(max(looks) + 1):
        if done in looks:
            with torch.no_grad():
                losses.append(float(mean_loss(net.eval(), batch)))
        step(net.train(), moving, batch)
    return losses


def check_learning(
    model: nn.Module, optimizer: Optimizer, batch: Batch, step: TrainStep
) -> list[Finding]:
    """Judge the learning rate, and whether one batch is learned by heart."""
    run = partial(by_heart, model, optimizer, batch, step)
    start, low = run(0.1, (0, 20))
    (here, late), (high, end) = run(1.0, (20, 60)), run(10.0, (20, 60))
    floor = floor_of(batch)
    said = f"20 steps on one batch: {here:.2f}; at rate / 10 {low:.2f}, at "
    said += f"rate x 10 {high:.2f}"
    reached = high if high < here else here  # also where one is no number
    begun = start - reached >= 0.15 * (start - floor)
    calm = here <= low
    if not calm:
        said += ": too high, a tenth does better"
    elif not begun:
        said += ": too low, even ten times the rate hardly begins"
    best = end if end < late else late  # also where one is not a number
    known = start - best > 0.75 * (start - floor)
    told = f"one batch goes from {start:.2f} to {best:.2f} in 60 steps; "
    told += f"{floor:.2f} is its floor"
    return [
        Finding("rate", calm and begun, said),
        Finding("by heart", known, told),
    ]


def check_evaluate(
    model: nn.Module, batch: Batch, evaluate: Callable[..., float]
) -> Finding:
    """evaluate(model, batches) is the mean over targets, without dropout."""
    net = awake(model)
    ids, targets = (part.cpu() for part in batch)
    parts = [(ids[:1], targets[:1]), (ids[1:], targets[1:])]
    with torch.no_grad():
        right = float(mean_loss(net, (ids, targets)))
    found = float(evaluate(net.train(), parts))
    ok = abs(found - right) < 1e-4 * right
    said = f"it says {found:.4f}, the mean over all targets is {right:.4f}"
    if ok and not net.training:
        return Finding("evaluation", False, "it leaves the model in eval mode")
    return Finding("evaluation", ok, said)


@torch.no_grad()
def check_generation(
    model: nn.Module, ids: Tensor, generate: Callable[..., Tensor]
) -> Finding:
    """generate(model, ids, n) appends the likeliest ids, one by one."""
    net, ids = awake(model), ids.cpu()
    half, T = ids.size(1) // 2, ids.size(1)
    out = generate(net.train(), ids[:, :half], T - half)
    if not torch.equal(out[:, :half], ids[:, :half]) or out.size(1) != T:
        said = f"{half} ids and {T - half} new ones became "
        said += f"{tuple(out.shape)}, or the prompt changed"
        return Finding("generation", False, said)
    logits = net.eval()(out[:, :-1])[:, half - 1 :]  # (B, T - half, V)
    chosen = logits.gather(-1, out[:, half:, None])[..., 0]
    wrong = int((chosen < logits.amax(-1) - 1e-6).sum())
    said = f"{wrong} of {chosen.numel()} new ids are not the likeliest"
    return Finding("generation", wrong == 0, said)
