"""Compare the speed of `lib` with others', side by side in one run.

    python tools/bench.py [--sizes 6M 30M 124M] [--rounds 5]

The others are Hugging Face's GPT-2, for training also a plain GPT in the
style of nanoGPT (PyTorch's layers and nothing else), and the Rust trainer of
BPE. They are timed in alternating rounds (ours, theirs, ours, ...), so that
a machine whose speed drifts treats all alike; the table shows the median
time of each and the median of the rounds' ratios, theirs over ours.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from lib.data import load_text
from lib.gpt import GPT, GPTConfig, count_parameters
from lib.sample import generate
from lib.tokenizer import BPETokenizer
from lib.train import TrainConfig, make_optimizer, train_step

SIZES = {  # name: configuration, batch size and new tokens to generate
    "6M": (GPTConfig.preset("course"), 8, 200),
    "30M": (
        GPTConfig(16384, 512, d_model=512, n_layers=7, n_heads=8),
        2,
        100,
    ),
    "124M": (GPTConfig.preset("gpt2-small"), 1, 40),
}
BPE_ENTRIES = 4096
Run = Callable[[], object]


def hugging_face(config: GPTConfig) -> GPT2LMHeadModel:
    """Build Hugging Face's GPT-2 of the same shape, without dropout."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.d_model,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


class PlainBlock(nn.Module):
    """A block of PyTorch's layers, as most people write it."""

    def __init__(self, D: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(2))
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.wide, self.narrow = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        B, T, D = x.shape
        q, k, v = (
            part.view(B, T, self.n_heads, -1).transpose(1, 2)
            for part in self.qkv(self.norms[0](x)).split(D, dim=2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).contiguous().view(B, T, D))
        wide = F.gelu(self.wide(self.norms[1](x)), approximate="tanh")
        return x + self.narrow(wide)


class PlainGPT(nn.Module):
    """GPT-2 of PyTorch's layers alone, tied, with the loss inside."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        V, D = config.vocab_size, config.d_model
        self.tokens = nn.Embedding(V, D)
        self.positions = nn.Embedding(config.context_length, D)
        self.blocks = nn.ModuleList(
            PlainBlock(D, config.n_heads) for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, V, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Map ids and targets, (B, T) each, to the mean loss."""
        places = torch.arange(ids.size(1), device=ids.device)
        x = self.tokens(ids) + self.positions(places)
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def training_runs(config: GPTConfig, batch_size: int) -> tuple[Run, Run, Run]:
    """One step with the same optimiser: each with its own model and loss.

    Ours, Hugging Face's, and the plain model's.
    """
    settings = TrainConfig(steps=1)
    shape = (batch_size, config.context_length + 1)
    ids = torch.randint(config.vocab_size, shape)
    batch = [(ids[:, :-1], ids[:, 1:])]
    ours, theirs = GPT(config), hugging_face(config).train()
    plain = PlainGPT(config)
    our_optimizer = make_optimizer(ours, settings)
    their_optimizer = make_optimizer(theirs, settings)
    plain_optimizer = make_optimizer(plain, settings)

    def our_step() -> None:
        train_step(ours, our_optimizer, batch, settings.clip_norm)

    def their_step() -> None:
        inputs = ids[:, :-1]
        found = theirs(input_ids=inputs, labels=inputs, use_cache=False)
        found.loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), settings.clip_norm)
        their_optimizer.step()
        their_optimizer.zero_grad()

    def plain_step() -> None:
        plain(ids[:, :-1], ids[:, 1:]).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), settings.clip_norm)
        plain_optimizer.step()
        plain_optimizer.zero_grad()

    return our_step, their_step, plain_step


def generation_pair(config: GPTConfig, new: int) -> tuple[Run, Run]:
    """Greedy continuation of eight ids by `new` more, with a cache."""
    ours, theirs = GPT(config).eval(), hugging_face(config).eval()
    prompt = torch.randint(config.vocab_size, (1, 8))
    return (
        lambda: generate(ours, prompt, new),
        lambda: theirs.generate(
            prompt, max_new_tokens=new, do_sample=False, pad_token_id=0
        ),
    )


def bpe_pair(text: str) -> tuple[Run, Run]:
    """Learn the same number of merges from the same text."""

    def theirs() -> None:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=False
        )
        tokenizer.train_from_iterator(
            [text],
            trainers.BpeTrainer(
                vocab_size=BPE_ENTRIES,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )

    return lambda: BPETokenizer.train(text, BPE_ENTRIES), theirs


def seconds(run: Run) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(what: str, ours: Run, others: dict[str, Run], rounds: int) -> None:
    """Time all in turn after one warm-up each, and print a row an other."""
    runs = [ours, *others.values()]
    for run in runs:
        run()
    times = [[seconds(run) for run in runs] for _ in range(rounds)]
    columns = list(zip(*times))
    mine = statistics.median(columns[0])
    for name, column in zip(others, columns[1:]):
        ratios = [b / a for a, b in zip(columns[0], column)]
        print(
            f"| {what:<22} | {name:<13} | {mine:8.3f} s "
            f"| {statistics.median(column):8.3f} s "
            f"| {statistics.median(ratios):5.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) |",
            flush=True,
        )


def main() -> None:
    """Read the options, then time training, generation and BPE."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", choices=SIZES, default=["6M"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, "
        f"{torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, "
        f"{torch.backends.cpu.get_cpu_capability()}\n"
    )
    print(
        "| what                   | other         | lib        | other      "
        "| other / lib         |"
    )
    print(f"|{'-' * 24}|{'-' * 15}|{'-' * 12}|{'-' * 12}|{'-' * 21}|")
    for size in options.sizes:
        config, batch_size, new = SIZES[size]
        with torch.device("meta"):
            exact = count_parameters(GPT(config)) / 1e6
        name = f"{size} ({exact:.1f}M)"
        ours, theirs, plain = training_runs(config, batch_size)
        others = {"Hugging Face": theirs, "plain PyTorch": plain}
        compare(f"training {name}", ours, others, options.rounds)
        ours, theirs = generation_pair(config, new)
        others = {"Hugging Face": theirs}
        compare(f"generation {name}", ours, others, options.rounds)
    try:
        text = load_text("tiny-shakespeare")
    except OSError as error:
        print(f"\nBPE training not timed: {error}")
        return
    ours, theirs = bpe_pair(text)
    compare("BPE training, 1 MB", ours, {"tokenizers": theirs}, options.rounds)


if __name__ == "__main__":
    main()
