"""A checkup: a model, its batch and its training step, before a long run.

Woven from chapters/appendix_i_troubleshooting.ipynb. Edit the chapter, then
run `make lib`.
"""

import argparse
import copy
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.corpus import make_tokenizer, prepare
from lib.data import load_text
from lib.launch import make_loaders, make_model
from lib.probes import (
    Finding,
    check_causality,
    check_first_loss,
    check_gradients,
    check_growth,
    check_modes,
    check_optimizer,
    check_places,
    check_rows,
    check_shift,
    check_ties,
    check_tokenizer,
    mean_loss,
)
from lib.sample import generate
from lib.settings import read_config
from lib.train import Batch, evaluate, make_optimizer, train_step
from lib.trials import (
    TrainStep,
    book_step,
    check_evaluate,
    check_generation,
    check_learning,
    check_step,
)
from lib.weights import load_pretrained

Test = Callable[[], Any]  # returns a finding, or a list of them


def attempt(name: str, test: Test) -> list[Finding]:
    """Run a test; an error that it raises is a finding as well."""
    try:
        found = test()
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        return [Finding(name, False, said)]
    return found if isinstance(found, list) else [found]


def tests_of_model(
    model: nn.Module, batch: Batch, fresh: bool
) -> dict[str, Test]:
    """The tests that need a model and a batch, by name."""
    ids = batch[0]
    first = check_first_loss if fresh else check_better_than_guessing
    return {
        "first loss": partial(first, model, batch),
        "causality": partial(check_causality, model, ids),
        "length": partial(check_growth, model, ids),
        "rows": partial(check_rows, model, ids),
        "places": partial(check_places, model, ids),
        "ties": partial(check_ties, model),
        "modes": partial(check_modes, model, ids),
        "gradients": partial(check_gradients, model, batch),
    }


def tests_of_step(
    model: nn.Module, optimizer: Optimizer, batch: Batch, step: TrainStep
) -> dict[str, Test]:
    """The tests that need an optimizer and a training step, by name."""
    tiny = batch[0][:4, :32], batch[1][:4, :32]
    return {
        "optimizer": partial(check_optimizer, model, optimizer),
        "step": partial(check_step, model, optimizer, batch, step),
        "by heart": partial(check_learning, model, optimizer, tiny, step),
    }


def corner(batch: Batch, device: torch.device) -> Batch:
    """Return 8 rows and 64 places of a batch, on a device.

    Raises ValueError where there are not even 2 and 2.
    """
    if min(batch[0].shape) < 2:
        raise ValueError(
            f"the batch is {tuple(batch[0].shape)}, but needs 2 rows and "
            "2 places or more"
        )
    ids, targets = (part[:8, :64].to(device) for part in batch)
    return ids, targets


@torch.no_grad()
def check_better_than_guessing(model: nn.Module, batch: Batch) -> Finding:
    """A trained model's loss is below that of an even guess, ln V."""
    net = copy.deepcopy(model).eval()
    V, loss = net(batch[0]).size(-1), float(mean_loss(net, batch))
    said = f"{loss:.2f}, and an even guess has ln V = {math.log(V):.2f}"
    return Finding("loss", loss < math.log(V), said)


def checkup(
    model: nn.Module,
    batch: Batch,
    *,
    optimizer: Optimizer | None = None,
    step: TrainStep = book_step,
    evaluate: Callable[..., float] | None = None,
    generate: Callable[..., Tensor] | None = None,
    tokenizer: Any = None,
    pad_id: int | None = None,
    fresh: bool = True,
    skip: Sequence[str] = (),
) -> list[Finding]:
    """Test what must hold before a run; what is not given is not tested.

    model: ids (B, T) -> logits (B, T, V). batch: ids and targets (B, T) with
    B, T >= 2, of which 8 rows and 64 places are used. fresh: the weights are
    untrained. skip: names of tests. Changes nothing that is given.
    """
    small = corner(batch, next(model.parameters()).device)
    ids = small[0]
    tests: dict[str, Test] = {"targets": partial(check_shift, batch, pad_id)}
    if tokenizer is not None:
        tests["tokenizer"] = partial(check_tokenizer, ids, tokenizer)
    tests |= tests_of_model(model, small, fresh)
    if optimizer is not None:
        tests |= tests_of_step(model, optimizer, small, step)
    if evaluate is not None:
        tests["evaluation"] = partial(check_evaluate, model, small, evaluate)
    if generate is not None:
        tests["generation"] = partial(check_generation, model, ids, generate)
    found = (attempt(n, t) for n, t in tests.items() if n not in skip)
    return [finding for findings in found for finding in findings]


def describe_findings(findings: Iterable[Finding]) -> str:
    """Write findings as lines: a sign, the test, the sentence."""
    return "\n".join(
        f"{'✓' if ok else '✗'} {test:11} {message}"
        for test, ok, message in findings
    )


def check_config(path: str | Path) -> list[Finding]:
    """Check up the run that a file of settings describes, before its start.

    Writes the run's tokens if they are missing, and nothing else.
    """
    config, base = read_config(path), Path(path).parent
    prepare(config.data, base)
    model = make_model(config, base)
    norm = config.train.clip_norm
    return checkup(
        model,
        next(iter(make_loaders(config, base)[0])),
        optimizer=make_optimizer(model, config.train),
        step=lambda m, o, batch: train_step(m, o, [batch], norm),
        evaluate=evaluate,
        generate=generate,
        tokenizer=make_tokenizer(config.data, base).to_tiktoken(),
        fresh=not config.run.start,
    )


def check_folder(path: str | Path) -> list[Finding]:
    """Check up a finished model, on a story that comes with the book."""
    model, tokenizer = load_pretrained(path)
    T = min(64, model.config.context_length)
    ids = tokenizer.encode_ordinary(load_text("a-letter-a-year"))
    rows = torch.tensor(ids[: 4 * (T + 1)]).view(4, T + 1)
    return checkup(
        model,
        (rows[:, :-1], rows[:, 1:]),
        evaluate=evaluate,
        generate=generate,
        tokenizer=tokenizer,
        fresh=False,
    )


def main(arguments: list[str] | None = None) -> int:
    """Check up from the shell: python -m lib.checkup --config run.toml."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.checkup", description="Test before a long run."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="run.toml")
    what.add_argument("--model", metavar="folder")
    given = parser.parse_args(arguments)
    try:
        findings = (
            check_config(given.config)
            if given.config
            else check_folder(given.model)
        )
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(describe_findings(findings))
    return 0 if all(finding.ok for finding in findings) else 1


if __name__ == "__main__" and "__file__" in globals():  # not in a notebook
    sys.exit(main())
