"""A tuned model, kept as a difference to its base."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lib.data import DataAltered
from lib.difference import FILE, add_difference, load_tuned, save_difference
from lib.gpt import GPT, GPTConfig
from lib.tokenizer import BPETokenizer
from lib.weights import load_pretrained, save_pretrained


@pytest.fixture
def base(tmp_path, tokenizer):
    torch.manual_seed(0)
    folder = tmp_path / "base"
    model = GPT(GPTConfig(tokenizer.n_vocab, 16, 12, 2, 2))
    save_pretrained(model, folder, tokenizer)
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    bpe = BPETokenizer.train("tea for two", 260, ["<|endoftext|>"])
    return bpe.to_tiktoken()


def tuned(base):
    model, _ = load_pretrained(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "attention" in name:
                weight += 0.01 * torch.randn_like(weight)
    return model


def test_comes_back(base, tmp_path):
    model = tuned(base)
    path = save_difference(model, str(base), tmp_path / "tuned")
    assert all("attention" in name for name in load_file(path))
    back, tokenizer = load_tuned(tmp_path / "tuned")
    ids = torch.arange(10)[None]
    torch.testing.assert_close(back(ids), model(ids), rtol=1e-3, atol=1e-4)
    plain, _ = load_pretrained(base)
    assert (plain(ids) - model(ids)).abs().max() > 1e-3
    assert tokenizer.decode(tokenizer.encode("tea")) == "tea"
    for name, weight in back.named_parameters():
        if "attention" not in name:
            assert torch.equal(weight, plain.get_parameter(name))


def test_a_whole_model_is_loaded_too(base):
    model, _ = load_tuned(base)
    plain, _ = load_pretrained(base)
    for a, b in zip(model.parameters(), plain.parameters()):
        assert torch.equal(a, b)


def test_another_base_is_refused(base, tmp_path, tokenizer):
    save_difference(tuned(base), str(base), tmp_path / "tuned")
    save_pretrained(tuned(base), base, tokenizer)
    with pytest.raises(DataAltered, match=r"belongs to .*base"):
        load_tuned(tmp_path / "tuned")


def test_a_file_without_a_base_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / FILE)
    with pytest.raises(ValueError, match="what it is a difference to"):
        load_tuned(tmp_path)


@pytest.mark.parametrize(
    ("name", "gap", "message"),
    [
        ("blocks.9.x", torch.zeros(2), r"blocks\.9\.x of shape \(2,\).*none"),
        ("final_norm.weight", torch.zeros(3), r"shape \(3,\).*\(12,\)"),
        ("final_norm.bias", torch.full((12,), torch.nan), "not finite"),
    ],
)
def test_a_misfit_changes_nothing(base, name, gap, message):
    model, _ = load_pretrained(base)
    before = {n: w.clone() for n, w in model.state_dict().items()}
    gaps = {"final_norm.weight": torch.ones(12)} | {name: gap}
    with pytest.raises(ValueError, match=message):
        add_difference(model, gaps)
    after = model.state_dict()
    assert all(torch.equal(before[n], w) for n, w in after.items())
