"""Models in files: find them, fetch them, read what they hold.

Woven from chapters/appendix_k_weights.ipynb. Edit the chapter, then run `make
lib`.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pooch import HTTPDownloader, file_hash
from safetensors import SafetensorError, safe_open

from lib.data import (
    TIMEOUT,
    DataAltered,
    DataNotFound,
    Source,
    cache_folder,
    explain,
    folders,
)

REQUIRED: dict[str, tuple[object, ...]] = {  # what our GPT computes
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt"}


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of settings; ValueError, with its name, if it is broken."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no whole JSON file: {error}") from error


def weight_files(path: Path) -> list[Path]:
    """List the safetensors files of a model; ValueError for a pickle."""
    file = path / "model.safetensors" if path.is_dir() else path
    index = path / "model.safetensors.index.json"
    if file.is_file() and file.suffix not in PICKLES:
        return [file]
    if index.is_file():
        parts = read_json(index)["weight_map"].values()
        return [path / Path(part).name for part in sorted({*parts})]
    for other in (path, *path.glob("*")):
        if other.suffix in PICKLES:
            raise ValueError(
                f"{other} is a pickle: reading it may run any program, so it "
                "was not read. Expected model.safetensors"
            )
    raise DataNotFound(f"{path} holds no model.safetensors")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file; ValueError where it is none or not whole."""
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors: {error}") from error


class Entry(NamedTuple):
    """A tensor in a file: which file, and what its header says."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


def list_tensors(path: Path) -> Iterator[Entry]:
    """List the tensors in a model's files, without reading them."""
    for part in weight_files(path):
        with opened(part) as file:
            for key in file.keys():
                view = file.get_slice(key)
                shape = tuple(view.get_shape())
                yield Entry(part, key, shape, view.get_dtype())


MASKS = re.compile(r"transformer\.h\.\d+\.attn\.(masked_)?bias")


def list_weights(path: Path) -> dict[str, Entry]:
    """List a model's weights by their full names, without old masks."""
    named: dict[str, Entry] = {}
    for entry in list_tensors(path):
        name = entry.key
        if not name.startswith(("transformer.", "lm_head.")):
            name = f"transformer.{name}"
        if name in named:
            raise ValueError(f"{entry.file} holds {name} a second time")
        if not MASKS.fullmatch(name):
            named[name] = entry
    return named


def read_settings(path: Path) -> dict[str, Any]:
    """Read config.json; ValueError for what our GPT does not compute."""
    file = path / "config.json"
    if not file.is_file():
        return {}
    settings = read_json(file)
    for name, allowed in REQUIRED.items():
        if settings.get(name, allowed[0]) not in allowed:
            raise ValueError(
                f"{file} has {name}={settings[name]!r}, but this GPT "
                f"computes with {name}={allowed[0]!r}"
            )
    return settings


def gpt2_source(name: str, revision: str, sha256: str, about: str) -> Source:
    """Describe the weights of a GPT-2, as they were at one revision."""
    url = f"https://huggingface.co/openai-community/{name}/resolve/{revision}"
    file = f"{name}.safetensors"
    return Source(file, sha256, "MIT", about, f"{url}/model.safetensors")


MODELS = {
    "gpt2": gpt2_source(
        "gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
        "124 million parameters, 0.55 GB",
    ),
    "gpt2-medium": gpt2_source(
        "gpt2-medium",
        "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
        "fc5a354a19255ad494f3d71549390baca1ccf61d1d822b9408971705c687c9cd",
        "355 million parameters, 1.52 GB",
    ),
    "gpt2-large": gpt2_source(
        "gpt2-large",
        "32b71b12589c2f8d625668d2335a01cac3249519",
        "5f47f3e12f91cd33b662ce7e433b6150ad5512b5884a2cee961b50e9c3bbebce",
        "774 million parameters, 3.25 GB",
    ),
    "gpt2-xl": gpt2_source(
        "gpt2-xl",
        "15ea56dee5df4983c59b2538573817e1667135e2",
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
        "1,558 million parameters, 6.43 GB",
    ),
}


def check_file(path: Path, source: Source) -> Path:
    """Return path if its file has the SHA-256 of a source."""
    found = file_hash(path)
    if found != source.sha256:
        raise DataAltered(
            f"{path} is altered or incomplete: its SHA-256 is {found}, "
            f"expected {source.sha256}"
        )
    return path


def fetch(source: Source) -> Path:
    """Download into the cache, going on where an earlier try stopped.

    A file that comes out wrong is thrown away, and fetched once more if it
    began with an older part: not every server heeds Range.
    """
    target = cache_folder() / source.file
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    start = part.stat().st_size if part.exists() else 0
    if not start or file_hash(part) != source.sha256:
        ask = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"}
        get = HTTPDownloader(True, 2**20, timeout=TIMEOUT, headers=ask)
        try:
            with part.open("ab") as file:
                get(source.url, file, None)
        except OSError as error:
            if not str(error).startswith("416"):  # the part is too long
                raise
    try:
        check_file(part, source)
    except DataAltered:
        part.unlink()
        if not start:
            raise
        return fetch(source)
    os.replace(part, target)
    return target


def check_sums(folder: Path) -> Path:
    """Return a folder; its files must be as its SHA256SUMS, if any, says."""
    sums = folder / "SHA256SUMS"
    lines = sums.read_text("utf-8").splitlines() if sums.is_file() else []
    for line in lines:
        digest, _, name = line.partition("  ")
        if not (folder / name).is_file():
            raise DataAltered(
                f"{sums} lists {line!r}: expected a digest, two spaces and "
                "the name of a file beside it"
            )
        check_file(folder / name, Source(name, digest, "", ""))
    return folder


def find_model(name_or_path: str | Path) -> Path:
    """Return the file or folder that a path or a name stands for.

    A path first; then a folder of this name in $COURSE_DATA, the cache, or
    the book's data/models; then a file of `MODELS`, downloaded if need be.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if path.exists():
        return path
    own = folders(Source("", "", "", ""))
    book = folders(Source("", "", "", "", bundled=True))
    places = [*own, *(data / "models" for data in book)]
    for place in places:
        if (place / name).is_dir():
            return check_sums(place / name)
    if name not in MODELS:
        raise DataNotFound(
            f"no model {name!r}: it is no path, and no folder in "
            f"{', '.join(map(str, places[: len(own) + 1]))}. Names that can "
            f"be downloaded: {', '.join(MODELS)}"
        )
    source = MODELS[name]
    for place in own:
        if (place / source.file).is_file():
            return check_file(place / source.file, source)
    try:
        return fetch(source)
    except OSError as error:
        raise DataNotFound(explain(source, error)) from error
