"""Runs from the shell: a file of settings in, a trained model out.

Woven from chapters/appendix_d_training.ipynb. Edit the chapter, then run `make
lib`.
"""

import argparse
import contextlib
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

from lib.corpus import PARTS, check_same_data, make_tokenizer, prepare
from lib.data import atomic_path
from lib.devices import make_learner, pick_device, place, processes
from lib.gpt import GPT, GPTConfig
from lib.settings import Config, read_config
from lib.shards import Part, Shards, read_manifest
from lib.train import Batch, Record, load_checkpoint, read_checkpoint, train
from lib.weights import load_pretrained, save_pretrained


@contextlib.contextmanager
def polite_stop() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a wish that the run can ask for.

    A second Ctrl-C ends the process at once.
    """
    asked = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in signals]
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in zip(signals, before):
            signal.signal(number, handler)


def write_log(path: Path, history: Sequence[Record]) -> None:
    """Write a run's records, a line of JSON each, as a whole or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as unfinished:
        lines = (json.dumps(record) + "\n" for record in history)
        unfinished.write_text("".join(lines), encoding="utf-8")


def read_log(path: str | Path) -> list[Record]:
    """Return the records of a run, finished or not, ready to plot."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [record for record in records if "nats" not in record]


def describe_record(record: Record, steps: int) -> str:
    """Tell in a line how far a run has come."""
    head = f"step {record['step']:>6.0f} of {steps}"
    if "nats" in record:
        return f"{head}: stopped; the same command goes on from here"
    return (
        f"{head}  training {record['train_loss']:.3f}  held out "
        f"{record['val_loss']:.3f}  rate {record['learning_rate']:.1e}  "
        f"{record['tokens'] / 1e6:.2f}M tokens"
    )


def follow(
    log: Path, checkpoint: Path, steps: int
) -> Callable[[Record], None]:
    """Return what logs and prints a record; the log takes up a checkpoint."""
    history: list[Record] = []
    if checkpoint.exists():
        history = read_checkpoint(checkpoint)[0]["history"]
    write_log(log, history)

    def report(record: Record) -> None:
        if history and "nats" in history[-1]:
            history.pop()
        history.append(record)
        write_log(log, history)
        print(describe_record(record, steps), flush=True)

    return report


def make_loaders(
    config: Config, base: Path
) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    """Batches of this process: of the training and of the held-out texts."""
    (rank, world), B = place(), config.data.batch_size
    if B < 1 or B % world:
        raise ValueError(
            f"data.batch_size is {B}, but must be a multiple of {world}, the "
            "number of processes"
        )
    folder = base / config.data.folder
    texts, held_out = (
        Shards(folder / part, config.model.context_length) for part in PARTS
    )
    if len(texts) < B:
        raise ValueError(
            f"data.batch_size is {B}, but {texts.folder} has only "
            f"{len(texts)} windows"
        )
    order: DistributedSampler[Batch] = DistributedSampler(
        texts, world, rank, seed=config.train.seed, drop_last=True
    )
    return (
        DataLoader(texts, B // world, sampler=order, drop_last=True),
        DataLoader(Part(held_out, rank, world), B // world),
    )


def make_model(config: Config, base: Path) -> GPT:
    """Draw the weights of a run from its seed, or take up run.start's.

    Raises ValueError where the model there is of another shape.
    """
    manifest = read_manifest(base / config.data.folder / PARTS[0])
    torch.manual_seed(config.train.seed)
    shape = dataclasses.asdict(config.model)
    model = GPT(GPTConfig(vocab_size=manifest["vocab_size"], **shape))
    if config.run.start:
        begun, _ = load_pretrained(
            base / config.run.start, dropout=config.model.dropout
        )
        if begun.config != model.config:
            raise ValueError(
                f"run.start holds {begun.config}, but the settings ask for "
                f"{model.config}"
            )
        model.load_state_dict(begun.state_dict())
    return model


def hand_over(config: Config, base: Path, checkpoint: Path) -> None:
    """Leave a finished model, with its tokenizer, as Hugging Face's files."""
    model = make_model(config, base)
    load_checkpoint(checkpoint, model)
    tokenizer = make_tokenizer(config.data, base)
    save_pretrained(model, checkpoint.with_name("model"), tokenizer)


def launch(path: str | Path) -> list[Record]:
    """Run, or go on with, what a file of settings describes.

    Leaves checkpoint.safetensors, log.jsonl, a line an evaluation, and at
    the end model, for load_pretrained, in the run's folder. Returns the
    history; where Ctrl-C or SIGTERM ended the run early, its last step is
    not the last of the settings.
    """
    config, base = read_config(path), Path(path).parent
    device = pick_device(config.run.device)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    folder = base / config.run.folder
    checkpoint, report = folder / "checkpoint.safetensors", None
    with processes(device), polite_stop() as stop:
        if place()[0] == 0:
            prepare(config.data, base)
            new, note = not checkpoint.exists(), folder / "data.json"
            check_same_data(note, config.data, base, new)
            log = folder / "log.jsonl"
            report = follow(log, checkpoint, config.train.steps)
        if dist.is_initialized():
            dist.barrier()
        model = make_model(config, base).to(device)
        history = train(
            model,
            *make_loaders(config, base),
            config.train,
            checkpoint=checkpoint,
            report=report,
            stop=stop,
            learner=make_learner(model, config.run, device),
        )
        if place()[0] == 0 and history[-1]["step"] == config.train.steps:
            hand_over(config, base, checkpoint)
        return history


def main(arguments: list[str] | None = None) -> int:
    """Train from the shell: python -m lib.train --config run.toml."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.train", description="Train a GPT."
    )
    parser.add_argument("--config", required=True, metavar="run.toml")
    path = parser.parse_args(arguments).config
    try:
        step = launch(path)[-1]["step"]
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if step == read_config(path).train.steps else 130
