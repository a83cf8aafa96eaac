"""lib.weights against transformers, damaged files and a server of our own."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import transformers
from hf import oracle
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, GPT2LMHeadModel

from lib import hub
from lib.data import DataAltered, DataNotFound, Source, load_text
from lib.gpt import GPT, GPTConfig
from lib.hub import MODELS, fetch, find_model
from lib.sample import generate
from lib.tokenizer import BPETokenizer, load_tokenizer
from lib.vocab import as_bpe, read_tokenizer, tokenizer_files
from lib.weights import (
    load_pretrained,
    save_pretrained,
    their_name,
    their_tensors,
)

# A download that fails leaves its socket to Python's garbage collector.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket"
        ":pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:Deprecated in 0.9.0"),  # transformers'
]
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

SHAPES = [  # V, C, D, L, H: odd ones, whose sizes cannot be mistaken
    (301, 11, 12, 1, 3),
    (259, 23, 40, 3, 5),
    (523, 9, 21, 2, 7),
]
ROOT = Path(__file__).resolve().parents[1]


def config(shape=SHAPES[1], **changes) -> GPTConfig:
    return GPTConfig(*shape, **changes)


def random_model(config: GPTConfig, seed: int = 0) -> GPT:
    """A model with every weight random, norms and biases included."""
    model = GPT(config).eval()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(std=0.2, generator=g)
            if name.endswith("norm.weight"):
                weight += 1
    return model


def ids_for(config: GPTConfig, B: int = 2, T: int | None = None) -> Tensor:
    g = torch.Generator().manual_seed(1)
    shape = B, T or config.context_length
    return torch.randint(config.vocab_size, shape, generator=g)


def small_tokenizer(vocab_size: int = 259, **changes) -> BPETokenizer:
    text = load_text("a-letter-a-year")[:4000]
    return BPETokenizer.train(text, vocab_size, **changes)


ANY = small_tokenizer().to_tiktoken()


@torch.inference_mode()
def assert_same_model(ours: GPT, theirs: GPT2LMHeadModel) -> None:
    """Logits within 1e-4 of their size, and the same greedy text."""
    x = ids_for(ours.config)
    a, b = ours(x), theirs(x).logits
    assert (a - b).abs().max() <= 1e-4 * b.abs().max()
    prompt, n = x[:1, :3], ours.config.context_length - 3
    text = theirs.generate(
        prompt, max_new_tokens=n, do_sample=False, eos_token_id=None
    )
    assert torch.equal(generate(ours, prompt, n), text)


# Both ways, with transformers


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_they_open_ours(tmp_path, shape, tied, qkv_bias):
    c = config(shape, tie_weights=tied, qkv_bias=qkv_bias)
    ours = random_model(c)
    save_pretrained(ours, tmp_path / "deep" / "er")
    theirs, report = GPT2LMHeadModel.from_pretrained(
        tmp_path / "deep" / "er", output_loading_info=True
    )
    assert not any(report.values()), report
    theirs.eval()
    tie = theirs.lm_head.weight is theirs.transformer.wte.weight
    assert tie == tied
    assert_same_model(ours, theirs)
    again, _ = load_pretrained(tmp_path / "deep" / "er", tokenizer=ANY)
    assert again.config == replace(c, qkv_bias=True)
    assert_same_model(again, theirs)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_we_open_theirs(tmp_path, shape, tied):
    c = config(shape, tie_weights=tied)
    theirs = oracle(c)
    theirs.save_pretrained(tmp_path)
    ours, _ = load_pretrained(tmp_path, tokenizer=ANY)
    assert ours.config == c
    assert (ours.head.weight is ours.token_embedding.weight) == tied
    assert_same_model(ours, theirs)


def test_we_open_theirs_in_shards(tmp_path):
    theirs = oracle(config())
    theirs.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len([*tmp_path.glob("model-*.safetensors")]) > 2
    assert_same_model(load_pretrained(tmp_path, tokenizer=ANY)[0], theirs)


def test_a_missing_shard_is_named(tmp_path):
    oracle(config()).save_pretrained(tmp_path, max_shard_size="40KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        load_pretrained(tmp_path, tokenizer=ANY)


def test_names_without_prefix_and_old_masks(tmp_path):
    """As openai-community/gpt2 has them."""
    theirs = oracle(config())
    tensors = {
        name.removeprefix("transformer."): tensor.clone()
        for name, tensor in theirs.state_dict().items()
        if name != "lm_head.weight"
    }
    C = theirs.config.n_positions
    for layer in range(theirs.config.n_layer):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(1, 1, C, C).tril()
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    theirs.config.save_pretrained(tmp_path)
    assert_same_model(load_pretrained(tmp_path, tokenizer=ANY)[0], theirs)


def test_a_tied_head_may_be_written_twice(tmp_path):
    save_pretrained(random_model(config()), tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    save_file(tensors, file)
    model, _ = load_pretrained(tmp_path, tokenizer=ANY)
    assert model.head.weight is model.token_embedding.weight
    (tmp_path / "config.json").unlink()
    bare, _ = load_pretrained(tmp_path, n_heads=5, tokenizer=ANY)
    assert bare.config == model.config


# What is loaded


def test_bare_file_shows_its_shape(tmp_path):
    c = config((60, 7, 128, 3, 2), tie_weights=False)
    model = random_model(c)
    file = tmp_path / "some.safetensors"
    save_file(their_tensors(model), file)
    with pytest.raises(ValueError, match=r"50257 entries.*model only 60"):
        load_pretrained(file)
    big = random_model(replace(c, vocab_size=300))
    save_file(their_tensors(big), file)
    loaded, _ = load_pretrained(file, tokenizer=ANY)
    assert loaded.config == big.config  # two heads of width 64
    other, _ = load_pretrained(file, tokenizer=ANY, n_heads=4)
    assert other.config.n_heads == 4


def test_bare_file_of_another_width_asks_for_heads(tmp_path):
    file = tmp_path / "some.safetensors"
    save_file(their_tensors(random_model(config())), file)
    with pytest.raises(ValueError, match=r"width of 40, no multiple of 64"):
        load_pretrained(file, tokenizer=ANY)
    with pytest.raises(ValueError, match=r"d_model=40.*n_heads=3"):
        load_pretrained(file, tokenizer=ANY, n_heads=3)
    model, _ = load_pretrained(file, tokenizer=ANY, n_heads=8)
    assert model.config == config((259, 23, 40, 3, 8))


def test_file_in_a_folder_stands_for_the_folder(tmp_path):
    save_pretrained(random_model(config()), tmp_path)
    model, _ = load_pretrained(tmp_path / "model.safetensors", tokenizer=ANY)
    assert model.config.n_heads == 5


def test_model_is_ready_and_can_be_trained_on(tmp_path):
    save_pretrained(random_model(config(dropout=0.1)), tmp_path)
    before = torch.get_rng_state()
    model, _ = load_pretrained(tmp_path, tokenizer=ANY)
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training and model.config.dropout == 0.0
    assert all(
        w.requires_grad and w.is_contiguous() for w in model.parameters()
    )
    model(ids_for(model.config)).sum().backward()
    other, _ = load_pretrained(tmp_path, tokenizer=ANY, dropout=0.3)
    assert other.blocks[0].attention.dropout == 0.3
    (tmp_path / "model.safetensors").write_bytes(b"")  # nothing maps it
    assert torch.isfinite(model(ids_for(model.config))).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types(tmp_path, dtype):
    model = random_model(config())
    narrow = {n: t.to(dtype) for n, t in model.state_dict().items()}
    save_pretrained(model.to(dtype), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["dtype"] == str(dtype)[6:]
    loaded, _ = load_pretrained(tmp_path, tokenizer=ANY)
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, narrow[name].float())
    kept, _ = load_pretrained(tmp_path, tokenizer=ANY, dtype=dtype)
    assert all(w.dtype == dtype for w in kept.parameters())


def test_every_name_is_translated():
    model = GPT(config(tie_weights=False))
    names = {their_name(name) for name in model.state_dict()}
    theirs = oracle(config(tie_weights=False)).state_dict()
    assert names == {*theirs}


MEMORY = """
import re, sys
from pathlib import Path
import tiktoken
from lib.weights import load_pretrained

def peak():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024

ranks = {bytes([b]): b for b in range(256)}
tokenizer = tiktoken.Encoding(
    "bytes", pat_str=".", mergeable_ranks=ranks, special_tokens={}
)
load_pretrained(sys.argv[2], tokenizer=tokenizer)  # wakes torch up
before = peak()
model, _ = load_pretrained(sys.argv[1], tokenizer=tokenizer)
size = sum(4 * w.numel() for w in model.parameters())
print((peak() - before) / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_never_holds_two_copies(tmp_path):
    with torch.device("meta"):
        model = GPT(GPTConfig(8_000, 64, 384, 6, 8))  # 55 MB
    model.to_empty(device="cpu")
    with pytest.raises(ValueError, match=r"head\.weight.*tie_weights=True"):
        save_pretrained(model, tmp_path)  # to_empty cuts the tie
    model.head.weight = model.token_embedding.weight
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    save_pretrained(model, tmp_path / "large")
    save_pretrained(GPT(config((300, 8, 12, 1, 3))), tmp_path / "small")
    folders = str(tmp_path / "large"), str(tmp_path / "small")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *folders],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    ratio = float(done.stdout)
    assert 0.9 < ratio < 1.3  # the model, and at most its largest tensor


# What is refused


@pytest.fixture
def home(tmp_path) -> Path:
    save_pretrained(random_model(config()), tmp_path / "home")
    return tmp_path / "home"


def edit(home: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(home / "model.safetensors")
    change(tensors)
    save_file(tensors, home / "model.safetensors")


def configure(home: Path, **settings: object) -> None:
    file = home / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def refused(
    home: Path, match: str, kind: type[Exception] = ValueError
) -> None:
    with pytest.raises(kind, match=match):
        load_pretrained(home, tokenizer=ANY)


PROJ = "transformer.h.1.attn.c_proj.weight"


def test_missing_tensor(home):
    edit(home, lambda t: t.pop(PROJ))
    refused(
        home, r"home lacks .*h\.1\.attn\.c_proj\.weight, of shape \(40, 40\)"
    )


@pytest.mark.parametrize("name", ["wte.weight", "wpe.weight"])
def test_missing_embedding(home, name):
    edit(home, lambda t: t.pop(f"transformer.{name}"))
    refused(home, f"home lacks the matrix transformer.{name}")


def test_extra_tensor(home):
    edit(home, lambda t: t.update({"score.weight": torch.ones(2, 40)}))
    refused(home, r"model\.safetensors holds score\.weight.*no place")


def test_twice_the_same_tensor(home):
    edit(home, lambda t: t.update({PROJ[12:]: t[PROJ].clone()}))
    refused(home, r"h\.1\.attn\.c_proj\.weight a second time")


def test_misshapen_tensor(home):
    name = "transformer.h.2.mlp.c_fc.weight"
    edit(home, lambda t: t.update({name: t[name].t().contiguous()}))
    refused(
        home, r"h\.2\.mlp\.c_fc\.weight.*\(160, 40\).*expected \(40, 160\)"
    )


def test_whole_numbers(home):
    edit(home, lambda t: t.update({PROJ: t[PROJ].to(torch.int8)}))
    refused(home, r"c_proj\.weight.*type I8, expected .* a float")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_not_finite(home, bad):
    edit(home, lambda t: t[PROJ][3, 5:7].fill_(bad))
    refused(
        home, r"h\.1\.attn\.c_proj\.weight in .* holds 2 numbers.*NaN or inf"
    )


@pytest.mark.parametrize("kept", [0, 5, 40, -4])
def test_truncated(home, kept):
    file = home / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    refused(home, r"model\.safetensors is no whole safetensors")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation_function", "gelu"),
        ("activation_function", "relu"),
        ("layer_norm_epsilon", 1e-6),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("model_type", "llama"),
    ],
)
def test_settings_that_we_do_not_compute(home, name, value):
    configure(home, **{name: value})
    refused(home, rf"config\.json has {name}={value!r}.*with {name}=")


def test_other_widths(home):
    configure(home, n_inner=99)
    load_pretrained(home, tokenizer=ANY)  # the tensors say 4 x 40
    configure(home, n_head=7)
    refused(home, r"d_model=40 cannot be split into n_heads=7")
    configure(home, n_head=5, n_layer=4)
    refused(home, r"lacks transformer\.h\.3\.ln_1\.weight")
    configure(home, n_layer=2)
    refused(home, r"holds transformer\.h\.2\.")
    configure(home, n_layer=3, n_positions=24)
    refused(home, r"wpe\.weight.*\(23, 40\).*expected \(24, 40\)")


def test_wrong_ties(home):
    configure(home, tie_word_embeddings=False)
    refused(home, r"lacks lm_head\.weight, of shape \(259, 40\)")
    configure(home, tie_word_embeddings=True)
    edit(home, lambda t: t.update({"lm_head.weight": torch.ones(259, 40)}))
    refused(
        home, r"lm_head\.weight in .* differs from transformer\.wte\.weight"
    )
    (home / "config.json").unlink()
    model, _ = load_pretrained(home, tokenizer=ANY, n_heads=5)
    assert not model.config.tie_weights


def test_broken_config(home):
    (home / "config.json").write_text('{"n_head": 5,')
    refused(home, r"config\.json is no whole JSON")
    (home / "config.json").write_text("[5]")
    refused(home, r"config\.json is no whole JSON")
    (home / "config.json").write_text('{"n_head": "five"}')
    refused(home, r"n_heads must be a positive integer, got 'five'")


def test_empty_folder_and_no_path(tmp_path, monkeypatch):
    refused(tmp_path, "holds no model.safetensors", DataNotFound)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    refused(Path("no", "where"), r"no model 'no.where'", DataNotFound)


class Bomb:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors", "weights.pt"]
)
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_is_refused_and_not_run(tmp_path, name, how):
    mark, file = tmp_path / "ran", tmp_path / "home" / name
    file.parent.mkdir()
    if how == "pickle":
        file.write_bytes(pickle.dumps({"wte.weight": Bomb(mark)}))
    else:
        torch.save({"wte.weight": Bomb(mark)}, file)
    for path in (file.parent, file):
        refused(path, rf"{name} is (a pickle|no whole safetensors)")
        assert not mark.exists()
    if how == "pickle":
        pickle.loads(file.read_bytes())
        assert mark.exists()  # it would have gone off


# Writing


def test_what_is_written(tmp_path):
    save_pretrained(random_model(config(dropout=0.1)), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    theirs = transformers.GPT2Config.from_pretrained(tmp_path)
    assert settings["architectures"] == ["GPT2LMHeadModel"]
    assert theirs.n_layer == 3 and theirs.resid_pdrop == 0.1
    assert theirs.eos_token_id is None
    assert {f.name for f in tmp_path.iterdir()} == {
        "config.json",
        "model.safetensors",
    }


def test_a_failed_write_leaves_the_old_files(tmp_path, monkeypatch):
    save_pretrained(random_model(config()), tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    monkeypatch.setattr("lib.weights.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        save_pretrained(random_model(config(SHAPES[0])), tmp_path)
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


def broken(tensors, path, metadata):
    Path(path).write_bytes(b"half")
    raise OSError("disk full")


def test_a_changed_model_is_not_saved_as_a_gpt2(tmp_path):
    model = GPT(config())
    model.blocks[0].attention.extra = nn.Linear(40, 2)
    with pytest.raises(ValueError, match=r"attention\.extra\.weight"):
        save_pretrained(model, tmp_path)
    assert not [*tmp_path.iterdir()]


# Tokenizers


TEXTS = ["My father's été  boat!\n\n", "", " <|endoftext|>", "語 x" * 3]


@pytest.mark.parametrize("specials", [(), ("<|endoftext|>",)])
def test_tokenizer_travels_with_the_model(tmp_path, specials):
    bpe = small_tokenizer(290, special_tokens=specials)
    model = random_model(config((300, 8, 12, 1, 3)))
    save_pretrained(model, tmp_path, bpe)
    _, tokenizer = load_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        expected = bpe.encode(text, "all")
        assert tokenizer.encode(text, allowed_special="all") == expected
        if specials:  # without, theirs adds one of its own
            assert theirs.encode(text) == expected
            assert theirs.decode(expected) == text
    again = tmp_path / "again"
    save_pretrained(model, again, tokenizer)
    for name in ("vocab.json", "merges.txt", "config.json"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()
    stop = json.loads((again / "config.json").read_text())["eos_token_id"]
    assert stop == (289 if specials else None)


def test_single_tokenizer_file(tmp_path):
    bpe = small_tokenizer(290, special_tokens=["<|endoftext|>"])
    save_pretrained(random_model(config((290, 8, 12, 1, 3))), tmp_path, bpe)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "merges.txt").unlink()
    theirs.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
    tokenizer = read_tokenizer(tmp_path)
    for text in TEXTS:
        ids = tokenizer.encode(text, allowed_special="all")
        assert ids == bpe.encode(text, "all") == theirs.encode(text)
    record = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    merges = record["model"]["merges"]
    record["model"]["merges"] = [" ".join(pair) for pair in merges]
    (tmp_path / "tokenizer.json").write_text(json.dumps(record))
    assert read_tokenizer(tmp_path)._mergeable_ranks == (
        tokenizer._mergeable_ranks
    )
    spaced = record["pre_tokenizer"] | {"add_prefix_space": True}
    for before in ({"type": "Metaspace"}, None, spaced):
        record["pre_tokenizer"] = before
        (tmp_path / "tokenizer.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match=r"json is no byte-level BPE"):
            read_tokenizer(tmp_path)


def test_our_own_tokenizer_file(tmp_path):
    bpe = small_tokenizer(290, special_tokens=["<|endoftext|>"])
    bpe.save(tmp_path / "tokenizer.json")
    tokenizer = read_tokenizer(tmp_path)
    for text in TEXTS:
        ids = tokenizer.encode(text, allowed_special="all")
        assert ids == bpe.encode(text, "all")


def test_gpt2s_merges_are_found_again(tmp_path):
    assert read_tokenizer(tmp_path) is load_tokenizer("gpt2")
    bpe = as_bpe(load_tokenizer("gpt2"))
    files = tokenizer_files(bpe)
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    ranks = read_tokenizer(tmp_path)._mergeable_ranks
    assert ranks == load_tokenizer("gpt2")._mergeable_ranks
    assert len(files["merges.txt"].splitlines()) == 50_001


def test_tokenizer_must_fit(tmp_path, home):
    with pytest.raises(ValueError, match=r"290 entries.*model only 259"):
        save_pretrained(GPT(config()), tmp_path, small_tokenizer(290))
    with pytest.raises(ValueError, match=r"50257 entries.*model only 259"):
        load_pretrained(home)
    odd = small_tokenizer(280, special_tokens=["<| a |>"])
    with pytest.raises(ValueError, match=r"'<\| a \|>' cannot be written"):
        tokenizer_files(odd)


# By name


def test_by_name_in_course_data_cache_and_book(home, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    for place in ("data/models", "every-token-counts", "own"):
        (tmp_path / place).mkdir(parents=True)
    for place in ("data/models", "every-token-counts", "own"):
        target = tmp_path / place / "mine"
        target.symlink_to(home)
        assert find_model("mine").samefile(target)
        assert find_model("mine").parent.samefile(target.parent)
    assert load_pretrained("mine", tokenizer=ANY)[0].config == config()


def test_the_course_model_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if not (ROOT / "data" / "models" / "course").is_dir():
        with pytest.raises(DataNotFound, match=r"no model 'course'.*models"):
            find_model("course")


def test_registry():
    assert [*MODELS] == ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"]
    for name, source in MODELS.items():
        assert len(source.sha256) == 64 and int(source.sha256, 16)
        assert f"/{name}/resolve/" in source.url
        assert source.url.startswith("https://")
        assert "/resolve/main/" not in source.url


# Fetched, from a server of our own

CONTENT = os.urandom(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if self.path == "/nowhere":
            return self.send_error(404)
        if start > len(CONTENT):
            return self.send_error(416)
        if self.path == "/heedless":
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        rest = CONTENT[start:]
        if self.path == "/breaks" and start == 0:
            rest = rest[: 2 << 20]
        self.wfile.write(bytes(len(rest)) if self.path == "/wrong" else rest)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "TIMEOUT", (2.0, 2.0))
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def source(server: ThreadingHTTPServer, path: str) -> Source:
    url = f"http://127.0.0.1:{server.server_port}{path}"
    return Source("some.safetensors", DIGEST, "MIT", "a model", url)


def part_of(tmp_path: Path) -> Path:
    folder = tmp_path / "every-token-counts"
    folder.mkdir(exist_ok=True)
    return folder / "some.safetensors.part"


def test_fetched_whole(server, tmp_path):
    target = fetch(source(server, "/good"))
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=0-"] and not part_of(tmp_path).exists()


def test_resumed_after_a_break(server, tmp_path):
    with pytest.raises(OSError):
        fetch(source(server, "/breaks"))
    part = part_of(tmp_path)
    assert part.read_bytes() == CONTENT[: 2 << 20]
    assert not part.with_suffix("").exists()
    assert fetch(source(server, "/breaks")).read_bytes() == CONTENT
    assert server.asked == ["bytes=0-", f"bytes={2 << 20}-"]


def test_a_whole_part_needs_no_network(server, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT)
    assert fetch(source(server, "/nowhere")).read_bytes() == CONTENT
    assert server.asked == []


def test_a_server_that_heeds_no_range(server, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT[:1000])
    assert fetch(source(server, "/heedless")).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", "bytes=0-"]


def test_a_damaged_part_is_fetched_again(server, tmp_path):
    part_of(tmp_path).write_bytes(b"x" * 1000)
    assert fetch(source(server, "/good")).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", "bytes=0-"]


def test_a_part_that_is_too_long(server, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT + b"x")
    assert fetch(source(server, "/good")).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 1}-", "bytes=0-"]


def test_wrong_bytes_are_thrown_away(server, tmp_path):
    with pytest.raises(DataAltered, match=rf"SHA-256 is .*expected {DIGEST}"):
        fetch(source(server, "/wrong"))
    assert not [*part_of(tmp_path).parent.iterdir()]


def test_no_file_and_no_network(server, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "gpt2", source(server, "/nowhere"))
    with pytest.raises(DataNotFound, match=r"cannot find some.*404.*COURSE_D"):
        load_pretrained("gpt2")
    away = replace(source(server, "/good"), url="http://127.0.0.1:9/gone")
    monkeypatch.setitem(MODELS, "gpt2", away)
    with pytest.raises(DataNotFound, match=r"127\.0\.0\.1.*set COURSE_DATA"):
        load_pretrained("gpt2")


def test_a_name_is_fetched_once_and_checked_again(
    server, tmp_path, monkeypatch
):
    model = random_model(config((50257, 4, 64, 1, 1)))
    file = tmp_path / "file"
    save_file(their_tensors(model), file)
    content = file.read_bytes()
    monkeypatch.setattr(sys.modules[__name__], "CONTENT", content)
    known = replace(
        source(server, "/good"), sha256=hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setitem(MODELS, "gpt2", known)
    for _ in range(2):
        loaded, tokenizer = load_pretrained("gpt2")
        assert loaded.config == model.config
        assert tokenizer is load_tokenizer("gpt2")
    assert server.asked == ["bytes=0-"]
    kept = part_of(tmp_path).with_suffix("")
    kept.write_bytes(content[:-1] + b"x")
    with pytest.raises(DataAltered, match=r"some\.safetensors is altered"):
        load_pretrained("gpt2")


def test_a_folder_is_as_its_digests_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    folder = tmp_path / "mine"
    folder.mkdir()
    assert find_model("mine") == folder  # without digests nothing is checked
    (folder / "a file.txt").write_text("hello")
    right = hashlib.sha256(b"hello").hexdigest()
    sums = folder / "SHA256SUMS"
    sums.write_text(f"{right}  a file.txt\n")
    assert find_model("mine") == folder
    for lines, told in [
        (f"{right}  gone.txt\n", "gone.txt"),
        (f"{right}\n", "two spaces"),
        (f"{'0' * 64}  a file.txt\n", right),
        (f"{right}  a file.txt\n{'0' * 64}  a file.txt\n", "altered"),
    ]:
        sums.write_text(lines)
        with pytest.raises(DataAltered, match=told):
            find_model("mine")
