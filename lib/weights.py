"""Weights in and out, in the files of Hugging Face's GPT-2.

Woven from chapters/appendix_k_weights.ipynb. Edit the chapter, then run `make
lib`.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import tiktoken
import torch
from safetensors.torch import save_file
from torch import Tensor

from lib.data import atomic_path
from lib.gpt import GPT, GPTConfig
from lib.hub import (
    REQUIRED,
    Entry,
    find_model,
    list_weights,
    opened,
    read_settings,
)
from lib.tokenizer import END_OF_TEXT, BPETokenizer
from lib.vocab import as_bpe, read_tokenizer, tokenizer_files

THEIR_NAMES = {
    "token_embedding": "transformer.wte",
    "position_embedding": "transformer.wpe",
    "blocks": "transformer.h",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
    "final_norm": "transformer.ln_f",
    "head": "lm_head",
}


def their_name(name: str) -> str:
    """Translate: blocks.3.attention_norm.bias -> transformer.h.3.ln_1.bias."""
    for ours, theirs in THEIR_NAMES.items():
        name = name.replace(f"{ours}.", f"{theirs}.")
    return name


def turn(name: str, tensor: Tensor) -> Tensor:
    """Transpose a block's matrices: (out, in) here, (in, out) there."""
    is_turned = name.startswith("transformer.h.") and tensor.dim() == 2
    return tensor.t() if is_turned else tensor


def empty_model(config: GPTConfig) -> GPT:
    """Make a model whose weights have shapes and no memory."""
    with torch.device("meta"):
        return GPT(config)


def their_tensors(model: GPT) -> dict[str, Tensor]:
    """Return a model's weights as their files hold them.

    A model without biases for queries, keys and values gets zeros there.
    """
    tensors, plain = {}, dict(empty_model(model.config).named_parameters())
    for name, weight in model.named_parameters():
        if name not in plain:
            raise ValueError(
                f"the model has {name}, which a GPT with tie_weights="
                f"{model.config.tie_weights} has not"
            )
        theirs = their_name(name)
        tensors[theirs] = turn(theirs, weight.detach()).contiguous()
        if name.endswith("qkv.weight") and not model.config.qkv_bias:
            bias = theirs.replace("weight", "bias")
            tensors[bias] = weight.detach().new_zeros(len(weight))
    return tensors


SIZES = {
    "vocab_size": "vocab_size",
    "context_length": "n_positions",
    "d_model": "n_embd",
    "n_layers": "n_layer",
    "n_heads": "n_head",
}


def their_config(model: GPT, stop_id: int | None) -> dict[str, object]:
    """Describe a model as their config.json does."""
    config = model.config
    places = ("embd_pdrop", "attn_pdrop", "resid_pdrop")
    return {
        "architectures": ["GPT2LMHeadModel"],
        **{theirs: getattr(config, ours) for ours, theirs in SIZES.items()},
        **{name: values[0] for name, values in REQUIRED.items()},
        **dict.fromkeys(places, config.dropout),
        "tie_word_embeddings": config.tie_weights,
        "bos_token_id": stop_id,
        "eos_token_id": stop_id,
        "dtype": str(model.head.weight.dtype).removeprefix("torch."),
    }


def check_vocabulary(n_tokens: int, vocab_size: int) -> None:
    """Raise ValueError if a tokenizer has ids that the model has not."""
    if n_tokens > vocab_size:
        raise ValueError(
            f"the tokenizer has {n_tokens} entries, but the model only "
            f"{vocab_size}: give its own as tokenizer=..."
        )


def save_pretrained(
    model: GPT,
    directory: str | Path,
    tokenizer: BPETokenizer | tiktoken.Encoding | None = None,
) -> None:
    """Write a model as Hugging Face's GPT-2, which can read it.

    config.json, model.safetensors and, for a tokenizer, vocab.json and
    merges.txt. Files of these names are replaced once all are whole.
    """
    stop_id, texts = None, {}
    if tokenizer is not None:
        bpe = as_bpe(tokenizer)
        check_vocabulary(bpe.vocab_size, model.config.vocab_size)
        stop_id = bpe.special_tokens.get(END_OF_TEXT)
        texts = tokenizer_files(bpe)
    texts["config.json"] = json.dumps(their_config(model, stop_id), indent=2)
    tensors = their_tensors(model)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, content in texts.items():
            file = stack.enter_context(atomic_path(folder / name))
            file.write_text(content, encoding="utf-8")
        file = stack.enter_context(atomic_path(folder / "model.safetensors"))
        save_file(tensors, file, {"format": "pt"})


HEAD_SIZE = 64  # in all of GPT-2's sizes
TOKENS = their_name("token_embedding.weight")
POSITIONS = their_name("position_embedding.weight")


def infer_sizes(entries: dict[str, Entry], path: Path) -> dict[str, int]:
    """Read the sizes off the shapes; for the heads, follow GPT-2's rule."""
    for name in TOKENS, POSITIONS:
        if name not in entries or len(entries[name].shape) != 2:
            raise ValueError(f"{path} lacks the matrix {name}")
    vocab_size, width = entries[TOKENS].shape
    context_length = entries[POSITIONS].shape[0]
    blocks = {name.split(".")[2] for name in entries if ".h." in name}
    sizes = [vocab_size, context_length, width, len(blocks)]
    if width % HEAD_SIZE == 0:
        sizes.append(width // HEAD_SIZE)
    return dict(zip(SIZES.values(), sizes))


def read_weight(
    name: str, entry: Entry, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Read a tensor as our layers hold it; ValueError for NaN or inf."""
    with opened(entry.file) as file:
        weight = file.get_tensor(entry.key)
        if not torch.stack(weight.aminmax()).isfinite().all():
            n_bad = int((~weight.isfinite()).sum())
            raise ValueError(
                f"{entry.key} in {entry.file} holds {n_bad} numbers that "
                "are NaN or infinite, expected none"
            )
        weight = turn(name, weight)
        return torch.empty(weight.shape, dtype=dtype).copy_(weight)


def is_tied(entries: dict[str, Entry], settings: dict[str, Any]) -> bool:
    """Tell whether head and embedding are one; drop a copy from entries."""
    stated = settings.get("tie_word_embeddings", True if settings else None)
    head = entries.get("lm_head.weight")
    if stated is False or head is None:
        return stated is not False
    embedding = read_weight(TOKENS, entries[TOKENS])
    if torch.equal(read_weight("lm_head.weight", head), embedding):
        del entries["lm_head.weight"]
        return True
    if stated:
        raise ValueError(
            f"{head.key} in {head.file} differs from {TOKENS}, but "
            "config.json says tie_word_embeddings=True: expected equal numbers"
        )
    return False


def choose_config(
    path: Path, entries: dict[str, Entry], n_heads: int | None, dropout: float
) -> GPTConfig:
    """Take a model's shape from config.json, else from its tensors."""
    settings = read_settings(path)
    sizes = infer_sizes(entries, path) | settings
    if n_heads is not None:
        sizes["n_head"] = n_heads
    if "n_head" not in sizes:
        raise ValueError(
            f"{path} does not say how many heads share a width of "
            f"{sizes['n_embd']}, no multiple of {HEAD_SIZE}: give n_heads"
        )
    shape = {ours: sizes[theirs] for ours, theirs in SIZES.items()}
    tied = is_tied(entries, settings)
    return GPTConfig(**shape, dropout=dropout, tie_weights=tied)


FLOATS = {"F64", "F32", "F16", "BF16"}


def check_entries(entries: dict[str, Entry], model: GPT, path: Path) -> None:
    """Raise ValueError where files hold not exactly a model's tensors."""
    rest = dict(entries)
    for ours, weight in model.named_parameters():
        name = their_name(ours)
        shape = tuple(turn(name, weight).shape)
        found = rest.pop(name, None)
        if found is None:
            raise ValueError(f"{path} lacks {name}, of shape {shape}")
        if found.shape != shape or found.dtype not in FLOATS:
            raise ValueError(
                f"{found.key} in {found.file} has shape {found.shape} and "
                f"type {found.dtype}, expected {shape} and a float"
            )
    for found in rest.values():
        raise ValueError(
            f"{found.file} holds {found.key}, for which a GPT-2 of this "
            "config has no place"
        )


def load_pretrained(
    name_or_path: str | Path,
    *,
    n_heads: int | None = None,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
    tokenizer: tiktoken.Encoding | None = None,
) -> tuple[GPT, tiktoken.Encoding]:
    """Load a GPT-2 and its tokenizer; the model is ready to be asked.

    A name ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "course"), a
    Hugging Face folder, or a bare .safetensors file: for that, n_heads and
    tokenizer say what it cannot. ValueError names what does not fit.
    """
    path = find_model(name_or_path)
    if path.name == "model.safetensors":
        path = path.parent
    entries = list_weights(path)
    config = choose_config(path, entries, n_heads, dropout)
    model = empty_model(config)
    check_entries(entries, model, path)
    tokenizer = tokenizer or read_tokenizer(path)
    check_vocabulary(tokenizer.n_vocab, config.vocab_size)
    names = {name: their_name(name) for name, _ in model.named_parameters()}
    weights = {
        ours: read_weight(theirs, entries[theirs], dtype)
        for ours, theirs in names.items()
    }
    model.load_state_dict(weights, strict=False, assign=True)
    if config.tie_weights:
        model.head.weight = model.token_embedding.weight
    return model.eval(), tokenizer
