"""Put the book's own models on a page that runs them.

The directive `{playground}` becomes chapters/see/playground.html with its
styles and scripts. The models go, a script each, into _static/models beside
the pages: a page opened from disk may load a script, but fetch no file.
"""

import base64
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import tiktoken
import torch
from docutils import nodes
from safetensors import safe_open
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from torch import Tensor

from lib.data import atomic_path
from lib.difference import FILE, digest
from lib.gpt import GPT
from lib.hub import find_model
from lib.instruct import format_prompt
from lib.vocab import as_bpe
from lib.weights import load_pretrained

SEE = Path(__file__).parents[1] / "chapters" / "see"
BASE, TUNED = "course", "course-instruct"


def arithmetic(page: str) -> str:
    """Return the part of a piece's script that needs no page."""
    return page.split("/* arithmetic */")[1].split("/* page */")[0]


def compose(models: str) -> str:
    """Return the playground as HTML; models: the folder of their scripts."""
    read = {path.name: path.read_text("utf-8") for path in SEE.iterdir()}
    page = read["playground.html"]
    for name in ("see.css", "02_bpe.js", "gpt.js"):
        page = page.replace("{{" + name + "}}", read[name])
    page = page.replace("{{sampling}}", arithmetic(read["05_sampler.html"]))
    return page.replace("{{MODELS}}", models)


def in_halves(tensors: dict[str, Tensor]) -> str:
    """Write 16-bit tensors as safetensors, in base64."""
    return base64.b64encode(safetensors.torch.save(tensors)).decode()


def pack(model: GPT, tokenizer: tiktoken.Encoding) -> dict[str, Any]:
    """Return a model and its tokenizer as the page reads them.

    Raises ValueError where 16 bits do not hold a weight, or where the first
    256 tokens are not the bytes in order.
    """
    bpe, config = as_bpe(tokenizer), model.config
    weights = {n: w.detach().half() for n, w in model.named_parameters()}
    for name, weight in model.named_parameters():
        if not torch.equal(weights[name].to(weight), weight):
            raise ValueError(f"{name} does not fit into 16 bits a weight")
    if bpe.byte_order != bytes(range(256)):
        raise ValueError("the first 256 tokens are not the bytes in order")
    ids = {token: n for n, token in enumerate(bpe.vocabulary)}
    return {
        "config": {
            "context_length": config.context_length,
            "d_model": config.d_model,
            "n_layers": config.n_layers,
            "n_heads": config.n_heads,
        },
        "merges": [ids[part] for pair in bpe.merges for part in pair],
        "end": tokenizer.eot_token,
        "weights": in_halves(weights),
    }


def pack_tuned(name: str) -> dict[str, Any]:
    """Return what a tuning added to its base, and how it is asked."""
    file = find_model(name) / FILE
    with safe_open(file, "pt") as stored:
        about = stored.metadata()
        gaps = {key: stored.get_tensor(key) for key in stored.keys()}
    if (found := digest(about["base"])) != about["sha256"]:
        raise ValueError(
            f"{name} belongs to {about['base']} with SHA-256 "
            f"{about['sha256']}, but that has {found}"
        )
    prompt = format_prompt({"instruction": "\0"}, "chat")
    return {
        "base": about["base"],
        "around": prompt.split("\0"),
        "weights": in_halves(gaps),
    }


def write_model(folder: Path, name: str, held: dict[str, Any]) -> None:
    """Write a model as the script that hands it to the page."""
    folder.mkdir(parents=True, exist_ok=True)
    key, value = json.dumps(name), json.dumps(held)
    with atomic_path(folder / f"{name}.js") as part:
        part.write_text(
            f"(globalThis.heldModels ??= {{}})[{key}] = {value};\n", "utf-8"
        )


def write_models(app: Sphinx, error: Exception | None) -> None:
    """Leave the models beside the pages, once these are built."""
    if error or app.builder.format != "html":
        return
    folder = Path(app.outdir, "_static", "models")
    write_model(folder, BASE, pack(*load_pretrained(BASE)))
    write_model(folder, TUNED, pack_tuned(TUNED))


class Playground(SphinxDirective):
    """`{playground}`: the page's own piece, without arguments."""

    def run(self) -> list[nodes.Node]:
        """Return the piece, its scripts' folder as seen from this page."""
        self.env.note_dependency(str(SEE / "playground.html"))
        self.env.note_dependency(str(SEE / "gpt.js"))
        up = "../" * self.env.docname.count("/")
        page = compose(f"{up}_static/models")
        return [nodes.raw("", page, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_directive("playground", Playground)
    app.connect("build-finished", write_models)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
