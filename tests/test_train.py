"""lib.train against independent oracles: loss, counts, steps and resuming."""

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

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
        ids(151), C, batch_size, stride=4, shuffle=True, seed=5
    )
    return shuffled, data.make_loader(ids(60, 1), C, 4)


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
    nothing = [(x, torch.full_like(x, -100))]
    with pytest.raises(ValueError, match="no target"):
        train.evaluate(gpt, nothing)
    with pytest.raises(ValueError, match="no target"):
        train.train_step(gpt, train.make_optimizer(gpt, config), nothing, 1.0)


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
    for weight in gpt.parameters():
        assert decays[id(weight)] == (0.3 if weight.dim() >= 2 else 0.0)


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
    train.train_step(gpt, optimizer, batch, 0.01)
    assert norms == pytest.approx([0.01], rel=1e-3)


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


def test_a_resumed_run_is_the_run_bit_for_bit(tmp_path: Path) -> None:
    whole = model(dropout=0.2)
    expected = train.train(whole, *loaders(), CONFIG)

    class Stop(Exception):
        pass

    def stop_at_15(record: dict) -> None:
        if record["step"] == 15:
            raise Stop

    path, first = tmp_path / "run.safetensors", model(dropout=0.2)
    with pytest.raises(Stop):
        train.train(
            first, *loaders(), CONFIG, checkpoint=path, report=stop_at_15
        )
    torch.manual_seed(99)  # whatever else the process did
    fresh = model(seed=8, dropout=0.2)
    history = train.train(fresh, *loaders(), CONFIG, checkpoint=path)
    assert history == expected
    assert same(fresh, whole)
    assert not same(fresh, first)


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
    facts, tensors = train.read_checkpoint(tmp_path / "killed")
    others, expected = train.read_checkpoint(tmp_path / "whole")
    assert facts == others
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name]), name


def saved(path: Path) -> tuple[GPT, torch.optim.Optimizer]:
    gpt = model()
    train.train(gpt, *loaders(), TrainConfig(2), checkpoint=path)
    return gpt, train.make_optimizer(gpt, TrainConfig(2))


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    gpt, optimizer = saved(path)
    wide = GPT(GPTConfig(V, C, 24, 2, 3))
    with pytest.raises(ValueError, match=r"d_model.*12.*24|d_model.*24.*12"):
        train.load_checkpoint(path, wide)
    with pytest.raises(ValueError, match=r"steps.*(2.*7|7.*2)"):
        train.load_checkpoint(path, gpt, optimizer, TrainConfig(7))


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
