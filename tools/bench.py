"""Compare the speed of `lib` with Hugging Face's, side by side in one run.

    python tools/bench.py [--sizes 6M 30M 124M] [--rounds 5]

Each pair is timed in alternating rounds (ours, theirs, ours, ...), so that
a machine whose speed drifts treats both alike; the table shows the median
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
from torch import nn
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


def training_pair(config: GPTConfig, batch_size: int) -> tuple[Run, Run]:
    """One step with the same optimiser: each with its own model and loss."""
    settings = TrainConfig(steps=1)
    shape = (batch_size, config.context_length + 1)
    ids = torch.randint(config.vocab_size, shape)
    batch = [(ids[:, :-1], ids[:, 1:])]
    ours, theirs = GPT(config), hugging_face(config).train()
    our_optimizer = make_optimizer(ours, settings)
    their_optimizer = make_optimizer(theirs, settings)

    def our_step() -> None:
        train_step(ours, our_optimizer, batch, settings.clip_norm)

    def their_step() -> None:
        inputs = ids[:, :-1]
        found = theirs(input_ids=inputs, labels=inputs, use_cache=False)
        found.loss.backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), settings.clip_norm)
        their_optimizer.step()
        their_optimizer.zero_grad()

    return our_step, their_step


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


def compare(what: str, ours: Run, theirs: Run, rounds: int) -> None:
    """Time both in turn after one warm-up each, and print a row."""
    seconds(ours), seconds(theirs)
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    mine, other = (statistics.median(times) for times in zip(*pairs))
    ratio = statistics.median(b / a for a, b in pairs)
    low, high = (f(b / a for a, b in pairs) for f in (min, max))
    print(
        f"| {what:<22} | {mine:8.3f} s | {other:8.3f} s "
        f"| {ratio:5.2f} ({low:.2f} to {high:.2f}) |",
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
        "| what                   | lib        | theirs     | theirs / lib |"
    )
    print(
        "|------------------------|------------|------------|--------------|"
    )
    for size in options.sizes:
        config, batch_size, new = SIZES[size]
        with torch.device("meta"):
            exact = count_parameters(GPT(config)) / 1e6
        name = f"{size} ({exact:.1f}M)"
        pair = training_pair(config, batch_size)
        compare(f"training {name}", *pair, options.rounds)
        pair = generation_pair(config, new)
        compare(f"generation {name}", *pair, options.rounds)
    try:
        text = load_text("tiny-shakespeare")
    except OSError as error:
        print(f"\nBPE training not timed: {error}")
        return
    compare("BPE training, 1 MB", *bpe_pair(text), options.rounds)


if __name__ == "__main__":
    main()
