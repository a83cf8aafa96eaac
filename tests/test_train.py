"""lib.train against independent oracles: loss, counts, steps and resuming."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lib import data, train
from lib.gpt import GPT, GPTConfig
from lib.train import NGramLM, TrainConfig

V, C = 23, 7
ROOT = Path(__file__).resolve().parents[1]


def ids(n: int, seed: int = 0) -> list[int]:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(V, (n,), generator=g).tolist()


def model(seed: int = 0, **changes: float) -> GPT:
    torch.manual_seed(seed)
    return GPT(GPTConfig(V, C, 12, 2, 3, **changes))


def loaders(batch_size: int = 3):
    shuffled = data.make_loader(
        ids(147), C, batch_size, stride=4, shuffle=True, seed=5
    )
    return shuffled, data.make_loader(ids(60, 1), C, 4)


def plain_loaders(batch_size: int = 3):
    """Shuffled by PyTorch's own sampler, which knows no set_epoch."""
    x = torch.tensor(ids(22 * C)).view(22, C)
    shuffled = DataLoader(TensorDataset(x, x.roll(-1, 1)), 3, shuffle=True)
    return shuffled, data.make_loader(ids(60, 1), C, 4)


def vector(gpt: nn.Module) -> Tensor:
    return torch.cat([w.detach().flatten() for w in gpt.parameters()])


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


# Loss and evaluation


def test_cross_entropy_is_the_sum_that_numpy_computes() -> None:
    g = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(2, 3, V, generator=g)
    targets = torch.tensor([[1, -100, 22], [0, 5, -100]])
    z = logits.double().numpy()
    expected = 0.0
    for b, t in itertools.product(range(2), range(3)):
        if targets[b, t] != -100:
            lse = np.log(np.exp(z[b, t]).sum())
            expected += lse - z[b, t, targets[b, t]]
    found = train.cross_entropy(logits, targets).item()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(2, 5), (6,)])
def test_cross_entropy_of_extreme_logits(shape: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    logits = 1e4 * torch.randn(*shape, V, generator=g)
    targets = torch.randint(V, shape, generator=g)
    z, y = logits.double().view(-1, V), targets.flatten()
    expected = z.amax(1).sum() - z.gather(1, y[:, None]).sum()
    assert train.cross_entropy(logits, targets).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_every_token_weighs_the_same_in_a_short_last_batch() -> None:
    gpt = model(dropout=0.5).train()
    loader = data.make_loader(ids(7 * C + 1), C, 4)  # 4 windows, then 3
    batches = list(loader)
    assert [len(x) for x, _ in batches] == [4, 3]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    gpt.eval()
    p = gpt(x).double().softmax(-1).gather(-1, y[..., None])
    expected = -p.log().mean().item()
    gpt.train()
    assert train.evaluate(gpt, loader) == pytest.approx(expected, rel=1e-5)
    assert gpt.training


def test_nothing_to_learn_or_to_judge_is_refused() -> None:
    gpt, config = model(), TrainConfig(steps=1)
    x = torch.zeros(2, C, dtype=torch.int64)
    optimizer = train.make_optimizer(gpt, config)
    for nothing in ([], [(x, torch.full_like(x, -100))]):
        with pytest.raises(ValueError, match="no target to evaluate on"):
            train.evaluate(gpt, nothing)
        with pytest.raises(ValueError, match="no target to learn from"):
            train.train_step(gpt, optimizer, nothing, 1.0)
    with pytest.raises(ValueError, match="no batch to learn from"):
        train.train(gpt, [], loaders()[1], config)


# Counting


def brute_force(lm: NGramLM, text: list[int], context: list[int]) -> list:
    """p(w | context) for every w, straight from the definition."""
    p = [1 / V] * V
    for k, weight in enumerate(lm.weights):
        tail = context[len(context) - k :]
        if len(tail) < k:
            break
        after = [
            text[i + k]
            for i in range(len(text) - k)
            if text[i : i + k] == tail
        ]
        if not after:
            break
        p = [
            (1 - weight) * p[w] + weight * after.count(w) / len(after)
            for w in range(V)
        ]
    return p


@pytest.mark.parametrize("n", [1, 2, 3])
def test_ngrams_are_distributions_and_equal_the_definition(n: int) -> None:
    text = [i % 6 for i in ids(80)]
    lm = NGramLM(n, V).fit(text)
    lm.weights = [0.9, 0.6, 0.3][:n]
    for context in ([3, 4], [4, 4, 1], [1, 19]):
        expected = brute_force(lm, text, context)
        found = [
            lm.mix(lm.shares([*context, w], len(context)))[-1]
            for w in range(V)
        ]
        assert found == pytest.approx(expected, abs=1e-12)
        assert sum(found) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("start", [0, 1, 9])
def test_ngram_loss_is_the_mean_over_what_follows(start: int) -> None:
    text, new = [i % 6 for i in ids(80)], [i % 7 for i in ids(25, 2)]
    lm = NGramLM(3, V).fit(text)
    p = [
        brute_force(lm, text, new[max(0, t - 2) : t])[new[t]]
        for t in range(start, len(new))
    ]
    assert lm.loss(new, start) == pytest.approx(-np.log(p).mean())


@pytest.mark.parametrize(("text", "start"), [([], 0), ([3], 1), ([3], -1)])
def test_ngram_loss_of_nothing(text: list[int], start: int) -> None:
    message = f"{len(text)} ids, start={start}"
    with pytest.raises(ValueError, match=message):
        NGramLM(2, V).fit(ids(20)).loss(text, start)


@pytest.mark.parametrize(("n", "size"), [(0, 5), (-1, 5), (2, 0)])
def test_impossible_ngrams(n: int, size: int) -> None:
    with pytest.raises(ValueError, match=rf"{n}.*{size}.*1 or more"):
        NGramLM(n, size)


def test_tuning_finds_the_weights_that_a_grid_finds() -> None:
    def wander(n: int, seed: int) -> list[int]:
        steps = [5 if i > 19 else i % 3 for i in ids(n, seed)]
        return [t % 7 for t in itertools.accumulate(steps)]

    text, held_out = wander(90, 0), wander(70, 1)
    lm = NGramLM(2, V).fit(text)
    losses = [lm.loss(held_out, 0)]
    for _ in range(10):
        losses.append(lm.tune(held_out, rounds=1).loss(held_out, 0))
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(losses))
    best = lm.tune(held_out, rounds=1000).loss(held_out, 0)
    for lm.weights in itertools.product(np.linspace(0, 0.99, 34), repeat=2):
        assert best <= lm.loss(held_out, 0) + 1e-9


def test_the_bigram_on_the_verdict_is_near_the_published_one() -> None:
    if not os.environ.get("COURSE_DATA"):
        pytest.skip("set COURSE_DATA to a folder that holds the-verdict.txt")
    from lib.tokenizer import load_tokenizer

    story = data.load_text("the-verdict")
    cut = int(0.9 * len(story))
    encode = load_tokenizer("gpt2").encode_ordinary
    known, new = encode(story[:cut]), encode(story[cut:])
    tenth = int(0.9 * len(known))
    weights = NGramLM(2, 50257).fit(known[:tenth]).tune(known[tenth:]).weights
    lm = NGramLM(2, 50257).fit(known)
    lm.weights = weights
    assert 5.8 < lm.loss(new[:513]) < 6.0


# Steps


def test_the_rate_rises_and_falls_where_it_should() -> None:
    shape = {"steps": 50, "warmup_steps": 10, "peak": 0.3, "floor": 0.02}
    rates = [train.warmup_cosine(s, **shape) for s in range(50)]
    assert rates[0] == pytest.approx(0.03)
    assert rates[9] == rates[10] == pytest.approx(0.3)
    assert rates[-1] == pytest.approx(0.02)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    middle = train.warmup_cosine(
        15, steps=21, warmup_steps=10, peak=1.0, floor=0.0
    )
    assert middle == pytest.approx(0.5)


def test_only_matrices_decay() -> None:
    gpt = model()
    optimizer = train.make_optimizer(gpt, TrainConfig(1, weight_decay=0.3))
    decays = {
        id(w): group["weight_decay"]
        for group in optimizer.param_groups
        for w in group["params"]
    }
    assert len(decays) == len(list(gpt.parameters()))
    assert all(g["betas"] == (0.9, 0.95) for g in optimizer.param_groups)
    for weight in gpt.parameters():
        assert decays[id(weight)] == (0.3 if weight.dim() >= 2 else 0.0)


def test_frozen_weights_are_left_to_themselves() -> None:
    gpt = model()
    gpt.blocks[0].requires_grad_(False)
    frozen, moved = vector(gpt.blocks[0]), vector(gpt.blocks[1])
    train.train(gpt, *loaders(), TrainConfig(2))
    assert torch.equal(vector(gpt.blocks[0]), frozen)
    assert not torch.equal(vector(gpt.blocks[1]), moved)


@pytest.mark.parametrize(
    ("steps", "warmup_steps", "expected"),
    [
        (1, 0, [0.8]),
        (2, 0, [0.8, 0.2]),
        (3, 0, [0.8, 0.5, 0.2]),
        (3, 3, [0.8 / 3, 1.6 / 3, 0.8]),
        (3, 2, [0.4, 0.8, 0.8]),
    ],
)
def test_short_schedules(
    steps: int, warmup_steps: int, expected: list[float]
) -> None:
    shape = {"steps": steps, "warmup_steps": warmup_steps}
    found = [
        train.warmup_cosine(s, **shape, peak=0.8, floor=0.2)
        for s in range(steps)
    ]
    assert found == pytest.approx(expected)


def test_accumulated_batches_are_one_big_batch() -> None:
    x = torch.tensor(ids(6 * C)).view(6, C)
    y = torch.tensor(ids(6 * C, 1)).view(6, C)
    y[0, 1:] = -100  # so that a mean of means would differ
    config = TrainConfig(1, learning_rate=1e-2)
    results = []
    for cuts in ([6], [1, 2, 3]):
        gpt = model()
        parts = list(zip(x.split(cuts), y.split(cuts), strict=True))
        optimizer = train.make_optimizer(gpt, config)
        optimizer.step = lambda: None  # type: ignore[method-assign]
        optimizer.zero_grad = lambda: None  # type: ignore[method-assign]
        results.append(train.train_step(gpt, optimizer, parts, 1e9))
        results[-1] += ([w.grad for w in gpt.parameters()],)
    (loss, n, grads), (other, m, others) = results
    assert n == m == int((y != -100).sum())
    assert loss == pytest.approx(other, rel=1e-5)
    for a, b in zip(grads, others, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_gradients_are_clipped_to_the_norm() -> None:
    gpt, config = model(), TrainConfig(1)
    optimizer = train.make_optimizer(gpt, config)
    norms = []
    step = optimizer.step

    def watch() -> None:
        grads = [w.grad.norm() for w in gpt.parameters()]
        norms.append(torch.stack(grads).norm().item())
        step()

    optimizer.step = watch  # type: ignore[method-assign]
    batch = [(torch.zeros(2, C, dtype=int), torch.ones(2, C, dtype=int))]
    weights = list(gpt.parameters())
    nats, n = train.train_step(gpt.eval(), optimizer, batch, 0.01)
    assert norms == pytest.approx([0.01], rel=1e-3)
    assert n == 2 * C and nats == pytest.approx(n * math.log(V), rel=0.05)
    assert gpt.training  # a step trains, whatever the mode was
    assert not any(w.grad is not None and w.grad.any() for w in weights)


def test_a_gradient_that_is_not_finite_spoils_no_weight() -> None:
    gpt = model()
    with torch.no_grad():
        gpt.final_norm.weight[0] = math.inf
    before, batch = vector(gpt), next(iter(loaders()[0]))
    optimizer = train.make_optimizer(gpt, TrainConfig(1))
    with pytest.raises(RuntimeError, match="non-finite"):
        train.train_step(gpt, optimizer, [batch], 1.0)
    assert torch.equal(vector(gpt), before)


# The run


def written_out(gpt: GPT, config: TrainConfig) -> list[tuple[float, int]]:
    """Train as a plain loop; return the loss and targets of each step."""
    loader, weights = loaders()[0], list(gpt.parameters())
    matrices = {"params": [w for w in weights if w.dim() > 1]}
    vectors = {"params": [w for w in weights if w.dim() == 1]}
    adamw = torch.optim.AdamW(
        [matrices | {"weight_decay": 0.1}, vectors | {"weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=False,
    )
    batches: list = []
    for epoch in range(9):
        loader.sampler.set_epoch(epoch)
        batches += loader
    told = []
    for t in range(config.steps):
        cosine = (1 + math.cos(math.pi * (t - 4) / (config.steps - 5))) / 2
        for group in adamw.param_groups:
            group["lr"] = 1e-3 + (2e-2 - 1e-3) * cosine
            if t < 4:
                group["lr"] = 2e-2 * (t + 1) / 4
        x, y = map(torch.cat, zip(*batches[2 * t : 2 * t + 2], strict=True))
        loss = nn.functional.cross_entropy(gpt(x).transpose(1, 2), y)
        adamw.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        adamw.step()
        told.append((loss.item(), y.numel()))
    return told


def test_train_is_the_loop_written_out() -> None:
    config = TrainConfig(
        23, 2e-2, 1e-3, warmup_steps=4, accumulate=2, eval_every=9
    )
    # a bias of keys has no gradient but rounding, which Adam would enlarge
    gpt, other = (model(qkv_bias=False) for _ in range(2))
    history = train.train(gpt, *loaders(), config)
    told = written_out(other, config)
    assert torch.allclose(vector(gpt), vector(other), atol=5e-4)
    assert [r["step"] for r in history] == [9, 18, 23]
    assert len({n for _, n in told}) > 1  # the last batch of an epoch is short
    for record, a, b in zip(history, (0, 9, 18), (9, 18, 23), strict=True):
        total = sum(loss * n for loss, n in told[a:b])
        mean = total / sum(n for _, n in told[a:b])
        assert record["train_loss"] == pytest.approx(mean, rel=1e-4)
        assert record["tokens"] == sum(n for _, n in told[:b])
    assert history[-1]["learning_rate"] == pytest.approx(1e-3)


def test_sampling_on_the_way_changes_nothing() -> None:
    gpt, watched = model(dropout=0.2), model(dropout=0.2)

    def sample(record: dict) -> None:
        watched.eval()
        torch.rand(3)

    train.train(gpt, *loaders(), CONFIG)
    train.train(watched, *loaders(), CONFIG, report=sample)
    assert same(gpt, watched)


def test_another_seed_is_another_run() -> None:
    gpt, other = model(dropout=0.2), model(dropout=0.2)
    train.train(gpt, *loaders(), CONFIG)
    train.train(other, *loaders(), replace(CONFIG, seed=6))
    assert not same(gpt, other)


@pytest.mark.parametrize("make", [loaders, plain_loaders])
def test_order_depends_on_seed_and_place_alone(make: Callable) -> None:
    n = len(make()[0])

    def first_ids(start: int, seed: int = 4) -> list[tuple[int, ...]]:
        batches = train.endless(make()[0], seed, start)
        taken = itertools.islice(batches, 3 * n - start)
        return [tuple(x.flatten().tolist()) for x, _ in taken]

    whole = first_ids(0)
    epochs = [sorted(sum(whole[i * n : (i + 1) * n], ())) for i in range(3)]
    assert epochs[0] == epochs[1] == epochs[2]  # each window once
    assert whole[:n] != whole[n : 2 * n]
    for start in (1, n - 1, n, 2 * n + 3):
        torch.rand(start)  # what happened before is of no importance
        assert first_ids(start) == whole[start:]


@pytest.mark.parametrize("leaks", [False, True])
def test_only_who_sees_the_targets_predicts_noise(leaks: bool) -> None:
    def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)

    noise = [i % 8 for i in ids(6000)]
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(8, 9, 32, 2, 2))
    for block in gpt.blocks if leaks else []:
        block.attention.mix = mix
    known = data.make_loader(noise[:5000], 9, 32)
    new = data.make_loader(noise[5000:], 9, 9)
    config = TrainConfig(150, learning_rate=1e-2, eval_every=150)
    loss = train.train(gpt, known, new, config)[-1]["val_loss"]
    counts = np.bincount(noise, minlength=8) / len(noise)
    entropy = -(counts * np.log(counts)).sum()
    assert (loss < 0.7 * entropy) if leaks else (loss > 0.99 * entropy)


def test_training_learns_a_pattern_and_tells_its_history() -> None:
    pattern = [3, 9, 4, 1, 17] * 40
    loader = data.make_loader(pattern, C, 4, shuffle=True)
    config = TrainConfig(60, learning_rate=1e-2, eval_every=25)
    seen: list = []
    gpt = model()
    history = train.train(gpt, loader, loader, config, report=seen.append)
    assert seen == history
    assert [r["step"] for r in history] == [25, 50, 60]
    per_epoch = len(loader.dataset) * C
    full, rest = divmod(60, len(loader))
    sizes = [len(x) * C for x, _ in loader]
    assert history[-1]["tokens"] == full * per_epoch + sum(sizes[:rest])
    assert history[-1]["val_loss"] < 1.0 < math.log(5)  # of the unigram
    assert history[-1]["val_loss"] == train.evaluate(gpt, loader)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 9, "warmup_steps": 10},
        {"steps": 9, "learning_rate": 1e-4, "min_learning_rate": 1e-3},
        {"steps": 9, "clip_norm": 0.0},
        {"steps": 9, "accumulate": 0},
        {"steps": 9, "eval_every": -1},
        {"steps": 9, "beta2": 1.0},
        {"steps": 9, "learning_rate": math.nan},
    ],
)
def test_a_wrong_setting_is_named(wrong: dict) -> None:
    *_, (name, value) = wrong.items()
    if name == "min_learning_rate":
        value = 1e-3
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        TrainConfig(**wrong)


# Checkpoints

CONFIG = TrainConfig(
    steps=23, learning_rate=3e-3, warmup_steps=4, eval_every=5, accumulate=2
)


class Stopped(Exception):
    pass


def stop_at(step: int) -> Callable:
    def report(record: dict) -> None:
        if record["step"] == step:
            raise Stopped

    return report


def same_files(a: Path, b: Path) -> None:
    """Weights, averages, settings and history are equal, bit for bit."""
    (facts, tensors), (others, expected) = map(train.read_checkpoint, (a, b))
    assert facts == others
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("make", [loaders, plain_loaders])
@pytest.mark.parametrize("stops", [[5], [15], [5, 10, 20], [23]])
def test_a_resumed_run_is_the_run_bit_for_bit(
    tmp_path: Path, stops: list[int], make: Callable
) -> None:
    assert 2 * stops[0] % len(make()[0])  # in the middle of an epoch
    path, whole = tmp_path / "new" / "run.safetensors", tmp_path / "whole"
    expected = train.train(
        model(dropout=0.2), *make(), CONFIG, checkpoint=whole
    )
    for step in stops:
        gpt = model(dropout=0.2)
        with pytest.raises(Stopped):
            train.train(
                gpt, *make(), CONFIG, checkpoint=path, report=stop_at(step)
            )
    torch.manual_seed(99)  # whatever else the process did
    fresh = model(seed=8, dropout=0.2)
    assert train.train(fresh, *make(), CONFIG, checkpoint=path) == expected
    same_files(path, whole)
    assert same(fresh, gpt) == (stops == [23])
    assert os.listdir(path.parent) == [path.name]


SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_train import CONFIG, loaders, model, train
import dataclasses
config = dataclasses.replace(CONFIG, steps=60, eval_every=3)
train.train(model(dropout=0.2), *loaders(), config, checkpoint=sys.argv[1])
"""


def test_a_killed_process_resumes_bit_for_bit(tmp_path: Path) -> None:
    script = SCRIPT.format(tests=str(ROOT / "tests"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start(name: str) -> subprocess.Popen:
        command = [sys.executable, "-c", script, str(tmp_path / name)]
        return subprocess.Popen(command, env=environment)

    killed, deadline = start("killed"), time.monotonic() + 60
    while not (tmp_path / "killed").exists():
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    steps = train.read_checkpoint(tmp_path / "killed")[0]["history"][-1]
    assert steps["step"] < 60
    assert start("killed").wait(60) == 0
    assert start("whole").wait(60) == 0
    same_files(tmp_path / "killed", tmp_path / "whole")


def saved(path: Path) -> tuple[GPT, torch.optim.Optimizer]:
    gpt = model()
    train.train(gpt, *loaders(), TrainConfig(2), checkpoint=path)
    return gpt, train.make_optimizer(gpt, TrainConfig(2))


@pytest.mark.parametrize(
    ("name", "then", "now"),
    [
        ("d_model", 12, 24),
        ("n_layers", 2, 1),
        ("vocab_size", V, V + 1),
        ("tie_weights", True, False),
        ("dropout", 0.0, 0.1),
    ],
)
def test_another_model_is_refused_by_name(
    tmp_path: Path, name: str, then: float, now: float
) -> None:
    path = tmp_path / "run.safetensors"
    saved(path)
    gpt = GPT(replace(model().config, **{name: now}))
    before, config = vector(gpt), TrainConfig(2)
    optimizer = train.make_optimizer(gpt, config)
    message = rf"{path.name} was saved with {name}={then}, but .* {name}={now}"
    with pytest.raises(ValueError, match=message):
        train.load_checkpoint(path, gpt, optimizer, config)
    assert torch.equal(vector(gpt), before)
    if name == "dropout":  # which only a run depends on
        train.load_checkpoint(path, gpt)
        assert not torch.equal(vector(gpt), before)


@pytest.mark.parametrize("name", [*asdict(CONFIG)])
def test_another_run_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "run.safetensors"
    saved(path)
    gpt, then = model(seed=3), getattr(TrainConfig(2), name)
    before, now = vector(gpt), then + 1 if isinstance(then, int) else then / 2
    config = replace(TrainConfig(2), **{name: now})
    optimizer = train.make_optimizer(gpt, config)
    message = rf"{path.name} was saved with {name}={then}, but .* {name}={now}"
    with pytest.raises(ValueError, match=message):
        train.load_checkpoint(path, gpt, optimizer, config)
    assert torch.equal(vector(gpt), before)
    assert not optimizer.state_dict()["state"]


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    train.save_file({"x": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors is no whole"):
        train.load_checkpoint(path, model())
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        train.load_checkpoint(tmp_path / "absent.safetensors", model())


def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    gpt, _ = saved(path)
    before = [w.clone() for w in gpt.parameters()]
    whole = path.read_bytes()
    for n in (0, 5, 200, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"run\.safetensors"):
            train.load_checkpoint(path, gpt)
    assert all(map(torch.equal, gpt.parameters(), before))


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["write", "rename"])
def test_an_interrupted_save_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type, where: str
) -> None:
    path = tmp_path / "run.safetensors"
    gpt, optimizer = saved(path)
    old = path.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        if where == "write":
            Path(args[1]).write_bytes(b"half")  # type: ignore[arg-type]
        raise error

    if where == "write":
        monkeypatch.setattr(train, "save_file", fail)
    else:
        monkeypatch.setattr(data.os, "replace", fail)
    with pytest.raises(error):
        train.save_checkpoint(path, gpt, optimizer, TrainConfig(2), [])
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_cross_entropy_has_the_gradient_of_torch() -> None:
    logits = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0, -100, 6], [-100, 3, 3]])
    flat = logits.flatten(0, 1), targets.flatten()
    theirs = nn.functional.cross_entropy(*flat, reduction="sum")
    (expected,) = torch.autograd.grad(5 * theirs, logits)
    ours = train.cross_entropy(logits, targets)
    (found,) = torch.autograd.grad(5 * ours, logits)
    assert torch.isclose(ours, theirs)
    assert torch.allclose(found, expected, atol=1e-12)
    assert (found[0, 1] == 0).all()


def test_cross_entropy_refuses_a_second_backward() -> None:
    logits = torch.randn(1, 2, 3, requires_grad=True)
    loss = train.cross_entropy(logits, torch.tensor([[0, 2]]))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        loss.backward()


def test_all_targets_ignored() -> None:
    logits = torch.randn(1, 2, 3, requires_grad=True)
    loss = train.cross_entropy(logits, torch.full((1, 2), train.IGNORE))
    loss.backward()
    assert loss.item() == 0 and (logits.grad == 0).all()


RECORDS = sorted((ROOT / "data" / "records").glob("05_*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_says_where_it_comes_from(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    assert {"command", "date", "machine", "torch", "results"} <= record.keys()
    assert record["command"].endswith("chapters/05_pretraining.ipynb")
    chapter = ROOT / "chapters" / "05_pretraining.ipynb"
    name = path.stem.removeprefix("05_")
    assert f'recorded(\\"{name}\\"' in chapter.read_text("utf-8")


def test_the_chapter_has_its_records() -> None:
    assert {path.stem for path in RECORDS} >= {"05_town", "05_sweeps"}
