"""lib.classify, lib.baselines, lib.evidence and lib.finetune."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import GPT2Config, GPT2ForSequenceClassification

from lib.baselines import NaiveBayes
from lib.classify import (
    PAD,
    POOLS,
    Accuracy,
    ClassificationDataset,
    Classifier,
    accuracy,
    class_scores,
    counted_accuracy,
    pad_batch,
    positions_read,
    predict,
    set_trainable,
    split_without_leaks,
    wilson_interval,
)
from lib.data import load_text
from lib.evidence import Confusion, fingerprint, mcnemar
from lib.finetune import TextClassifier, fine_tune, leave_one_out
from lib.gpt import GPT, GPTConfig
from lib.tokenizer import BPETokenizer
from lib.train import TrainConfig, make_optimizer, run
from lib.weights import their_tensors

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

V, C, D, L, H = 300, 23, 20, 3, 5


def gpt(seed: int = 0, **changes: object) -> GPT:
    """A GPT with every weight random, norms and biases included."""
    model = GPT(GPTConfig(V, C, D, L, H, **changes)).eval()
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(std=0.3, generator=g)
            if name.endswith("norm.weight"):
                weight += 1
    return model


@pytest.fixture(scope="module")
def tokenizer():
    text = load_text("a-letter-a-year")[:3000]
    return BPETokenizer.train(text, V).to_tiktoken()


def rows(*lengths: int, seed: int = 1) -> list[tuple[Tensor, int]]:
    g = torch.Generator().manual_seed(seed)
    return [
        (torch.randint(V, (n,), generator=g), i % 2)
        for i, n in enumerate(lengths)
    ]


# Texts that repeat, and splits


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Call 0800-123 NOW!!", "call 0 0 now"),
        ("call 0500 456  now", "call 0 0 now"),
        ("Ok...", "ok"),
        ("won't", "won t"),
        ("R2D2 café_x", "r 0 d 0 café x"),
        (" :-) ", ":-)"),
        ("", ""),
    ],
)
def test_fingerprint(text, expected) -> None:
    assert fingerprint(text) == expected


def crowd(n: int = 400, seed: int = 3) -> list[dict[str, object]]:
    """Records of two labels, a third of whose texts repeat."""
    rng = random.Random(seed)
    names = [f"text {chr(97 + i % 26)}{'x' * (i // 26)}" for i in range(n)]
    chosen = names + rng.choices(names, k=n // 2)
    return [
        {"text": t if i < n else t.upper() + "!", "label": len(t) % 3 == 0}
        for i, t in enumerate(chosen)
    ]


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.2), (0.5, 0.5), (1.0,)])
def test_a_split_deals_out_each_record_once(shares) -> None:
    records = crowd()
    parts = split_without_leaks(records, shares, seed=5)
    dealt = [id(record) for part in parts for record in part]
    assert sorted(dealt) == sorted(map(id, records))
    sides = [{fingerprint(r["text"]) for r in part} for part in parts]
    for one, other in itertools.combinations(sides, 2):
        assert not one & other


def test_a_split_keeps_the_shares_of_each_label() -> None:
    records = crowd(900)
    shares = 0.7, 0.1, 0.2
    parts = split_without_leaks(records, shares)
    for label in (True, False):
        total = sum(r["label"] == label for r in records)
        for share, part in zip(shares, parts):
            n = sum(r["label"] == label for r in part)
            assert abs(n - share * total) <= 8  # the largest group


def test_a_split_depends_on_its_seed_and_not_on_python() -> None:
    records = crowd(60)
    texts = [
        [[r["text"] for r in part] for part in split_without_leaks(
            records, seed=seed)]
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert texts[0] == texts[1] != texts[2]
    first, again = (
        split_without_leaks(records, (0.5, 0.5), seed=s) for s in (0, 1)
    )
    assert {r["text"] for r in first[0]} != {r["text"] for r in again[0]}


def test_a_split_by_another_key() -> None:
    records = [{"text": f"{i % 7} {i}", "label": 0} for i in range(70)]
    parts = split_without_leaks(
        records, (0.6, 0.4), key=lambda text: text.split()[0]
    )
    first, second = ({r["text"][0] for r in part} for part in parts)
    assert not first & second and len(first) + len(second) == 7


@pytest.mark.parametrize("shares", [(), (0.5, 0.4), (1.2, -0.2), (1.0, 0.0)])
def test_shares_that_make_no_sense(shares) -> None:
    with pytest.raises(ValueError, match="expected positive numbers of sum"):
        split_without_leaks(crowd(10), shares)


# Baselines and evidence

TEXTS = ["Send money now", "the boat is late", "money money", "late, late!"]


def naive_bayes_by_numpy(text: str, a: float) -> np.ndarray:
    """The log joint of the four texts above, counted by hand."""
    vocabulary = ["send", "money", "now", "the", "boat", "is", "late"]
    counts = np.array([[0, 0, 0, 1, 1, 1, 3], [1, 3, 1, 0, 0, 0, 0]]) + a
    log_p = np.log(counts / counts.sum(1, keepdims=True))
    return np.log([0.5, 0.5]) + sum(
        log_p[:, vocabulary.index(w)]
        for w in text.lower().split()
        if w in vocabulary
    )


@pytest.mark.parametrize("smoothing", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("text", ["the money is late", "now unheard of", "x"])
def test_naive_bayes_by_hand(text, smoothing) -> None:
    model = NaiveBayes(smoothing).fit(TEXTS, [1, 0, 1, 0])
    expected = naive_bayes_by_numpy(text, smoothing)
    assert model.scores(text) == pytest.approx(list(expected), abs=1e-12)
    assert model.predict([text]) == [int(expected.argmax())]


def test_naive_bayes_knows_the_shares_of_the_classes() -> None:
    model = NaiveBayes().fit(["a", "b", "c", "d"], [2, 2, 0, 2])
    assert model.scores("z")[1] == -math.inf
    assert model.predict(["z", "c c"]) == [2, 0]


def test_naive_bayes_refuses() -> None:
    with pytest.raises(ValueError, match="smoothing must be positive, got 0"):
        NaiveBayes(0)
    with pytest.raises(ValueError, match="2 texts and 1 labels"):
        NaiveBayes().fit(["a", "b"], [0])
    with pytest.raises(ValueError, match="0 texts and 0 labels"):
        NaiveBayes().fit([], [])


@pytest.mark.parametrize("n", [1, 3, 20, 300])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_is_where_the_distance_is_z(n, confidence) -> None:
    z = {0.8: 1.2815515655, 0.95: 1.9599639845, 0.99: 2.5758293035}
    for right in {0, 1, n // 2, n - 1, n}:
        low, high = wilson_interval(right, n, confidence)
        assert 0 <= low < right / n + 1e-12
        assert right / n - 1e-12 < high <= 1
        for p in (low, high):
            if 1e-9 < p < 1 - 1e-9:
                distance = abs(right / n - p) / math.sqrt(p * (1 - p) / n)
                assert distance == pytest.approx(z[confidence], abs=1e-6)
        assert (right == 0) == (low < 1e-12)
        assert (right == n) == (high > 1 - 1e-12)


def test_wilson_gives_the_published_interval() -> None:
    low, high = wilson_interval(287, 300)
    assert (round(low, 3), round(high, 3)) == (0.927, 0.975)


@pytest.mark.parametrize(
    "right, n, confidence",
    [(-1, 5, 0.9), (6, 5, 0.9), (0, 0, 0.9), (1, 5, 0.0), (1, 5, 1.0)],
)
def test_wilson_refuses(right, n, confidence) -> None:
    with pytest.raises(ValueError, match=f"right={right} of n={n}"):
        wilson_interval(right, n, confidence)


@pytest.mark.parametrize("b, c", [(0, 0), (1, 0), (5, 5), (2, 9), (30, 12)])
def test_mcnemar_by_enumeration(b, c) -> None:
    first = [True] * b + [False] * c + [True] * 7 + [False] * 3
    second = [False] * b + [True] * c + [True] * 7 + [False] * 3
    n, fewer = b + c, min(b, c)
    share = [math.comb(n, k) * 0.5**n for k in range(n + 1)]
    far = sum(p for k, p in enumerate(share) if min(k, n - k) <= fewer)
    assert mcnemar(first, second) == pytest.approx(far, abs=1e-12)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_wants_the_same_messages() -> None:
    with pytest.raises(ValueError):
        mcnemar([True], [True, False])


def test_accuracy_prints_its_interval() -> None:
    found = accuracy([1, 0, 1, 1], [1, 1, 1, 0])
    assert (found.right, found.n, found.share) == (2, 4, 0.5)
    assert found.interval == wilson_interval(2, 4)
    assert str(Accuracy(287, 300)) == " 95.7% (92.7% to 97.5%)"
    with pytest.raises(ValueError, match="1 answers for 2 labels"):
        accuracy([1], [1, 0])
    with pytest.raises(ValueError, match="0 answers for 0 labels"):
        accuracy([], [])


def test_counted_accuracy() -> None:
    train = [{"text": t, "label": y} for t, y in zip(TEXTS, [1, 0, 1, 0])]
    test = [
        {"text": "late boat", "label": 0},
        {"text": "no money", "label": 1},
        {"text": "the boat", "label": 1},
    ]
    assert counted_accuracy(train, test) == Accuracy(2, 3)


def test_confusion() -> None:
    scores, labels = [0.9, 0.2, 0.5, 0.7, 0.1], [1, 1, 0, 0, 0]
    table = Confusion.at(0.5, scores, labels)
    assert table == Confusion(1, 1, 2, 1)
    assert (table.precision, table.recall) == (1 / 3, 1 / 2)
    mean = 2 / (1 / table.precision + 1 / table.recall)
    assert table.f1 == pytest.approx(mean)
    assert Confusion.at(0.1, scores, labels).recall == 1.0
    none = Confusion.at(2.0, scores, labels)
    assert math.isnan(none.precision) and none.recall == 0.0 == none.f1
    assert math.isnan(Confusion(0, 0, 0, 5).f1)
    with pytest.raises(ValueError):
        Confusion.at(0.5, [1.0], [1, 0])


# Batches


def test_dataset_and_batch(tokenizer) -> None:
    texts = ["The rain had stopped.", "It rained", "!"]
    data = ClassificationDataset(texts, [0, 2, 1], tokenizer)
    ids, labels = pad_batch([data[i] for i in range(len(data))])
    assert labels.tolist() == [0, 2, 1] and ids.dtype == torch.int64
    for text, row in zip(texts, ids):
        wanted = tokenizer.encode_ordinary(text)
        assert row.tolist() == wanted + [PAD] * (len(row) - len(wanted))
    assert (ids != PAD).any(dim=0).all()  # no wider than the longest


def test_dataset_cuts_at_the_end(tokenizer) -> None:
    text = "The rain had stopped at last."
    data = ClassificationDataset([text], [0], tokenizer, max_length=3)
    assert data[0][0].tolist() == tokenizer.encode_ordinary(text)[:3]


def test_dataset_refuses(tokenizer) -> None:
    with pytest.raises(ValueError, match="'' has no token"):
        ClassificationDataset(["a", ""], [0, 1], tokenizer)
    with pytest.raises(ValueError, match="2 texts with 1 labels"):
        ClassificationDataset(["a", "b"], [0], tokenizer)
    with pytest.raises(ValueError, match="the lowest -1"):
        ClassificationDataset(["a", "b"], [0, -1], tokenizer)


# The classifier


@pytest.mark.parametrize("pool", POOLS)
def test_positions_read(pool) -> None:
    lengths = [1, 4, 6, 3]
    is_text = torch.tensor([[t < n for t in range(6)] for n in lengths])
    expected = {
        "last": [[t == n - 1 for t in range(6)] for n in lengths],
        "first": [[t == 0 for t in range(6)] for n in lengths],
        "mean": [[t < n for t in range(6)] for n in lengths],
        "end": [[t == 5 for t in range(6)] for n in lengths],
    }
    assert positions_read(is_text, pool).tolist() == expected[pool]


@torch.no_grad()
@pytest.mark.parametrize("pool", POOLS)
def test_each_pool_reads_the_features_it_names(pool) -> None:
    model = Classifier(gpt(), 3, pool)
    items = rows(5, 1, 9)
    logits = model(pad_batch(items)[0])
    for (ids, _), z in zip(items, logits):
        filled = torch.cat([ids, ids.new_zeros(9 - len(ids))])
        x = model.gpt.features(filled[None])[0]
        vector = {
            "last": x[len(ids) - 1],
            "first": x[0],
            "mean": x[: len(ids)].mean(0),
            "end": x[-1],
        }[pool]
        torch.testing.assert_close(z, model.head(vector), atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch() -> None:
    model = Classifier(gpt(), 2)
    items = rows(4, 11, 23, 1)
    together = model(pad_batch(items)[0])
    for item, z in zip(items, together):
        alone = model(pad_batch([item])[0])[0]
        torch.testing.assert_close(z, alone, atol=1e-4, rtol=0)


@torch.no_grad()
def test_logits_are_those_of_transformers() -> None:
    """GPT2ForSequenceClassification reads the last token that is no pad."""
    model = Classifier(gpt(), 4)
    model.head.weight.normal_(generator=torch.Generator().manual_seed(3))
    config = GPT2Config(
        vocab_size=V, n_positions=C, n_embd=D, n_layer=L, n_head=H,
        num_labels=4, pad_token_id=V - 1,
    )  # fmt: skip
    theirs = GPT2ForSequenceClassification(config).eval()
    tensors = their_tensors(model.gpt)
    tensors.pop("lm_head.weight", None)
    tensors["score.weight"] = model.head.weight
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert not missing and not unexpected
    short = [(row.clamp_max(V - 2), y) for row, y in rows(7, 2, 13)]
    ids, _ = pad_batch(short)
    z = theirs(
        ids.where(ids != PAD, V - 1), attention_mask=(ids != PAD).long()
    ).logits
    torch.testing.assert_close(model(ids), z, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "row, shown",
    [([PAD, 3, 4], r"\[0, 1, 1\]"), ([3, PAD, 4], r"\[1, 0, 1\]"),
     ([PAD, PAD, PAD], r"\[0, 0, 0\]")],
)  # fmt: skip
def test_padding_in_the_wrong_place(row, shown) -> None:
    with pytest.raises(ValueError, match=f"row 1 is {shown}"):
        Classifier(gpt(), 2)(torch.tensor([[1, 2, 3], row]))


def test_ids_from_elsewhere_are_still_refused() -> None:
    with pytest.raises(ValueError, match="outside the vocabulary"):
        Classifier(gpt(), 2)(torch.tensor([[1, V]]))


def test_classifier_refuses() -> None:
    with pytest.raises(ValueError, match="n_classes must be 2 or more, got 1"):
        Classifier(gpt(), 1)
    with pytest.raises(ValueError, match="pool 'max' is none of last, first"):
        Classifier(gpt(), 2, "max")


def test_the_new_head_starts_small_and_by_the_seed() -> None:
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(Classifier(gpt(), 2).head)
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)
    assert heads[0].weight.abs().max() < 0.1 and not heads[0].bias.any()


# What may change

HEAD = {"head.weight", "head.bias"}


def changing(model: nn.Module) -> set[str]:
    return {n for n, w in model.named_parameters() if w.requires_grad}


@pytest.mark.parametrize("tied", [True, False])
def test_set_trainable(tied) -> None:
    model = Classifier(gpt(tie_weights=tied), 2)
    every = {n for n, _ in model.named_parameters()} - {"gpt.head.weight"}
    for policy in ("all", 2, "head", 1, L, "all"):
        n = set_trainable(model, policy)
        named = dict(model.named_parameters())
        assert n == sum(named[name].numel() for name in changing(model))
        if policy == "all":
            assert changing(model) == every
        elif policy == "head":
            assert changing(model) == HEAD
        else:
            kept = tuple(f"gpt.blocks.{L - 1 - i}." for i in range(policy))
            kept += ("gpt.final_norm.",)
            expected = {n for n in every if n.startswith(kept)} | HEAD
            assert changing(model) == expected


@pytest.mark.parametrize("policy", ["last", 0, L + 1, -1, "", None])
def test_unknown_policy(policy) -> None:
    model = Classifier(gpt(), 2)
    with pytest.raises(ValueError, match=f"from 1 to {L}"):
        set_trainable(model, policy)


class Letters:
    """A tokenizer that gives each letter an id; enough for a dataset."""

    def encode_ordinary_batch(self, texts, num_threads):
        return [[ord(letter) for letter in text] for text in texts]


def task(n: int = 60, seed: int = 0) -> ClassificationDataset:
    """Texts of class 1 hold a z somewhere."""
    rng = random.Random(seed)
    texts, labels = [], []
    for i in range(n):
        letters = rng.choices("abcdefgh", k=rng.randint(2, 12))
        if i % 2:
            letters[rng.randrange(len(letters))] = "z"
        texts.append("".join(letters))
        labels.append(i % 2)
    return ClassificationDataset(texts, labels, Letters())


def small(seed: int = 0, **changes: object) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(GPT(GPTConfig(V, C, D, L, H, **changes)), 2)


def test_scores_stand_in_the_order_of_the_data() -> None:
    model, data = small(), task(150)
    scores = class_scores(model, data)
    assert scores.shape == (150, 2)
    for i in (0, 17, 149):
        alone = model(data[i][0][None])[0]
        torch.testing.assert_close(scores[i], alone, atol=1e-5, rtol=0)


def test_scores_are_taken_without_dropout() -> None:
    model, data = small(dropout=0.5).train(), task(20)
    assert torch.equal(class_scores(model, data), class_scores(model, data))
    assert model.training


def test_fine_tuning_learns_and_looks() -> None:
    model, data = small(), task(200)
    set_trainable(model, "all")
    history = fine_tune(
        model, data, task(80, seed=9), passes=12, learning_rate=3e-3
    )
    assert 8 <= len(history) <= 16
    first, last = history[0], history[-1]
    assert last["step"] == 12 * math.ceil(200 / 16)
    assert last["train_loss"] < 0.3 < first["train_loss"]
    assert last["val_accuracy"] > 0.9
    scores = class_scores(model, task(80, seed=9))
    labels = torch.tensor(task(80, seed=9).labels)
    loss = nn.functional.cross_entropy(scores, labels)
    assert last["val_loss"] == pytest.approx(float(loss), abs=1e-5)
    assert not model.training


def test_without_a_validation_set() -> None:
    model = small()
    history = fine_tune(model, task(32), passes=2, looks=2)
    assert all("val_loss" not in record for record in history)


@pytest.mark.parametrize("policy", ["head", 1, 2])
def test_only_what_may_change_changes(policy) -> None:
    model = small()
    before = {n: w.detach().clone() for n, w in model.named_parameters()}
    set_trainable(model, policy)
    fine_tune(model, task(48), passes=2, learning_rate=1e-2)
    moved = {
        n for n, w in model.named_parameters() if not torch.equal(w, before[n])
    }
    assert moved == changing(model)


def test_a_frozen_model_is_read_once_and_trains_the_same() -> None:
    """The short cut gives what training through the GPT would give."""
    short, long, data = small(), small(), task(50)
    set_trainable(short, "head")
    set_trainable(long, "head")
    calls = []
    short.gpt.token_embedding.register_forward_hook(lambda *_: calls.append(1))
    history = fine_tune(short, data, passes=3, learning_rate=1e-2, seed=4)
    assert len(calls) == 1
    config = TrainConfig(12, 1e-2, 1e-3, warmup_steps=1, eval_every=1, seed=4)
    batches = DataLoader(data, 16, shuffle=True, collate_fn=pad_batch)
    records = run(long, make_optimizer(long, config), batches, config)
    for one, other in zip(history, records, strict=True):
        assert one["train_loss"] == pytest.approx(
            other["train_loss"], abs=1e-5
        )
    torch.testing.assert_close(
        short.head.weight, long.head.weight, atol=1e-5, rtol=0
    )


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [
        fine_tune(small(), task(40), passes=1, seed=seed) for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


# Use


def test_predict_cuts_long_texts(tokenizer) -> None:
    model = Classifier(gpt(), 2)
    text = "It rained. " * 40
    ids = tokenizer.encode_ordinary(text)
    assert len(ids) > C
    with torch.inference_mode():
        z = model(torch.tensor([ids[:C]]))
    assert predict(model, tokenizer, [text]) == [int(z.argmax())]


NAMES = ("real", "fraud", "other")


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_a_text_classifier_is_kept_whole(pool, tokenizer, tmp_path) -> None:
    text_classifier = TextClassifier(
        Classifier(gpt(), 3, pool), tokenizer, NAMES
    )
    text_classifier.save(tmp_path / "kept")
    again = TextClassifier.load(tmp_path / "kept")
    texts = ["It rained.", "The rain had stopped at last.", "a"]
    assert torch.equal(
        again.probabilities(texts), text_classifier.probabilities(texts)
    )
    assert again.predict(texts) == text_classifier.predict(texts)
    assert again.names == NAMES and again.model.pool == pool
    p = again.probabilities(texts)
    torch.testing.assert_close(p.sum(1), torch.ones(3))
    assert again.predict(texts) == [NAMES[i] for i in p.argmax(1)]


def test_a_head_without_its_facts(tokenizer, tmp_path) -> None:
    TextClassifier(Classifier(gpt(), 3), tokenizer, NAMES).save(tmp_path)
    path = tmp_path / "head.safetensors"
    save_file(load_file(path), path)
    with pytest.raises(ValueError, match="does not say what it classifies"):
        TextClassifier.load(tmp_path)


@torch.no_grad()
def test_leave_one_out(tokenizer) -> None:
    model = Classifier(gpt(), 2)
    text = "The rain had stopped."
    ids = tokenizer.encode_ordinary(text)
    told = leave_one_out(model, tokenizer, text)
    assert "".join(part for part, _ in told) == text

    def odds(row: list[int]) -> float:
        z = model(torch.tensor([row]))[0]
        return float(z[1] - z[0])

    for i, (_, change) in enumerate(told):
        without = [id for k, id in enumerate(ids) if k != i]
        assert change == pytest.approx(odds(ids) - odds(without), abs=1e-4)


def test_leave_one_out_wants_two_tokens(tokenizer) -> None:
    with pytest.raises(ValueError, match="'a' has 1 tokens, expected 2"):
        leave_one_out(Classifier(gpt(), 2), tokenizer, "a")


def test_one_name_a_class(tokenizer) -> None:
    with pytest.raises(ValueError, match="expected 3 names of classes"):
        TextClassifier(Classifier(gpt(), 3), tokenizer, ("real", "fraud"))
