"""Instructions: how they are asked, learned, answered and judged.

Woven from chapters/07_instructions.ipynb. Edit the chapter, then run `make
lib`.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tiktoken
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from lib.gpt import GPT
from lib.judge import RUBRIC, NoJudge, Verdict, grade, grading_prompt
from lib.sample import generate
from lib.scoring import normal
from lib.train import IGNORE, Batch

Record = Mapping[str, Any]  # instruction, input, output, and more


@dataclass(frozen=True)
class Template:
    """The texts around an instruction, its input and the response."""

    instruction: str  # holds {instruction}
    input: str  # holds {input}; left out where there is none
    end: str  # ends the prompt
    lead: str = ""  # begins the response


TEMPLATES = {
    "alpaca": Template(
        "Below is an instruction that describes a task. Write a response "
        "that appropriately completes the request.\n\n"
        "### Instruction:\n{instruction}",
        "\n\n### Input:\n{input}",
        "\n\n### Response:\n",
    ),
    "chat": Template(
        "<|user|> {instruction}", " {input}", " <|assistant|>", " "
    ),
}


def find_template(name: str) -> Template:
    """Return a template of `TEMPLATES`; ValueError names those there are."""
    if name not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise ValueError(f"unknown template {name!r}; known: {known}")
    return TEMPLATES[name]


def format_prompt(record: Record, template: str = "alpaca") -> str:
    """Write a record as the prompt that its response is to follow."""
    parts = find_template(template)
    prompt = parts.instruction.format(instruction=record["instruction"])
    if record.get("input"):
        prompt += parts.input.format(input=record["input"])
    return prompt + parts.end


Item = tuple[list[int], int]  # prompt and response; how many are the prompt's


class InstructionDataset(Dataset[Item]):
    """Records as ids: (prompt + response, length of the prompt).

    Prompt and response are encoded apart, as they will be when the model
    is asked: no token spans the seam.
    """

    def __init__(
        self,
        records: Sequence[Record],
        tokenizer: tiktoken.Encoding,
        template: str = "alpaca",
    ) -> None:
        lead = find_template(template).lead
        self.items = []
        for record in records:
            prompt = tokenizer.encode_ordinary(format_prompt(record, template))
            response = tokenizer.encode_ordinary(lead + record["output"])
            self.items.append((prompt + response, len(prompt)))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


def collate(
    batch: Sequence[Item],
    end_id: int,
    *,
    ignore_index: int = IGNORE,
    max_length: int | None = None,
    mask_prompt: bool = True,
) -> Batch:
    """Pad items to a batch: ids (B, T) and targets (B, T).

    Targets are the tokens of the response and one end_id after it; the
    prompt, unless mask_prompt is False, and the padding ask for nothing.
    Longer rows lose what lies beyond max_length. Raises ValueError if no
    target is left.
    """
    inputs, targets = [], []
    for ids, n_prompt in batch:
        row = torch.tensor([*ids, end_id])
        wanted = row[1:].clone()
        if mask_prompt:
            wanted[: max(0, n_prompt - 1)] = ignore_index
        inputs.append(row[:-1][:max_length])
        targets.append(wanted[:max_length])
    check_targets(targets, ignore_index, max_length)
    return (
        pad_sequence(inputs, batch_first=True, padding_value=end_id),
        pad_sequence(targets, batch_first=True, padding_value=ignore_index),
    )


def check_targets(
    targets: Sequence[Tensor], ignore_index: int, max_length: int | None
) -> None:
    """Raise ValueError where a batch asks for nothing at all."""
    if not any((row != ignore_index).any() for row in targets):
        raise ValueError(
            f"no target in a batch of {len(targets)}: with max_length="
            f"{max_length} not one token of a response is left to learn"
        )


def make_batches(
    records: Sequence[Record],
    tokenizer: tiktoken.Encoding,
    batch_size: int,
    *,
    template: str = "alpaca",
    shuffle: bool = False,
    max_length: int | None = None,
    mask_prompt: bool = True,
) -> DataLoader[Batch]:
    """Batch records as `collate` does: pairs (ids, targets), each (B, T)."""
    return DataLoader(
        InstructionDataset(records, tokenizer, template),  # type: ignore
        batch_size,
        shuffle=shuffle,
        collate_fn=partial(
            collate,
            end_id=tokenizer.eot_token,
            max_length=max_length,
            mask_prompt=mask_prompt,
        ),
    )


def same_length(
    rows: Sequence[Sequence[int]], batch_size: int
) -> Iterator[list[int]]:
    """Yield the numbers of rows that are equally long, in small batches."""
    by_length = defaultdict(list)
    for n, row in enumerate(rows):
        by_length[len(row)].append(n)
    for numbers in by_length.values():
        for start in range(0, len(numbers), batch_size):
            yield numbers[start : start + batch_size]


def read_response(ids: Sequence[int], tokenizer: tiktoken.Encoding) -> str:
    """Turn what a model wrote into text, up to the first end token."""
    ids = [*ids, tokenizer.eot_token]
    said = ids[: ids.index(tokenizer.eot_token)]
    return tokenizer.decode(said).strip()


def respond_all(
    model: GPT,
    tokenizer: tiktoken.Encoding,
    records: Sequence[Record],
    *,
    template: str = "alpaca",
    max_new_tokens: int = 40,
    batch_size: int = 64,
    **sampling: Any,
) -> list[str]:
    """Let a model respond to records; greedy unless `sampling` says more.

    Prompts of one length share a batch, so that none needs padding: each
    response is the one that the prompt alone would get.
    """
    texts = [format_prompt(record, template) for record in records]
    prompts = [tokenizer.encode_ordinary(text) for text in texts]
    device = next(model.parameters()).device
    responses = [""] * len(prompts)
    for rows in same_length(prompts, batch_size):
        ids = torch.tensor([prompts[n] for n in rows], device=device)
        made = generate(
            model, ids, max_new_tokens, stop_id=tokenizer.eot_token, **sampling
        )
        for n, new in zip(rows, made[:, ids.size(1) :].tolist()):
            responses[n] = read_response(new, tokenizer)
    return responses


def respond(
    model: GPT, tokenizer: tiktoken.Encoding, record: Record, **options: Any
) -> str:
    """Let a model respond to one record; options as in `respond_all`."""
    return respond_all(model, tokenizer, [record], **options)[0]


def exact_match(response: str, record: Record) -> bool:
    """Tell whether a response is one of those that a record accepts.

    `answers` lists them, else there is only `output`. Capitals count where
    the record's `check` is "exact".
    """
    exact = record.get("check") == "exact"
    answers = record.get("answers") or [record["output"]]
    right = {normal(answer, exact) for answer in answers}
    return normal(response, exact) in right


def train_only(model: GPT, *parts: str) -> GPT:
    """Let only weights be trained whose names hold one of the parts."""
    names = [name for name, _ in model.named_parameters()]
    for part in parts:
        if not any(part in name for name in names):
            raise ValueError(f"no weight's name holds {part!r}: {names}")
    for name, weight in model.named_parameters():
        weight.requires_grad_(any(part in name for part in parts))
    return model


OLLAMA = "http://localhost:11434/v1"


def judge(
    records: Sequence[Record],
    endpoint: str = OLLAMA,
    model: str = "llama3",
    *,
    rubric: str = RUBRIC,
    **options: Any,
) -> list[Verdict]:
    """Let a model behind any OpenAI-compatible server grade responses.

    records hold `response` beside instruction, input and output. A reply
    that does not come in time, or holds no grade, becomes a Verdict with
    score None that says why; options are those of `grade` and `complete`:
    timeout, retries, wait, max_tokens, key. Raises NoJudge, with what to
    do, where no server answers the first of them.
    """
    verdicts: list[Verdict] = []
    for prompt in [grading_prompt(record, rubric) for record in records]:
        try:
            verdicts.append(grade(prompt, endpoint, model, **options))
        except NoJudge as error:
            if verdicts:  # what was graded is kept
                verdicts.append(Verdict(None, "", str(error)))
                continue
            raise NoJudge(
                f"{error}. Start one, with `ollama serve` for example, and "
                "give its address as endpoint=...; or do without a judge: "
                "exact_match needs none."
            ) from error
    return verdicts


if __name__ == "__main__" and "__file__" in globals():  # not in a notebook
    from lib.chat import main

    sys.exit(main())
