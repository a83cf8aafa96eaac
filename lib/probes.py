"""Probes: what must hold for any model ids -> logits, tried on copies.

Woven from chapters/appendix_i_troubleshooting.ipynb. Edit the chapter, then
run `make lib`.
"""

import copy
import math
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.train import IGNORE, Batch


class Finding(NamedTuple):
    """What a test found: is all well, and a sentence that says why."""

    test: str
    ok: bool
    message: str


def some(names: Iterable[str]) -> str:
    """Name the first two of several, and count the others."""
    ordered = sorted(names)
    more = len(ordered) - 2
    return ", ".join(ordered[:2]) + (f" and {more} more" if more > 0 else "")


def shift_share(batch: Batch, by: int, keep: Tensor) -> float:
    """Share of the kept targets (B, T - 1) that are the id `by` places on."""
    ids, targets = batch
    end = ids.size(1) - max(1, by)
    same = targets[:, :end] == ids[:, by : by + end]
    return float(same[keep[:, :end]].double().mean())


def check_shift(batch: Batch, pad_id: int | None = None) -> Finding:
    """Targets are the next ids; rows differ; no padding is asked for."""
    ids, targets = batch
    keep = (targets[:, :-1] != IGNORE) & (ids[:, 1:] >= 0)
    share = shift_share(batch, 1, keep) if keep.any() else 1.0
    if share < 1:
        said = f"only {share:.0%} of the targets are the next id"
        for by in (0, 2, 3):
            if shift_share(batch, by, keep) == 1:
                said += f"; all are the id {by} places on"
        return Finding("targets", False, said)
    if (n := len(torch.unique(ids, dim=0))) < len(ids):
        said = f"of {len(ids)} rows only {n} are different"
        return Finding("targets", False, said)
    if pad_id is None:
        return Finding("targets", True, "every target is the next id")
    if n := int(((ids == pad_id) & (targets == pad_id)).sum()):
        said = f"{n} targets ask for padding after padding"
        return Finding("targets", False, said)
    return Finding("targets", True, "every target is the next id")


def check_tokenizer(ids: Tensor, tokenizer: Any) -> Finding:
    """Rows of ids come back when they are decoded and encoded again.

    All but their ends, which may have been cut inside a word.
    """
    shares = []
    for row in ids.tolist():
        text = tokenizer.decode(row)
        again = tokenizer.encode(text, allowed_special="all")
        same = SequenceMatcher(None, row, again, False).find_longest_match()
        shares.append(same.size / len(row))
    said = "decoded and encoded again, a stretch of at least "
    said += f"{min(shares):.0%} of a row comes back"
    return Finding("tokenizer", min(shares) > 0.8, said)


def mean_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy over the targets (B, T) that ask for something."""
    ids, targets = batch
    return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())


@torch.no_grad()
def check_first_loss(model: nn.Module, batch: Batch) -> Finding:
    """An untrained model's loss is ln V and half its logits' variance."""
    net = copy.deepcopy(model).eval()
    logits, loss = net(batch[0]), float(mean_loss(net, batch))
    half = float(logits.double().var(-1).mean()) / 2
    n = int((batch[1] != IGNORE).sum())
    off = loss - math.log(logits.size(-1)) - half
    said = f"{loss:.2f} = ln V + {half:.2f} (half the variance of the logits)"
    said += f" + {off:.2f}"
    if half > 0.5:
        said += ": these logits are too large for a start"
    elif abs(off) > 0.05 + 4 * math.sqrt(2 * half / n):
        said += ": logits and targets are not independent"
    else:
        return Finding("first loss", True, said)
    return Finding("first loss", False, said)


def awake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy in double precision whose weights all matter.

    On the CPU and in eval mode; weights that are shared stay shared.
    """
    net = copy.deepcopy(model).cpu().double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            if weight.dim() > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(noise / math.sqrt(weight.size(-1)))
    return net


def moved(before: Tensor, after: Tensor) -> Tensor:
    """Tell at which places logits (B, T, V) differ: booleans (T,)."""
    change = (before - after).abs().amax(dim=(0, 2))  # (T,)
    return ~(change <= 1e-8 * before.abs().max())


@torch.no_grad()
def check_causality(model: nn.Module, ids: Tensor) -> Finding:
    """Another id moves the places from it on, and none before."""
    net, ids = awake(model), ids.cpu()
    before, T = net(ids), ids.size(1)
    for s in sorted({1, T // 3, T // 2, T - 1}):
        changed = ids.clone()
        changed[:, s] = (ids[:, s] + 1) % before.size(-1)
        moves = moved(before, net(changed))
        if moves[:s].any():
            t = int(moves.nonzero()[0])
            said = f"place {t} moves with the id at place {s}: it sees later"
            return Finding("causality", False, said)
        if not moves[s : s + 2].all():
            said = f"another id at place {s} does not move what follows"
            return Finding("causality", False, said)
    return Finding("causality", True, "no place sees a later id")


@torch.no_grad()
def check_growth(model: nn.Module, ids: Tensor) -> Finding:
    """What follows, padding too, does not change the logits before it."""
    net, ids, half = awake(model), ids.cpu(), ids.size(1) // 2
    moves = moved(net(ids)[:, :half], net(ids[:, :half]))
    said = "the first half has the same logits with and without the rest"
    if moves.any():
        said = f"{int(moves.sum())} of the first {half} places move when "
        said += "the text grows longer"
    return Finding("length", not moves.any(), said)


@torch.no_grad()
def check_rows(model: nn.Module, ids: Tensor) -> Finding:
    """A row has the same logits alone and in any company."""
    net, ids = awake(model), ids.cpu()
    company = torch.cat([ids[:1], ids.flip(1)])
    moves = moved(net(ids[:1]), net(company)[:1])
    said = "a row has the same logits alone and in company"
    if moves.any():
        said = "a row's logits change with the other rows of its batch"
    return Finding("rows", not moves.any(), said)


@torch.no_grad()
def check_places(model: nn.Module, ids: Tensor) -> Finding:
    """A repeated id has other logits at another place.

    Fails for models that know places by rotation only (RoPE): skip it.
    """
    net = awake(model)
    logits = net(ids[:1, :1].cpu().expand(1, ids.size(1)))
    known = bool(moved(logits, logits[:, :1]).any())
    said = "a repeated id has other logits at another place"
    if not known:
        said = "a repeated id has the same logits at every place"
    return Finding("places", known, said)


def check_ties(model: nn.Module) -> Finding:
    """No matrix is a copy of another one: tied weights are one tensor."""
    seen: list[tuple[str, Tensor]] = []
    for name, weight in model.named_parameters():
        for earlier, other in seen:
            if weight.shape == other.shape and torch.equal(weight, other):
                said = f"{name} equals {earlier} and is another weight: "
                return Finding("ties", False, said + "copied, not tied")
        if weight.dim() > 1 and weight.ne(weight.flatten()[0]).any():
            seen.append((name, weight))
    return Finding("ties", True, "no weight is a copy of another")


def rates_of(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """List the modules that drop something out, and how they call the rate."""
    return [
        (module, name)
        for module in model.modules()
        for name in ("p", "dropout")
        if isinstance(rate := getattr(module, name, None), float) and rate > 0
    ]


@torch.no_grad()
def check_modes(model: nn.Module, ids: Tensor) -> Finding:
    """In eval mode two calls agree; where there is dropout, not in train."""
    net = copy.deepcopy(model).eval()
    if not torch.equal(net(ids), net(ids)):
        return Finding("modes", False, "two calls in eval mode differ")
    if rates_of(net.train()) and torch.equal(net(ids), net(ids)):
        said = "the model has dropout, and two calls in train mode agree"
        return Finding("modes", False, said)
    return Finding("modes", True, "two calls in eval mode agree")


def check_gradients(model: nn.Module, batch: Batch) -> Finding:
    """A finite gradient that is not zero reaches every trainable weight."""
    net = copy.deepcopy(model).eval()
    named = {n: w for n, w in net.named_parameters() if w.requires_grad}
    dead, weights = set(named), [*named.values()]
    for _ in range(2):
        loss = mean_loss(net, batch)
        found: Sequence[Tensor | None] = torch.autograd.grad(
            loss, weights, allow_unused=True
        )
        for (name, weight), gradient in zip(named.items(), found):
            if gradient is None:
                continue
            if not gradient.isfinite().all():
                said = f"the gradient at {name} is not finite"
                return Finding("gradients", False, said)
            if gradient.any():
                dead.discard(name)
                weight.data -= 0.01 * gradient / gradient.norm()
    said = f"a gradient reaches all {len(named)} weights"
    if dead:
        said = f"no gradient reaches {some(dead)}"
    return Finding("gradients", not dead, said)


def check_optimizer(model: nn.Module, optimizer: Optimizer) -> Finding:
    """The optimizer holds the model's trainable weights, all and only."""
    held = {id(w) for group in optimizer.param_groups for w in group["params"]}
    own = {id(w): n for n, w in model.named_parameters()}
    mine = {id(w): n for n, w in model.named_parameters() if w.requires_grad}
    said = f"the optimizer holds all {len(mine)} weights"
    if missing := mine.keys() - held:
        said = f"the optimizer lacks {some(mine[key] for key in missing)}"
    elif strange := held - own.keys():
        said = f"the optimizer holds {len(strange)} weights of another model"
        return Finding("optimizer", False, said)
    return Finding("optimizer", not missing, said)
