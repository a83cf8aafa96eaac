"""LoRA: the layer, what puts it into a model, what merges it, its files."""

import copy
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lib.adapter import (
    ADAPTER,
    load_adapted,
    load_adapter,
    save_adapter,
    weights_digest,
)
from lib.classify import Classifier
from lib.data import DataAltered
from lib.gpt import GPT, GPTConfig, count_parameters
from lib.lora import (
    LoRALinear,
    adapters,
    apply_lora,
    find_linears,
    merge_lora,
    remove_lora,
)
from lib.sample import generate
from lib.tokenizer import BPETokenizer
from lib.train import TrainConfig, make_optimizer, train_step
from lib.weights import load_pretrained, save_pretrained

IDS = torch.arange(10)[None]


def small(seed=0, **changes):
    torch.manual_seed(seed)
    shape = {"vocab_size": 300, "context_length": 16, "d_model": 12}
    shape |= {"n_layers": 2, "n_heads": 2}
    return GPT(GPTConfig(**(shape | changes))).eval()


def stirred(model, seed=1):
    """Give both factors of all adapters numbers, as a training would."""
    generator = torch.Generator().manual_seed(seed)
    for layer in adapters(model).values():
        for factor in layer.lora_a, layer.lora_b:
            new = torch.randn(factor.shape, generator=generator)
            factor.data.copy_(0.2 * new)
    return model


def logits(model):
    with torch.inference_mode():
        return model(IDS)


@pytest.fixture(scope="module")
def tokenizer():
    bpe = BPETokenizer.train("tea for two", 260, ["<|endoftext|>"])
    return bpe.to_tiktoken()


@pytest.fixture
def base(tmp_path, tokenizer):
    folder = tmp_path / "base"
    save_pretrained(small(), folder, tokenizer)
    return folder


@pytest.mark.parametrize(
    "d_in, d_out, rank", [(5, 7, 1), (9, 4, 3), (3, 8, 3)]
)
@pytest.mark.parametrize("bias", [True, False])
def test_forward_is_the_formula_in_64_bits(d_in, d_out, rank, bias):
    plain = nn.Linear(d_in, d_out, bias)
    layer = LoRALinear(plain, rank, alpha=2.5)
    nn.init.normal_(layer.lora_b)
    x = torch.randn(2, 6, d_in)
    w, a, b, xs = (
        t.detach().numpy().astype(np.float64)
        for t in (plain.weight, layer.lora_a, layer.lora_b, x)
    )
    expected = xs @ (w.T + 2.5 / rank * a @ b)
    if bias:
        expected += plain.bias.detach().numpy()
    np.testing.assert_allclose(layer(x).detach(), expected, atol=1e-5)
    assert layer.update().shape == (d_in, d_out)


def test_starts_as_the_layer_and_draws_a_as_wide_as_it_says():
    plain = nn.Linear(400, 30)
    layer = LoRALinear(plain, 30, 8)
    x = torch.randn(4, 400)
    assert torch.equal(layer(x), plain(x))
    assert layer.weight is plain.weight and layer.bias is plain.bias
    assert layer.lora_a.std().item() == pytest.approx(1 / 20, rel=0.05)
    assert not layer.lora_b.any()


def test_the_seed_is_the_generators_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two = (
        apply_lora(small(), 2, 4, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    for a, b in zip(one.parameters(), two.parameters()):
        assert torch.equal(a, b)
    torch.set_rng_state(before)
    LoRALinear(nn.Linear(3, 4), 1, 1, torch.Generator())
    torch.set_rng_state(before)
    made = nn.Linear(3, 4)
    torch.set_rng_state(before)
    LoRALinear(made, 2, 1, torch.Generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rank", [0, -1, 13, 2.0, True, "2"])
def test_refuses_ranks(rank):
    model = small()
    with pytest.raises(ValueError, match="rank"):
        apply_lora(model, rank, 4)
    assert not adapters(model)
    assert all(w.requires_grad for w in model.parameters())


@pytest.mark.parametrize("alpha", [0, -1, math.nan, math.inf])
def test_refuses_alphas(alpha):
    with pytest.raises(ValueError, match="alpha must be positive"):
        apply_lora(small(), 2, alpha)


def test_the_largest_rank_is_the_smaller_side():
    apply_lora(small(), 12, 4)
    with pytest.raises(ValueError, match=r"rank is 13.*12 x 36.*12 at most"):
        apply_lora(small(), 13, 4)


@pytest.mark.parametrize(
    "parts, width",
    [
        ((), 16),
        (("attention",), 6),
        (("feed_forward",), 10),
        (("qkv", "down"), 9),
        (("blocks.1",), 8),
    ],
)
def test_counts(parts, width):
    model = apply_lora(small(), 3, 4, *parts)
    assert count_parameters(model) == 3 * 12 * width * 2
    trained = {n for n, w in model.named_parameters() if w.requires_grad}
    assert all(n.endswith(("lora_a", "lora_b")) for n in trained)


def test_names_of_the_base_stay():
    plain, thin = small(), apply_lora(small(), 2, 4)
    ours = {n for n in thin.state_dict() if "lora_" not in n}
    assert ours == {*plain.state_dict()}
    assert thin.head.weight is thin.token_embedding.weight
    back = apply_lora(small(5), 2, 4)
    back.load_state_dict(stirred(thin).state_dict())
    assert torch.equal(logits(back), logits(thin))
    fresh = apply_lora(small(5), 2, 4)
    missing = fresh.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert torch.equal(logits(fresh), logits(plain))


def test_refuses_what_cannot_be_adapted():
    with pytest.raises(ValueError, match=r"head\.weight is tied"):
        apply_lora(small(), 2, 4, "head")
    with pytest.raises(ValueError, match=r"holds 'mlp'.*blocks\.0\.attention"):
        apply_lora(small(), 2, 4, "attention", "mlp")
    loose = small(tie_weights=False)
    assert "head" in adapters(apply_lora(loose, 2, 4, "head"))
    model = apply_lora(small(), 2, 4)
    with pytest.raises(ValueError, match="adapter of rank 2 already"):
        apply_lora(model, 2, 4)
    assert len(find_linears(small(), "attention")) == 4


def test_training_moves_the_factors_and_nothing_else():
    model = apply_lora(small(), 2, 4)
    before = {n: w.detach().clone() for n, w in model.named_parameters()}
    optimizer = make_optimizer(model, TrainConfig(2, 1e-2, 1e-3))
    for _ in range(2):
        train_step(model, optimizer, [(IDS[:, :-1], IDS[:, 1:])], 1.0)
    for name, weight in model.named_parameters():
        moved = not torch.equal(weight, before[name])
        assert moved == ("lora_" in name), name


def test_merges_to_the_same_and_saves_as_any_model(tmp_path, tokenizer):
    model = stirred(apply_lora(small(), 3, 5))
    thin = logits(model)
    assert (thin - logits(small())).abs().max() > 1e-3
    assert merge_lora(model) is model and not adapters(model)
    torch.testing.assert_close(logits(model), thin, rtol=1e-5, atol=1e-5)
    assert [*model.state_dict()] == [*small().state_dict()]
    assert all(w.requires_grad for w in model.parameters())
    assert type(model.blocks[0].attention.qkv) is nn.Linear
    save_pretrained(model, tmp_path, tokenizer)
    assert torch.equal(logits(load_pretrained(tmp_path)[0]), logits(model))


def test_cached_generation_with_adapters():
    model = stirred(apply_lora(small(), 2, 4))
    made = [generate(model, IDS[:, :4], 8, use_cache=c) for c in (True, False)]
    assert torch.equal(*made)


def test_merging_needs_adapters_and_so_does_removing():
    model = merge_lora(apply_lora(small(), 2, 4))
    for change in merge_lora, remove_lora:
        with pytest.raises(ValueError, match="0 adapters, expected 1"):
            change(model)


def test_removing_leaves_the_base():
    model = remove_lora(stirred(apply_lora(small(), 2, 4)))
    assert torch.equal(logits(model), logits(small()))
    assert all(w.requires_grad for w in model.parameters())


def test_an_unmerged_model_is_not_saved_as_a_gpt(tmp_path):
    with pytest.raises(ValueError, match="lora_a"):
        save_pretrained(apply_lora(small(), 2, 4), tmp_path)


def test_a_classifier_keeps_its_head_trainable():
    torch.manual_seed(0)
    model = apply_lora(Classifier(small(), 2), 2, 4)
    assert len(adapters(model)) == 8
    model.head.requires_grad_(True)
    assert count_parameters(model) == 2 * 12 * 16 * 2 + 2 * 12 + 2
    expected = model.eval()(IDS)
    merge_lora(model)
    torch.testing.assert_close(model.eval()(IDS), expected)


def test_an_adapter_comes_back(base, tmp_path):
    model = stirred(apply_lora(load_pretrained(base)[0], 3, 5, "attention"))
    path = save_adapter(model, base, tmp_path / "thin")
    assert path.name == ADAPTER
    assert all("lora_" in name for name in load_file(path))
    back, tokenizer = load_adapted(tmp_path / "thin")
    assert torch.equal(logits(back), logits(model))
    assert tokenizer.decode(tokenizer.encode("tea")) == "tea"
    layer = back.blocks[1].attention.out
    assert isinstance(layer, LoRALinear)
    assert (layer.rank, layer.alpha) == (3, 5.0)
    trained = {n for n, w in back.named_parameters() if w.requires_grad}
    assert trained == {*load_file(path)}


def test_adapters_take_turns(base, tmp_path):
    one = stirred(apply_lora(load_pretrained(base)[0], 3, 5, "attention"))
    two = stirred(apply_lora(load_pretrained(base)[0], 1, 2), seed=9)
    save_adapter(one, base, tmp_path / "one")
    save_adapter(two, base, tmp_path / "two")
    model = load_pretrained(base)[0]
    for name, wanted in ("one", one), ("two", two), ("one", one):
        load_adapter(model, tmp_path / name)
        assert torch.equal(logits(model), logits(wanted))
        assert {*adapters(model)} == {*adapters(wanted)}
    assert torch.equal(logits(remove_lora(model)), logits(small()))


def test_the_digest_is_of_the_base_whatever_is_on_it():
    model = small()
    digest = weights_digest(model)
    assert weights_digest(stirred(apply_lora(model, 2, 4))) == digest
    assert weights_digest(merge_lora(model)) != digest
    halved, whole = small().half(), small().half().float()
    assert weights_digest(halved) == weights_digest(whole) != digest
    with torch.no_grad():
        whole.blocks[1].feed_forward.up.bias[3] += 1e-3
    assert weights_digest(halved) != weights_digest(whole)


def test_another_base_is_refused(base, tmp_path):
    model = stirred(apply_lora(load_pretrained(base)[0], 2, 4))
    save_adapter(model, base, tmp_path)
    other = small(7)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(DataAltered, match="SHA-256"):
        load_adapter(other, tmp_path)
    assert not adapters(other)
    for name, weight in other.state_dict().items():
        assert torch.equal(weight, before[name])
    save_pretrained(other, base)
    with pytest.raises(DataAltered, match="but these have"):
        load_adapted(tmp_path)


def test_saving_refuses(base, tmp_path):
    model = load_pretrained(base)[0]
    with pytest.raises(ValueError, match="0 adapters"):
        save_adapter(model, base, tmp_path)
    apply_lora(model, 2, 4)
    model.final_norm.requires_grad_(True)
    with pytest.raises(ValueError, match=r"final_norm\.weight is trained"):
        save_adapter(model, base, tmp_path)
    other = apply_lora(small(3), 2, 4)
    with pytest.raises(ValueError, match="stand beside weights"):
        save_adapter(other, base, tmp_path)
    assert not (tmp_path / ADAPTER).exists()


NAME = "blocks.0.attention.qkv"


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda f, m: f.pop(f"{NAME}.lora_b"), "the adapter lacks a part of"),
        (lambda f, m: f.update(x=torch.ones(2)), "the model lacks a part of"),
        (
            lambda f, m: f.update({f"{NAME}.lora_a": torch.ones(11, 2)}),
            r"shapes \(11, 2\)",
        ),
        (lambda f, m: f[f"{NAME}.lora_b"].fill_(math.nan), "not finite"),
        (lambda f, m: m.pop("alpha"), "lacks alpha"),
        (lambda f, m: m.update(alpha="-1"), "alpha must be positive"),
    ],
)
def test_a_damaged_file_is_refused(base, tmp_path, harm, message):
    model = stirred(apply_lora(load_pretrained(base)[0], 2, 4, "attention"))
    path = save_adapter(model, base, tmp_path)
    factors = load_file(path)
    about = {"base": str(base), "sha256": weights_digest(model), "alpha": "4"}
    harm(factors, about)
    save_file(factors, path, about)
    fresh = load_pretrained(base)[0]
    with pytest.raises(ValueError, match=message):
        load_adapter(fresh, tmp_path)
    assert not adapters(fresh)
    assert torch.equal(logits(fresh), logits(small()))


def test_half_a_file_is_refused(base, tmp_path):
    model = apply_lora(load_pretrained(base)[0], 2, 4)
    path = save_adapter(model, base, tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="no whole safetensors"):
        load_adapter(load_pretrained(base)[0], tmp_path)
