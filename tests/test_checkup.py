"""The checkup: each test finds its fault, and healthy models pass."""

import copy
import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lib import checkup as shell
from lib.checkup import checkup, describe_findings
from lib.data import load_text
from lib.gpt import GPT, GPTConfig, LayerNorm
from lib.probes import (
    Finding,
    awake,
    check_causality,
    check_first_loss,
    check_gradients,
    check_growth,
    check_modes,
    check_optimizer,
    check_places,
    check_rows,
    check_shift,
    check_ties,
    check_tokenizer,
)
from lib.sample import generate
from lib.tokenizer import BPETokenizer
from lib.train import IGNORE, TrainConfig, evaluate, make_optimizer
from lib.trials import (
    check_evaluate,
    check_generation,
    check_learning,
    check_step,
    floor_of,
)

CONFIG = GPTConfig(37, 24, 20, 2, 2, dropout=0.1)
TESTS = [
    *("targets", "first loss", "causality", "length", "rows", "places"),
    *("ties", "modes", "gradients", "optimizer", "step", "rate", "by heart"),
    *("evaluation", "generation"),
]


def make(config: GPTConfig = CONFIG, seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    return GPT(config)


def draw(B: int = 6, T: int = 18, V: int = 37, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(V, (B, T + 1), generator=generator)
    return rows[:, :-1], rows[:, 1:]


def adam(model: nn.Module, rate: float = 3e-3) -> Optimizer:
    return make_optimizer(model, TrainConfig(1, rate, 0.0))


class Around(nn.Module):
    """A GPT with a change to what goes in or comes out."""

    def __init__(
        self, change: Callable[[GPT, Tensor], Tensor], gpt: GPT | None = None
    ) -> None:
        super().__init__()
        self.gpt = make() if gpt is None else gpt
        self.change = change

    def forward(self, ids: Tensor) -> Tensor:
        return self.change(self.gpt, ids)


def test_a_healthy_model_passes_all_and_nothing_is_changed() -> None:
    model, batch = make(), draw()
    optimizer = adam(model)
    before = copy.deepcopy(model.state_dict())
    model.train()
    found = checkup(
        model,
        batch,
        optimizer=optimizer,
        evaluate=evaluate,
        generate=generate,
    )
    assert [f.test for f in found] == TESTS
    assert not [f for f in found if not f.ok], describe_findings(found)
    assert model.training and not optimizer.state
    assert all(w.grad is None for w in model.parameters())
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("seed", range(40))
def test_no_false_alarm_on_odd_shapes(seed: int) -> None:
    r = random.Random(seed)
    heads, T, V = r.choice([1, 2, 3, 5]), r.randint(6, 40), r.randint(20, 300)
    config = GPTConfig(
        V,
        T + r.randint(0, 9),
        heads * r.randint(6, 14),
        r.randint(1, 4),
        heads,
        dropout=r.choice([0.0, 0.1, 0.4]),
        qkv_bias=r.random() < 0.5,
        tie_weights=r.random() < 0.5,
    )
    model = make(config, seed)
    found = checkup(
        model,
        draw(r.randint(4, 11), T, V, seed),
        evaluate=evaluate,
        generate=generate,
    )
    assert not [f for f in found if not f.ok], describe_findings(found)


@pytest.mark.parametrize("seed", range(5))
def test_no_false_alarm_in_training(seed: int) -> None:
    r = random.Random(seed)
    shape = {"d_model": 8 * r.randint(3, 7), "n_layers": r.randint(1, 3)}
    model = make(replace(CONFIG, **shape, tie_weights=seed % 2 == 0), seed)
    rate = r.choice([1e-3, 3e-3, 1e-2])
    found = checkup(model, draw(seed=seed), optimizer=adam(model, rate))
    assert not [f for f in found if not f.ok], describe_findings(found)


def wrong(finding: Finding, *words: str) -> None:
    assert not finding.ok
    for word in words:
        assert word in finding.message


def test_targets_by_their_shift() -> None:
    ids, targets = draw()
    assert check_shift((ids, targets)).ok
    wrong(check_shift((ids, ids)), "the id 0 places on")
    wrong(check_shift((ids[:, :-1], targets[:, 1:])), "the id 2 places on")
    wrong(check_shift((ids[:, :-2], targets[:, 2:])), "the id 3 places on")
    spoiled = targets.clone()
    spoiled[2, 5] += 1
    wrong(check_shift((ids, spoiled)), "only 99%")
    wrong(
        check_shift((ids[:1].repeat(3, 1), targets[:1].repeat(3, 1))), "of 3"
    )


def test_targets_that_ask_for_nothing_are_left_out() -> None:
    ids, targets = draw()
    targets = targets.clone()
    targets[:, :9] = IGNORE
    assert check_shift((ids, targets)).ok
    assert check_shift((ids, torch.full_like(ids, IGNORE))).ok


def test_padding_among_the_targets() -> None:
    ids, targets = (part.clone() for part in draw(V=36))
    ids[:, 12:], targets[:, 11:] = 36, 36
    assert check_shift((ids, targets)).ok
    wrong(check_shift((ids, targets), 36), f"{6 * 6} targets")
    targets[:, 12:] = IGNORE
    assert check_shift((ids, targets), 36).ok


def test_ids_of_another_tokenizer() -> None:
    text = load_text("a-letter-a-year")
    half = len(text) // 2
    own, strange = (
        BPETokenizer.train(t, 500) for t in (text[:half], text[half:])
    )
    rows = torch.tensor(own.encode(text)[3 : 3 + 8 * 40]).view(8, 40)
    assert check_tokenizer(rows, own.to_tiktoken()).ok
    wrong(check_tokenizer(rows, strange.to_tiktoken()), "%")


def test_first_loss_is_what_the_variance_says() -> None:
    for std in (0.02, 0.1, 0.2):
        model = make(replace(CONFIG, tie_weights=False))
        nn.init.normal_(model.head.weight, std=std)
        found = check_first_loss(model, draw(24))
        assert found.ok, found.message
        half = float(found.message.split("+ ")[1].split()[0])
        assert half == pytest.approx(20 * std**2 / 2, abs=0.05)
    nn.init.normal_(model.head.weight, std=1.0)
    wrong(check_first_loss(model, draw()), "too large")
    ids, _ = draw()
    wrong(check_first_loss(make(), (ids, ids)), "not independent")


def peek(gpt: GPT, ids: Tensor) -> Tensor:
    return gpt(ids) + 1e-4 * gpt(ids).roll(-1, 1)


def center(gpt: GPT, ids: Tensor) -> Tensor:
    logits = gpt(ids)
    return logits - 1e-3 * logits.detach().mean(1, keepdim=True)


def last_only(gpt: GPT, ids: Tensor) -> Tensor:
    logits = gpt(ids)
    tail = logits[:, -2:-1] + logits[:, -1:]
    return torch.cat([logits[:, :-2], tail, logits[:, -1:]], 1)


def alone(gpt: GPT, ids: Tensor) -> Tensor:
    B, T = ids.shape
    return gpt(ids.reshape(-1, 1)).view(B, T, -1)


@pytest.mark.parametrize("leak", [peek, center, last_only])
def test_leaks_are_found_also_weak_and_detached_ones(leak: Any) -> None:
    wrong(check_causality(Around(leak), draw()[0]), "sees later")


def test_a_model_that_ignores_its_past_is_found() -> None:
    wrong(check_causality(Around(alone), draw()[0]), "does not move")


def test_what_depends_on_the_length_is_found() -> None:
    def by_length(gpt: GPT, ids: Tensor) -> Tensor:
        return gpt(ids) * ids.size(1)

    model, (ids, _) = Around(by_length), draw()
    assert check_causality(model, ids).ok
    wrong(check_growth(model, ids), "grows")


def test_rows_that_mix_are_found() -> None:
    def mean_over_rows(gpt: GPT, ids: Tensor) -> Tensor:
        return gpt(ids) - 0.01 * gpt(ids).mean(0)

    model, (ids, _) = Around(mean_over_rows), draw()
    wrong(check_rows(model, ids), "other rows")
    assert check_causality(model, ids).ok


def test_a_model_without_places_is_found() -> None:
    class NoPlaces(GPT):
        def features(self, ids: Tensor, cache: Any = None) -> Tensor:
            x = self.token_embedding(ids)
            for block in self.blocks:
                x = block(x)
            return self.final_norm(x)

    model = make()
    model.__class__ = NoPlaces
    wrong(check_places(model, draw()[0]), "every place")
    wrong(check_gradients(model, draw()), "position_embedding")


def test_a_copy_is_no_tie() -> None:
    model = make(replace(CONFIG, tie_weights=False))
    assert check_ties(model).ok
    model.head.weight.data.copy_(model.token_embedding.weight)
    wrong(check_ties(model), "head.weight", "copied")
    model.head.weight = nn.Parameter(model.token_embedding.weight.data)
    wrong(check_ties(model), "head.weight")


def test_modes() -> None:
    class Dropping(LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(super().forward(x), 0.1)

    class Frozen(GPT):
        def forward(self, ids: Tensor, cache: Any = None) -> Tensor:
            self.eval()
            return super().forward(ids)

    ids, _ = draw()
    model = make(replace(CONFIG, dropout=0.0))
    assert check_modes(model, ids).ok
    model.final_norm.__class__ = Dropping
    wrong(check_modes(model, ids), "eval mode differ")
    model = make()
    model.__class__ = Frozen
    wrong(check_modes(model, ids), "train mode agree")


def test_dead_parts_and_infinite_gradients() -> None:
    model, batch = make(), draw()
    assert check_gradients(model, batch).ok
    model.unused = nn.Linear(3, 3)
    wrong(check_gradients(model, batch), "unused.bias, unused.weight")
    model.unused.requires_grad_(False)
    assert check_gradients(model, batch).ok
    model.head.weight.data[3, 2] = math.inf
    wrong(check_gradients(model, batch), "not finite")


def test_a_gradient_that_is_zero_at_the_start_only_is_none_missing() -> None:
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gpt = make()
            self.down = nn.Linear(37, 2, bias=False)
            self.up = nn.Linear(2, 37, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, ids: Tensor) -> Tensor:
            logits = self.gpt(ids)
            return logits + self.up(self.down(logits))

    assert check_gradients(Added(), draw()).ok


def test_what_the_optimizer_holds() -> None:
    model = make()
    assert check_optimizer(model, adam(model)).ok
    wrong(check_optimizer(model, adam(model.blocks)), "lacks", "final_norm")
    both = SGD([*model.parameters(), *make().parameters()], lr=0.1)
    wrong(check_optimizer(model, both), "another model")


def plain(
    model: nn.Module,
    optimizer: Optimizer,
    batch: Any,
    reduction: str = "mean",
    clear: bool = True,
    clip: float = math.inf,
) -> None:
    logits = model.train()(batch[0]).flatten(0, 1)
    loss = F.cross_entropy(logits, batch[1].flatten(), reduction=reduction)
    if clear:
        optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


def test_steps() -> None:
    model, batch = make(), draw()
    check = partial(check_step, model, adam(model), batch)
    assert check(plain).ok
    assert check(partial(plain, clip=0.1)).ok
    wrong(check(partial(plain, reduction="sum")), "step 1", "54.0 times")
    wrong(check(partial(plain, clear=False)), "step 2")
    wrong(check(partial(plain, clear=False, clip=0.1)), "step 2", "cosine")
    wrong(check(lambda *_: None), "took 0 steps")


def test_a_mean_of_row_means_is_not_the_mean() -> None:
    def row_means(model: Any, optimizer: Optimizer, batch: Any) -> None:
        ids, targets = batch
        optimizer.zero_grad()
        rows = zip(model(ids), targets)
        sum(F.cross_entropy(z, y) for z, y in rows).div(len(ids)).backward()
        optimizer.step()

    model, (ids, targets) = make(), draw()
    assert check_step(model, adam(model), (ids, targets), row_means).ok
    targets = targets.clone()
    targets[::2, 3:] = IGNORE
    wrong(check_step(model, adam(model), (ids, targets), row_means), "cosine")


def test_the_floor_by_brute_force() -> None:
    ids, targets = draw(40, 5, 2)
    total = 0.0
    for b in range(40):
        for t in range(5):
            same = (ids[:, : t + 1] == ids[b, : t + 1]).all(1)
            share = (targets[same, t] == targets[b, t]).double().mean()
            total -= math.log(share)
    assert floor_of((ids, targets)) == pytest.approx(total / 200)


def test_rates_and_learning_by_heart() -> None:
    model, batch = make(), draw(4)
    for rate, ok, word in (
        (3e-3, True, "rate / 10"),
        (0.2, False, "too high"),
        (1e-5, False, "too low"),
    ):
        found, known = check_learning(model, adam(model, rate), batch, plain)
        assert (found.test, found.ok) == ("rate", ok)
        assert word in found.message
        assert known.ok or not ok
    blocks = adam(model.blocks)
    assert not check_learning(model, blocks, batch, plain)[1].ok


def test_a_rate_whose_tenfold_diverges_is_not_too_low() -> None:
    model, batch = make(), draw(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    found, _ = check_learning(model, optimizer, batch, plain)
    assert found.ok, found.message


def test_evaluations() -> None:
    @torch.no_grad()
    def means(model: nn.Module, batches: Any) -> float:
        model.eval()
        losses = [
            float(F.cross_entropy(model(x).flatten(0, 1), y.flatten()))
            for x, y in batches
        ]
        model.train()
        return sum(losses) / len(losses)

    def forgetful(model: nn.Module, batches: Any) -> float:
        loss = evaluate(model, batches)
        model.eval()
        return loss

    def training(model: nn.Module, batches: Any) -> float:
        model.eval = model.train  # type: ignore[method-assign]
        return evaluate(model, batches)

    model, batch = make(), draw()
    assert check_evaluate(model, batch, evaluate).ok
    wrong(check_evaluate(model, batch, means), "mean over all targets")
    wrong(check_evaluate(model, batch, forgetful), "leaves")
    wrong(check_evaluate(model, batch, training), "mean over all targets")


def test_generations() -> None:
    @torch.no_grad()
    def naive(
        model: nn.Module, ids: Tensor, n: int, at: int = -1, drop: bool = False
    ) -> Tensor:
        model.train(drop)
        for _ in range(n):
            new = model(ids)[:, at].argmax(-1)
            ids = torch.cat([ids, new[:, None]], 1)
        return ids

    model, (ids, _) = make(), draw()
    assert check_generation(model, ids, naive).ok
    assert check_generation(model, ids, generate).ok
    for spoiled in (
        partial(naive, at=-2),
        partial(naive, drop=True),
        partial(generate, temperature=1.0),
    ):
        wrong(check_generation(model, ids, spoiled), "not the likeliest")
    wrong(
        check_generation(model, ids, lambda m, i, n: naive(m, i, n)[:, -n:]),
        "became",
    )


def test_awake_keeps_ties_and_the_original() -> None:
    model = make()
    before = copy.deepcopy(model.state_dict())
    net: Any = awake(model)
    assert net.head.weight is net.token_embedding.weight
    assert next(net.parameters()).dtype == torch.float64 and not net.training
    after = model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)


def test_an_error_is_a_finding_and_tests_can_be_skipped() -> None:
    def fails(*_: Any) -> Tensor:
        raise RuntimeError("no such thing")

    model, batch = make(), draw()
    found = checkup(model, batch, generate=fails, skip=["places", "rows"])
    assert found[-1] == ("generation", False, "RuntimeError: no such thing")
    assert not {"places", "rows"} & {f.test for f in found}
    with pytest.raises(ValueError, match=r"\(1, 18\)"):
        checkup(model, draw(1))


SETTINGS = """\
[data]
texts = ["a-letter-a-year"]
held_out = ["a-letter-a-year"]
tokenizer = "letters.json"
vocab_size = 280
batch_size = 6

[model]
context_length = 20
d_model = 24
n_layers = 2
n_heads = 2

[train]
steps = 100
learning_rate = 3e-3
"""


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(SETTINGS)
    assert shell.main(["--config", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.count("✓") == 16 and "✗" not in out
    assert {p.name for p in tmp_path.iterdir()} == {
        "run.toml",
        "letters.json",
        "tokens",
    }
    path.write_text(SETTINGS.replace("3e-3", "0.5"))
    assert shell.main(["--config", str(path)]) == 1
    assert "✗ rate" in capsys.readouterr().out
    path.write_text(SETTINGS.replace("d_model", "d_modell"))
    assert shell.main(["--config", str(path)]) == 2
    assert "did you mean d_model" in capsys.readouterr().err
    assert shell.main(["--model", str(tmp_path / "none")]) == 2
