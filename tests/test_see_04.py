"""Chapter 4's model builder computes what the library computes.

The piece is taken as stored in the chapter. Its arithmetic is run by node or
Chromium, and compared with models of the library; Chromium also moves the
controls.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from browser import (
    arithmetic,
    compute,
    find_pieces,
    needs_chromium,
    needs_js,
    told,
)
from torch import Tensor

from lib.gpt import GPT, GPTConfig, count_parameters, flops_per_token

PIECE = find_pieces("04_gpt")["builder"]
KNOWN: dict[str, dict[str, Any]] = json.loads(
    re.findall(r"const known = (\{.*\});\n", PIECE)[0]
)


def measured(shapes: list[dict[str, Any]], folder: Path) -> list[Any]:
    found = compute(
        arithmetic(PIECE), f"{json.dumps(shapes)}.map(measure)", folder
    )
    assert isinstance(found, list)
    return found


def on_meta(config: GPTConfig) -> GPT:
    with torch.device("meta"):
        return GPT(config)


# vocabulary, context, width, layers, heads: all different, and odd
SMALL = [
    GPTConfig(V, C, D, L, H, qkv_bias=bias, tie_weights=tie)
    for V, C, D, L, H in [(97, 13, 24, 3, 4), (50, 33, 30, 2, 5)]
    for bias in (True, False)
    for tie in (True, False)
]


def test_the_piece_stands_alone() -> None:
    assert "{{" not in PIECE
    assert not re.search(r"https?:|\bsrc=|\bimport\b|fetch\(|[^-]\bid=", PIECE)
    assert not re.search(r"Math\.random|Date", PIECE)


def test_the_piece_without_scripts_points_to_its_twin() -> None:
    page = re.sub(r"<(style|script)>.*?</\1>", "", PIECE, flags=re.S)
    assert re.search(r'class="see-off">[^<]*table printed', page)
    assert 'class="see-on" hidden' in page


def test_the_known_shapes_are_the_librarys() -> None:
    for name, shape in KNOWN.items():
        if name != "gpt3":
            assert shape == dataclasses.asdict(GPTConfig.preset(name))
    assert sorted(KNOWN) == [
        "course", "gpt2-large", "gpt2-medium", "gpt2-small", "gpt2-xl", "gpt3",
    ]  # fmt: skip


@needs_js
def test_parameters_and_flops(tmp_path: Path) -> None:
    configs = [*SMALL, *(GPTConfig(**shape) for shape in KNOWN.values())]
    shapes = [dataclasses.asdict(config) for config in configs]
    for config, seen in zip(configs, measured(shapes, tmp_path)):
        model = on_meta(config)
        n = count_parameters(model)
        assert seen["parameters"] == n
        assert seen["flops"] == flops_per_token(config)
        assert seen["weights"] == sum(p.nbytes for p in model.parameters())
        assert seen["training"] == 16 * n


@needs_js
def test_parts_are_the_models_parts(tmp_path: Path) -> None:
    shapes = [dataclasses.asdict(config) for config in SMALL]
    for config, seen in zip(SMALL, measured(shapes, tmp_path)):
        sizes = dict.fromkeys(seen["parts"], 0)
        for name, weight in on_meta(config).named_parameters():
            part = next(
                part
                for key, part in {
                    "token_embedding": "token table",
                    "position_embedding": "positions",
                    "norm": "norms",
                    "attention": "attention",
                    "feed_forward": "feed-forward",
                    "head": "head",
                }.items()
                if key in name
            )
            sizes[part] += weight.numel()
        assert seen["parts"] == sizes


@needs_js
def test_training_holds_four_numbers_a_parameter(tmp_path: Path) -> None:
    config = SMALL[0]
    (seen,) = measured([dataclasses.asdict(config)], tmp_path)
    model = GPT(config)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    optimizer.step()
    held = 0
    for p in model.parameters():
        assert p.grad is not None
        state = optimizer.state[p]
        held += p.nbytes + p.grad.nbytes
        held += state["exp_avg"].nbytes + state["exp_avg_sq"].nbytes
    assert seen["training"] == held


def kept_bytes(model: GPT, ids: Tensor, targets: Tensor) -> int:
    """Bytes that the loss keeps for its backward pass, without weights."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
    assert loss.requires_grad
    return sum(s.nbytes() for start, s in kept.items() if start not in own)


@needs_js
def test_activations_and_cache(tmp_path: Path) -> None:
    shapes = [dataclasses.asdict(config) for config in SMALL]
    for config, seen in zip(SMALL, measured(shapes, tmp_path)):
        model = GPT(config)
        ids, targets = torch.randint(
            config.vocab_size, (2, 1, config.context_length)
        )
        one_more = 4  # the loss keeps its number of targets
        assert seen["activations"] + one_more == kept_bytes(
            model, ids, targets
        )
        cache = model.new_cache()
        model.features(ids, cache)
        held = 0
        for layer in cache:
            assert layer.keys is not None and layer.values is not None
            held += layer.keys.nbytes + layer.values.nbytes
        assert seen["cache"] == held


@needs_js
def test_a_refusal_is_the_librarys(tmp_path: Path) -> None:
    shape = KNOWN["gpt2-small"] | {"n_heads": 25}
    said, none = compute(
        arithmetic(PIECE),
        f"[{json.dumps(shape)}, {json.dumps(KNOWN['gpt3'])}].map(refuse)",
        tmp_path,
    )
    with pytest.raises(ValueError) as raised:
        GPTConfig(**shape)
    assert (said, none) == (f"ValueError: {raised.value}", "")


# The controls

MOVE = """
const at = (name) => document.querySelector(`[data-is="${name}"]`);
const send = (name) =>
  at(name).dispatchEvent(new Event("input", {bubbles: true}));
const set = (name, value) => { at(name).value = value; send(name); };
const rows = (name) => [...at(name).rows].map((row) =>
  [...row.cells].map((cell) => cell.textContent));
const state = () => [at("say").textContent, rows("parts").at(-1)[1],
  at("preset").value, at("results").style.display];
"""


@needs_chromium
def test_each_control_has_a_name(tmp_path: Path) -> None:
    script = """
    tell([...document.querySelectorAll("input, select")].map((e) =>
      e.labels?.[0]?.textContent.trim()));
    """
    controls = told(PIECE, script, tmp_path)
    assert len(controls) == 9 and all(controls)


@needs_chromium
def test_every_known_shape_can_be_chosen(tmp_path: Path) -> None:
    script = f"""
    const said = [];
    for (const name of {json.dumps(list(KNOWN))}) {{
      set("preset", name);
      said.push(state());
    }}
    tell(said);
    """
    for (name, shape), state in zip(
        KNOWN.items(), told(PIECE, MOVE + script, tmp_path)
    ):
        n = f"{count_parameters(on_meta(GPTConfig(**shape))):,}"
        assert state[0].startswith(f"{n} parameters")
        assert state[1:] == [n, name, ""]


@needs_chromium
def test_sliders_and_boxes_move_the_numbers(tmp_path: Path) -> None:
    script = """
    const said = [];
    set("n_layers", 0); said.push(state());
    at("tie_weights").click(); said.push(state());
    set("measure", "cache"); said.push(rows("bars"));
    set("n_heads", 9); said.push(state());
    tell(said);
    """
    one, untied, bars, refused = told(PIECE, MOVE + script, tmp_path)
    for tie, state in ((True, one), (False, untied)):
        config = GPTConfig.preset("gpt2-small", n_layers=1, tie_weights=tie)
        n = count_parameters(on_meta(config))
        assert state[1:] == [f"{n:,}", "yours", ""]
    assert [row[0] for row in bars] == [*KNOWN, "yours"]
    assert bars[1][2] == "72.0 MiB" and bars[-1][2] == "6.00 MiB"
    assert refused[0].startswith("ValueError: d_model=768 cannot be split")
    assert refused[3] == "none"
