"""The benchmark: what it times is the same model and the same work."""

import torch

import bench
from lib.gpt import GPT, GPTConfig, count_parameters
from lib.train import cross_entropy

CONFIG = GPTConfig(31, 12, d_model=16, n_layers=2, n_heads=4)
NAMES = {  # ours, in the plain model
    "token_embedding": "tokens",
    "position_embedding": "positions",
    "attention_norm": "norms.0",
    "feed_forward_norm": "norms.1",
    "attention.qkv": "qkv",
    "attention.out": "out",
    "feed_forward.up": "wide",
    "feed_forward.down": "narrow",
    "final_norm": "norm",
}


def test_the_plain_model_is_the_same_model() -> None:
    torch.manual_seed(0)
    ours, plain = GPT(CONFIG), bench.PlainGPT(CONFIG)
    assert count_parameters(ours) == count_parameters(plain)
    state = {}
    for name, weight in ours.state_dict().items():
        for old, new in NAMES.items():
            name = name.replace(old, new)
        state[name] = weight
    plain.load_state_dict(state)
    ids = torch.randint(31, (3, 10))
    loss = cross_entropy(ours(ids[:, :-1]), ids[:, 1:]) / ids[:, 1:].numel()
    assert torch.allclose(plain(ids[:, :-1], ids[:, 1:]), loss, atol=1e-6)


def test_all_that_is_timed_runs(capsys) -> None:
    ours, theirs, plain = bench.training_runs(CONFIG, batch_size=3)
    bench.compare("training", ours, {"a": theirs, "b": plain}, rounds=2)
    ours, theirs = bench.generation_pair(CONFIG, new=4)
    bench.compare("generation", ours, {"a": theirs}, rounds=2)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("|")[2].strip() for row in rows] == ["a", "b", "a"]
