"""Sampling: let a trained model write, one token after another.

Woven from chapters/04_gpt.ipynb and chapters/05_pretraining.ipynb. Edit the
chapter, then run `make lib`.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.gpt import GPT, check_batch


def greedy(logits: Tensor) -> Tensor:
    """Choose the likeliest id of each row: (B, V) -> (B,)."""
    return logits.argmax(dim=-1)


def one_row_head(head: nn.Linear) -> Callable[[Tensor], Tensor]:
    """Copy a head's weights (V, D) into the order that suits a single row.

    Returns a function from features (1, D) to logits (1, V): the head's,
    up to rounding, for the weights that it has now.
    """
    V, D = head.weight.shape
    n = torch.get_num_threads()
    padded = F.pad(head.weight.detach(), (0, 0, 0, -V % n))
    parts = padded.view(n, -1, D).transpose(1, 2).contiguous()

    def project(x: Tensor) -> Tensor:
        return torch.bmm(x.expand(n, 1, D), parts).view(1, -1)[:, :V]

    return project


def store_by_columns(linear: nn.Linear) -> None:
    """Lay the weights of each input side by side, in a copy."""
    columns = linear.weight.detach().t().contiguous()
    linear.weight = nn.Parameter(columns.t(), requires_grad=False)


def make_reader(model: GPT, n_rows: int, n_calls: int) -> tuple[GPT, Any]:
    """Return the model and head for n_calls with n_rows each.

    For many calls with a single row on the CPU both are copies, in the
    order of memory that suits one row; the weights of no other layer are
    copied.
    """
    head = model.head
    is_plain = type(head) is nn.Linear and head.weight.device.type == "cpu"
    if not is_plain or n_rows > 1 or n_calls < 16:
        return model, head
    shared: dict[int, Any] = {id(w): w for w in model.parameters()}
    reader = copy.deepcopy(model, shared)
    for part in reader.blocks.modules():
        if type(part) is nn.Linear and part.out_features > part.in_features:
            store_by_columns(part)
    return reader, one_row_head(head)


def check_prompt(ids: Tensor, max_new_tokens: int) -> None:
    """Raise ValueError for a prompt or a length that cannot be."""
    check_batch(ids)
    if max_new_tokens < 0:
        raise ValueError(
            f"max_new_tokens must be 0 or more, got {max_new_tokens}"
        )


def steps(
    model: GPT,
    ids: Tensor,
    max_new_tokens: int,
    choose: Callable[[Tensor], Tensor] = greedy,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Yield the next ids (B,), step by step, after the prompt ids (B, T).

    Dropout is off while it runs. Past the context length the window slides:
    every position changes then, so the cache is of no more use.
    """
    check_prompt(ids, max_new_tokens)
    B, T = ids.shape
    C = model.config.context_length
    buffer = torch.cat([ids, ids.new_empty(B, max_new_tokens)], dim=1)
    cache = model.new_cache() if use_cache else None
    was_training = model.training
    model.eval()
    reader, head = make_reader(model, B, max_new_tokens)
    try:
        for end in range(T, T + max_new_tokens):
            if end > C:
                cache = None
            start = cache[0].length if cache else max(0, end - C)
            with torch.inference_mode():
                x = reader.features(buffer[:, start:end], cache)[:, -1]
                buffer[:, end] = choose(head(x))
            yield buffer[:, end].clone()
    finally:
        model.train(was_training)


def keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """Keep the top_k highest of logits (..., V), set the others to -inf."""
    kept, where = logits.topk(top_k, dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, where, kept)


def keep_top_p(logits: Tensor, top_p: float) -> Tensor:
    """Keep the likeliest ids that just reach probability top_p together."""
    ordered, where = logits.sort(dim=-1, descending=True)
    p = ordered.softmax(dim=-1)
    reached = p.cumsum(dim=-1) - p >= top_p  # by those before it
    kept = ordered.masked_fill(reached, -torch.inf)
    return torch.empty_like(logits).scatter(-1, where, kept)


def check_sampling(
    vocab_size: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
) -> None:
    """Raise ValueError for settings that no distribution can satisfy."""
    if not 0.0 <= temperature < math.inf:
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if top_k is not None and not 1 <= top_k <= vocab_size:
        raise ValueError(
            f"top_k must be between 1 and the {vocab_size} entries of the "
            f"vocabulary, got {top_k}"
        )
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")


def sample_next(
    logits: Tensor,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one id a row from logits (B, V); temperature 0 is greedy."""
    check_sampling(logits.size(-1), temperature, top_k, top_p)
    if temperature == 0.0:
        return greedy(logits)
    best = logits.amax(dim=-1, keepdim=True)
    logits = (logits - best) / max(temperature, 1e-30)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
    return drawn.squeeze(-1)


def stream(
    model: GPT,
    ids: Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Iterator[Tensor]:
    """Yield the ids (B,) that follow the prompt ids (B, T), step by step.

    A row that has produced stop_id goes on as stop_id; when all rows have,
    the stream ends.
    """
    check_sampling(model.config.vocab_size, temperature, top_k, top_p)
    choose = partial(
        sample_next,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        generator=generator,
    )
    new = steps(model, ids, max_new_tokens, choose, use_cache)
    return new if stop_id is None else until_stopped(new, stop_id)


def until_stopped(new: Iterable[Tensor], stop_id: int) -> Iterator[Tensor]:
    """Pass ids (B,) on until each row has produced stop_id."""
    done: Tensor | bool = False
    for ids in new:
        ids = torch.where(torch.as_tensor(done), stop_id, ids)
        done = ids == stop_id
        yield ids
        if done.all():
            return


def generate(
    model: GPT,
    ids: Tensor,
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_id: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Tensor:
    """Return ids (B, T) followed by up to max_new_tokens new ones.

    temperature 0 takes the likeliest id; above 0 it draws, after top_k and
    top_p have cut the distribution. See `stream` for stop_id.
    """
    new = stream(
        model,
        ids,
        max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop_id=stop_id,
        generator=generator,
        use_cache=use_cache,
    )
    return torch.cat([ids, *(step[:, None] for step in new)], dim=1)
