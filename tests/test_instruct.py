"""Prompts, masks and responses of instruction tuning."""

import random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import instructions
from lib import instruct
from lib.gpt import GPT, GPTConfig
from lib.instruct import (
    TEMPLATES,
    InstructionDataset,
    collate,
    exact_match,
    format_prompt,
    make_batches,
    read_response,
    respond,
    respond_all,
    same_length,
)
from lib.tokenizer import BPETokenizer
from lib.train import (
    IGNORE,
    TrainConfig,
    count_targets,
    cross_entropy,
    evaluate,
    train,
)

END = 999
RECORDS = [
    {"instruction": "Say it.", "input": "", "output": "tea"},
    {
        "instruction": "Name the animal.",
        "input": "A cat sat.",
        "output": "cat",
    },
    {"instruction": "Turn it round.", "input": "a, b", "output": "b, a"},
    {"instruction": "Say {it} twice.", "input": "", "output": "it, it"},
    {"instruction": "Name the pet.", "input": "", "output": "Lady Jane"},
]


@pytest.fixture(scope="module")
def tokenizer():
    texts = [
        format_prompt(r, t) + r["output"] for r in RECORDS for t in TEMPLATES
    ]
    bpe = BPETokenizer.train("\n".join(texts), 290, ["<|endoftext|>"])
    return bpe.to_tiktoken()


def new_model(V, seed=0, context_length=64):
    torch.manual_seed(seed)
    return GPT(GPTConfig(V, context_length, 24, 2, 3)).eval()


# Prompts


def test_alpaca():
    assert format_prompt(RECORDS[1]) == (
        "Below is an instruction that describes a task. Write a response that "
        "appropriately completes the request.\n\n### Instruction:\nName the "
        "animal.\n\n### Input:\nA cat sat.\n\n### Response:\n"
    )
    assert format_prompt({"instruction": "Go.", "output": "No."}).endswith(
        "### Instruction:\nGo.\n\n### Response:\n"
    )


def test_chat_and_braces():
    said = format_prompt(RECORDS[2], "chat")
    assert said == "<|user|> Turn it round. a, b <|assistant|>"
    for template in TEMPLATES:
        assert "Say {it} twice." in format_prompt(RECORDS[3], template)
        braces = {"instruction": "Join.", "input": "{0} {x}", "output": ""}
        assert "{0} {x}" in format_prompt(braces, template)


def test_unknown_template():
    with pytest.raises(ValueError, match=r"'phi'; known: alpaca, chat"):
        format_prompt(RECORDS[0], "phi")


@pytest.mark.parametrize("template", TEMPLATES)
def test_dataset_and_seam(tokenizer, template):
    dataset = InstructionDataset(RECORDS, tokenizer, template)
    assert len(dataset) == len(RECORDS)
    for (ids, n), record in zip(dataset, RECORDS):
        prompt = format_prompt(record, template)
        assert tokenizer.decode(ids[:n]) == prompt
        assert tokenizer.decode(ids[n:]).strip() == record["output"]
        lead = TEMPLATES[template].lead
        assert ids == tokenizer.encode_ordinary(
            prompt + lead + record["output"]
        )


# Masks


def test_reference_batch():
    ids, targets = collate(
        [([0, 1, 2, 3, 4], 0), ([5, 6], 0), ([7, 8, 9], 0)], 50256
    )
    assert ids.tolist() == [
        [0, 1, 2, 3, 4],
        [5, 6, 50256, 50256, 50256],
        [7, 8, 9, 50256, 50256],
    ]
    assert targets.tolist() == [
        [1, 2, 3, 4, 50256],
        [6, 50256, -100, -100, -100],
        [8, 9, 50256, -100, -100],
    ]
    assert ids.dtype == targets.dtype == torch.int64


lengths = st.tuples(st.integers(1, 9), st.integers(0, 9))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(lengths, min_size=1, max_size=5),
    st.one_of(st.none(), st.integers(1, 20)),
    st.integers(0, 2**16),
)
def test_exactly_the_response_and_one_end_are_targets(shapes, most, seed):
    rng = random.Random(seed)
    # END may occur within a prompt or a response, and still counts there
    rows = [
        tuple([rng.choice([*range(7), END]) for _ in range(n)] for n in shape)
        for shape in shapes
    ]
    batch = [(prompt + response, len(prompt)) for prompt, response in rows]
    wanted = []
    for prompt, response in rows:
        whole = prompt + response + [END]
        kept = whole[: most + 1] if most else whole  # one more is foretold
        wanted.append(kept[len(prompt) :])
    if not any(wanted):
        with pytest.raises(ValueError, match=f"max_length={most}"):
            collate(batch, END, max_length=most)
        return
    ids, targets = collate(batch, END, max_length=most)
    widths = [min(len(i), most or 99) for i, _ in batch]
    assert ids.shape == targets.shape == (len(rows), max(widths))
    for n, (prompt, response) in enumerate(rows):
        asks = targets[n] != IGNORE
        assert targets[n][asks].tolist() == wanted[n]
        where = asks.nonzero().flatten().tolist()
        first = len(prompt) - 1
        assert where == [*range(first, first + len(wanted[n]))]
        width = widths[n]
        assert ids[n, :width].tolist() == (prompt + response)[:width]
        assert (ids[n, width:] == END).all()


def test_prompt_may_be_trained_too():
    batch = [([3, 4, 5], 2), ([6], 1)]
    _, masked = collate(batch, END)
    _, whole = collate(batch, END, mask_prompt=False)
    assert masked.tolist() == [[-100, 5, END], [END, -100, -100]]
    assert whole.tolist() == [[4, 5, END], [END, -100, -100]]
    _, other = collate(batch, END, ignore_index=-7)
    assert other.tolist() == [[-7, 5, END], [END, -7, -7]]


def test_nothing_to_learn_is_refused():
    batch = [([1, 2, 3, 4], 3), ([1, 2, 3], 3)]
    with pytest.raises(ValueError, match=r"batch of 2: with max_length=2"):
        collate(batch, END, max_length=2)
    assert count_targets(collate(batch, END, max_length=3)[1]) == 2
    with pytest.raises(ValueError, match="batch of 0"):
        collate([], END)
    nothing = torch.full((4,), IGNORE)
    assert F.cross_entropy(torch.zeros(4, 9), nothing).isnan()


def test_padding_changes_no_loss(tokenizer):
    model = new_model(tokenizer.n_vocab)
    together = make_batches(RECORDS, tokenizer, 5, template="chat")
    alone = make_batches(RECORDS, tokenizer, 1, template="chat")
    sums = [cross_entropy(model(x), y).item() for x, y in alone]
    n = sum(count_targets(y) for _, y in alone)
    assert evaluate(model, together) == pytest.approx(sum(sums) / n, rel=1e-5)
    responses = [
        i[n:] for i, n in InstructionDataset(RECORDS, tokenizer, "chat")
    ]
    assert n == sum(len(r) + 1 for r in responses)


def test_loader_truncates_and_shuffles(tokenizer):
    short = make_batches(RECORDS, tokenizer, 2, template="chat", max_length=30)
    assert next(iter(short))[0].shape == (2, 30)
    mixed = make_batches(RECORDS * 4, tokenizer, 1, shuffle=True)
    torch.manual_seed(1)
    first = [x.shape for x, _ in mixed]
    torch.manual_seed(1)
    assert first == [x.shape for x, _ in mixed]
    assert first != [
        x.shape for x, _ in make_batches(RECORDS * 4, tokenizer, 1)
    ]


# Responses


def test_same_length():
    rows = [[0] * n for n in (3, 5, 3, 3, 5, 1)]
    assert [*same_length(rows, 2)] == [[0, 2], [3], [1, 4], [5]]


def test_a_batch_says_what_each_would(tokenizer):
    model = new_model(tokenizer.n_vocab, 3, context_length=128)
    model.train()
    options = {"template": "chat", "max_new_tokens": 9}
    alone = [respond(model, tokenizer, r, **options) for r in RECORDS]
    for size in (1, 2, 64):
        together = respond_all(
            model, tokenizer, RECORDS, batch_size=size, **options
        )
        assert together == alone
    assert model.training and len({*alone}) > 1
    assert respond(model, tokenizer, RECORDS[0], max_new_tokens=0) == ""
    assert respond_all(model, tokenizer, []) == []


def test_response_ends_at_the_first_end_token(tokenizer):
    ids = tokenizer.encode_ordinary(" tea")
    end = tokenizer.eot_token
    assert read_response([*ids, end, *ids, end], tokenizer) == "tea"
    assert read_response(ids, tokenizer) == "tea"
    assert read_response([end, *ids], tokenizer) == ""


def test_learns_to_answer_and_to_stop(tokenizer):
    batches = make_batches(
        RECORDS, tokenizer, 5, template="chat", shuffle=True
    )
    config = TrainConfig(120, learning_rate=1e-2, eval_every=120)
    model = new_model(tokenizer.n_vocab, 1)
    history = train(model, batches, batches, config)
    assert history[-1]["val_loss"] < 0.1
    said = respond_all(model, tokenizer, RECORDS, template="chat")
    assert said == [r["output"] for r in RECORDS]


# Exact match


def test_exact_match():
    record = {"output": "7000 metres", "answers": ["7000 metres", "7000"]}
    for said in ("7,000 Metres.", " 7000", "7000  metres\n"):
        assert exact_match(said, record)
    for said in ("", "70,00", "7000 kilometres", "7000 7000"):
        assert not exact_match(said, record)
    assert exact_match("Tea.", RECORDS[0])
    assert not exact_match("fox", {"output": "FOX", "check": "exact"})


def test_exact_match_is_the_sets_own_check():
    rng = random.Random(0)
    records = [*instructions.Writer().records()]
    for record in rng.sample(records, 400):
        other = rng.choice(records)["output"]
        answer = rng.choice(record["answers"])
        for said in (answer, f" {answer.upper()}.", other, answer[:-1], ""):
            assert exact_match(said, record) == instructions.passes(
                record, said
            )


def test_public_names():
    names = (
        "format_prompt InstructionDataset collate respond exact_match judge"
    )
    assert all(hasattr(instruct, name) for name in names.split())
