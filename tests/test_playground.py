"""The playground computes what the library computes, and can be used.

Its arithmetic is run by node or Chromium on small models of odd shapes;
Chromium also opens the page, loads such a model and moves the controls.
"""

import base64
import json
import math
from pathlib import Path
from typing import Any

import browser
import playground
import pytest
import safetensors.torch
import tiktoken
import torch
from browser import needs_chromium, needs_js
from torch import Tensor

import run
from lib.attention import attend, causal_mask
from lib.difference import load_tuned
from lib.gpt import GPT, GPTConfig
from lib.sample import generate
from lib.tokenizer import END_OF_TEXT, BPETokenizer
from lib.weights import load_pretrained

MODELS = run.weave.ROOT / "_build" / "html" / "_static" / "models"
TEXT = "The harbour of Saltmarsh, the harbour master and the harm. " * 3
SHAPES = [
    {"context_length": 9, "d_model": 12, "n_layers": 2, "n_heads": 3},
    {"context_length": 24, "d_model": 10, "n_layers": 3, "n_heads": 1},
    {"context_length": 17, "d_model": 7, "n_layers": 1, "n_heads": 7},
]


def small(seed: int, **shape: int) -> tuple[GPT, tiktoken.Encoding]:
    """A random model, rounded to 16 bits; no two of its weights alike."""
    bpe = BPETokenizer.train(TEXT, 270 + seed, [END_OF_TEXT])
    torch.manual_seed(seed)
    model = GPT(GPTConfig(bpe.vocab_size, **shape)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_((weight + 0.3 * torch.randn_like(weight)).half())
    return model, bpe.to_tiktoken()


def code(held: dict[str, Any]) -> str:
    """The page's arithmetic, and a model to use it on."""
    parts = ["02_bpe.js", "gpt.js"]
    read = [(browser.SEE / part).read_text("utf-8") for part in parts]
    return "".join(read) + (
        f";const held = {json.dumps(held)};"
        "const model = {config: held.config, "
        "weights: readWeights(held.weights)};"
        "const reader = newReader(held.config);"
        "const read = (ids) => ids.map((id) => readToken(model, reader, id));"
    )


def draw_ids(model: GPT, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    size = (model.config.context_length,)
    high = model.config.vocab_size
    return torch.randint(high, size, generator=generator).tolist()


@needs_js
@pytest.mark.parametrize("seed", range(len(SHAPES)))
def test_the_logits_are_those_of_the_library(
    seed: int, tmp_path: Path
) -> None:
    model, tokenizer = small(seed, **SHAPES[seed])
    ids = draw_ids(model, seed)
    call = f"read({ids}).map((step) => Array.from(step.logits))"
    held = playground.pack(model, tokenizer)
    found = torch.tensor(browser.compute(code(held), call, tmp_path))
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.3  # or anything would agree


@needs_js
def test_attention_is_that_of_chapter_3(tmp_path: Path) -> None:
    model, tokenizer = small(0, **SHAPES[0])
    ids = draw_ids(model, 3)
    T, D, H = len(ids), model.config.d_model, model.config.n_heads
    call = f"Array.from(read({ids}).at(-1).attention[0])"
    held = playground.pack(model, tokenizer)
    found = torch.tensor(browser.compute(code(held), call, tmp_path))
    with torch.no_grad():
        x = model.token_embedding.weight[torch.tensor(ids)]
        x = x + model.position_embedding.weight[:T]
        block = model.blocks[0]
        qkv = block.attention.qkv(block.attention_norm(x))
        q, k, v = (
            part.view(T, H, D // H).transpose(0, 1)
            for part in qkv.split(D, dim=-1)
        )
        _, weights = attend(q, k, v, causal_mask(T))
    expected = weights[:, -1]  # (H, T)
    torch.testing.assert_close(found.view(H, T), expected)


@needs_js
def test_a_full_context_is_refused(tmp_path: Path) -> None:
    model, tokenizer = small(0, **SHAPES[0])
    ids = [*draw_ids(model, 0), 1]
    call = (
        f"(() => {{ try {{ read({ids}); }} "
        "catch (error) { return [error.message, reader.length]; } })()"
    )
    held = playground.pack(model, tokenizer)
    found = browser.compute(code(held), call, tmp_path)
    assert found == ["the context is full", 9]


@needs_js
def test_text_becomes_the_ids_of_the_tokenizer(tmp_path: Path) -> None:
    model, tokenizer = small(2, **SHAPES[2])
    text = "the harbour's  harm\n\n42 caf\u00e9s, \U0001f600\t<|endoftext|>"
    call = f"encode({json.dumps(text)}, readMerges(held.merges))"
    held = playground.pack(model, tokenizer)
    found = browser.compute(code(held), call, tmp_path)
    assert found == tokenizer.encode_ordinary(text)


@needs_js
def test_all_halves_are_read(tmp_path: Path) -> None:
    call = "Array.from(HALVES, (n) => Number.isFinite(n) ? n : String(n))"
    gpt = (browser.SEE / "gpt.js").read_text("utf-8")
    found = browser.compute(gpt, call, tmp_path)
    bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16)
    expected = bits.view(torch.float16).double()
    finite = expected.isfinite()
    numbers = [n for n in found if not isinstance(n, str)]
    assert numbers == expected[finite].tolist()
    assert finite.tolist() == [not isinstance(n, str) for n in found]


@needs_js
def test_a_tuned_model_is_its_base_and_a_difference(tmp_path: Path) -> None:
    model, tokenizer = small(1, **SHAPES[1])
    held = playground.pack(model, tokenizer)
    name = "blocks.1.attention.qkv.weight"
    gap = torch.randn(30, 10, generator=torch.Generator().manual_seed(1))
    gaps = playground.in_halves({name: gap.half()})
    call = (
        f"(() => {{ model.weights = addWeights(model.weights, "
        f"readWeights({json.dumps(gaps)})); "
        "return Array.from(read([5, 6, 7]).at(-1).logits); })()"
    )
    found = torch.tensor(browser.compute(code(held), call, tmp_path))
    with torch.no_grad():
        before = model(torch.tensor([[5, 6, 7]]))[0, -1]
        model.get_parameter(name).add_(gap.half())
        after = model(torch.tensor([[5, 6, 7]]))[0, -1]
    torch.testing.assert_close(found, after, rtol=1e-4, atol=1e-4)
    assert (before - after).abs().max() > 0.01


def test_what_16_bits_do_not_hold_is_refused() -> None:
    model, tokenizer = small(0, **SHAPES[0])
    with torch.no_grad():
        model.final_norm.bias[0] = 1.0001
    with pytest.raises(ValueError, match=r"final_norm\.bias does not fit"):
        playground.pack(model, tokenizer)


def test_gpt2s_order_of_bytes_is_refused() -> None:
    model, _ = small(0, **SHAPES[0])
    bpe = BPETokenizer([], [END_OF_TEXT], bytes(range(255, -1, -1)))
    with pytest.raises(ValueError, match="not the bytes in order"):
        playground.pack(model, bpe.to_tiktoken())


# The page


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts of a small model and of a tuned one."""
    folder = tmp_path_factory.mktemp("models")
    model, tokenizer = small(1, **SHAPES[1])
    held = playground.pack(model, tokenizer)
    playground.write_model(folder, "course", held)
    gaps = {n: torch.full_like(w, 0.25) for n, w in model.named_parameters()}
    del gaps["token_embedding.weight"]
    tuned = {
        "base": "course",
        "around": ["<", ">"],
        "weights": playground.in_halves(
            {name: gap.half() for name, gap in gaps.items()}
        ),
    }
    playground.write_model(folder, "course-instruct", tuned)
    return folder


STEPS = """
const at = (name) => document.querySelector(`[data-is="${name}"]`);
const rest = async () => {
  for (let i = 0; i < 400; i += 1) {
    await new Promise((go) => setTimeout(go, 5));
    if (at("stop").disabled) return;
  }
};
const click = async (name) => { at(name).click(); await rest(); };
const set = (name, value) => {
  at(name).value = value;
  at(name).dispatchEvent(new Event("input"));
};
const load = async (name) => {
  at("model").value = name;
  at("model").dispatchEvent(new Event("change"));
  await click("load");
};
const ids = () => [...at("page").children].map((e) => +e.dataset.token);
const rows = () => [...at("table").querySelectorAll("tbody tr")].map((row) =>
  [...row.cells].slice(0, 4).map((cell) => cell.textContent));
"""


def use(folder: Path, script: str, tmp_path: Path) -> Any:
    """Open the page, run a script on it, return what it tells."""
    page = playground.compose(folder.as_uri())
    return browser.told_later(page, STEPS + script, tmp_path)


def percent(p: float) -> str:
    """A share as the page writes it."""
    n = 100 * p
    return f"{n:.0f}%" if n >= 9.95 else f"{n:.2g}%"


@needs_chromium
def test_the_page_writes_what_the_library_writes(
    opened: Path, tmp_path: Path
) -> None:
    model, tokenizer = small(1, **SHAPES[1])
    prompt = [tokenizer.eot_token, *tokenizer.encode_ordinary("the harbour")]
    ids, said, rows = use(
        opened,
        'await load("course"); set("prompt", "the harbour");'
        'set("temperature", 0);'
        'for (let i = 0; i < 4; i += 1) await click("one");'
        'tell([ids(), at("say").textContent, rows()]);',
        tmp_path,
    )
    made = generate(model, torch.tensor([prompt]), 4, temperature=0.0)
    assert ids == made[0].tolist()
    with torch.no_grad():
        log_p = model(made[:, :-1]).log_softmax(-1)[0].double()
    assert rows[0][2:] == [percent(log_p[-1].max().exp().item()), "100%"]
    assert rows[1][3] == "cut"
    nats = -log_p.gather(-1, made[0, 1:, None]).sum().item()
    n_bytes = len(tokenizer.decode_bytes(ids[1:]))
    assert f"{nats / math.log(2) / n_bytes:.2f} bits a byte" in said


@needs_chromium
def test_another_candidate_can_be_taken(opened: Path, tmp_path: Path) -> None:
    before, names, after = use(
        opened,
        'await load("course"); set("prompt", "the harm");'
        'await click("write"); const before = ids();'
        'at("page").children[6].click();'
        "const names = rows().map((row) => row[1]);"
        'at("table").querySelectorAll("button")[2].click(); await rest();'
        "const after = ids(); await click('one');"
        "tell([before, names, [after, ids()]]);",
        tmp_path,
    )
    assert len(before) > 8 and len(names) >= 12
    assert after[0][:6] == before[:6] and len(after[0]) == 7
    assert after[1][:7] == after[0] and len(after[1]) == 8
    model, _ = small(1, **SHAPES[1])
    with torch.no_grad():
        logits = model(torch.tensor([before[:6]]))[0, -1]
    assert after[0][6] == logits.argsort(descending=True)[2]


@needs_chromium
def test_a_seed_repeats_and_a_full_window_ends(
    opened: Path, tmp_path: Path
) -> None:
    first, second, third, said = use(
        opened,
        'await load("course"); set("prompt", "the"); set("temperature", 10);'
        "const write = async (seed) => { set('seed', seed);"
        "  await click('again'); await click('write'); return ids(); };"
        "tell([await write(3), await write(3), await write(4),"
        ' at("say").textContent]);',
        tmp_path,
    )
    assert first == second != third
    _, tokenizer = small(1, **SHAPES[1])
    for ids in (first, third):
        assert len(ids) == 24 or ids[-1] == tokenizer.eot_token
    full = len(third) == 24
    assert ("context is full" if full else "ended the text itself") in said


@needs_chromium
def test_the_tuned_model_is_asked_in_its_template(
    opened: Path, tmp_path: Path
) -> None:
    ids = use(
        opened,
        'await load("course-instruct"); set("prompt", "harm");'
        'set("temperature", 0); await click("one"); tell(ids());',
        tmp_path,
    )
    model, tokenizer = small(1, **SHAPES[1])
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name != "token_embedding.weight":
                weight.add_(0.25)
    prompt = torch.tensor([tokenizer.encode_ordinary("<harm>")])
    assert ids == generate(model, prompt, 1, temperature=0.0)[0].tolist()


@needs_chromium
def test_the_keys_walk_along_the_tokens(opened: Path, tmp_path: Path) -> None:
    found = use(
        opened,
        'await load("course"); set("prompt", "the harbour");'
        'await click("one"); const seen = [];'
        "const key = (name) => at('page').dispatchEvent("
        "  new KeyboardEvent('keydown', {key: name, bubbles: true}));"
        "for (const name of ['ArrowLeft', 'ArrowLeft', 'ArrowRight']) {"
        "  key(name); seen.push([...at('page').children].findIndex((e) =>"
        "    e.getAttribute('aria-selected') === 'true')); }"
        'set("color", "1 0"); at("color").dispatchEvent(new Event("change"));'
        'tell([seen, ids().length - 1, at("legend").textContent]);',
        tmp_path,
    )
    seen, last, legend = found
    assert seen == [last - 1, last - 2, last - 1]
    assert "looked at each" in legend


@needs_chromium
def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    said = use(
        tmp_path / "nowhere",
        'await load("course");'
        'tell([at("say").textContent, at("state").textContent,'
        ' at("write").disabled]);',
        tmp_path,
    )
    assert said[0].startswith("cannot load file:")
    assert said[1:] == ["not loaded", True]


@needs_chromium
def test_a_prompt_too_long_is_told(opened: Path, tmp_path: Path) -> None:
    said = use(
        opened,
        'await load("course"); set("prompt", "x".repeat(30));'
        'await click("write"); tell(at("say").textContent);',
        tmp_path,
    )
    assert "the text has 31 tokens; the model reads 24" in said


@needs_chromium
def test_every_control_has_a_name(opened: Path, tmp_path: Path) -> None:
    page = playground.compose(opened.as_uri())
    names = browser.control_names(page, tmp_path)
    assert len(names) > 12 and all(names)


# The site


@pytest.mark.skipif(not MODELS.exists(), reason="run `make book` first")
@pytest.mark.parametrize("name", ["course", "course-instruct"])
def test_the_site_holds_the_models(name: str) -> None:
    text = (MODELS / f"{name}.js").read_text("utf-8")
    held = json.loads(text.split(" = ", 1)[1].removesuffix(";\n"))
    weights: dict[str, Tensor] = safetensors.torch.load(
        base64.b64decode(held["weights"])
    )
    model, _ = load_tuned(name)
    base, _ = load_pretrained("course")
    before = dict(base.named_parameters()) if "base" in held else {}
    for key, weight in model.named_parameters():
        there = weights.pop(key, torch.zeros(())).float()
        assert torch.equal(there + before.get(key, 0), weight)
    assert weights == {}
