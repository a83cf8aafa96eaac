"""Settings of a run: read from TOML, checked key by key.

Woven from chapters/appendix_d_training.ipynb. Edit the chapter, then run `make
lib`.
"""

import dataclasses
import difflib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import tomli

from lib.train import TrainConfig


@dataclass(frozen=True)
class DataConfig:
    """What to read: names of data sets, or text files beside the settings.

    tokenizer: "gpt2", or a file of BPETokenizer, made from the texts with
    vocab_size entries where it does not exist. batch_size counts windows a
    batch over all processes.
    """

    texts: list[str]
    held_out: list[str]
    tokenizer: str
    batch_size: int
    vocab_size: int = 0
    folder: str = "tokens"


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the model; the vocabulary is the tokenizer's."""

    context_length: int
    d_model: int
    n_layers: int
    n_heads: int
    dropout: float = 0.0
    qkv_bias: bool = True
    tie_weights: bool = True


CHOICES = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("float32", "bfloat16"),
    "parallel": ("ddp", "fsdp"),
}


@dataclass(frozen=True)
class RunConfig:
    """Where to run, and where results go; threads: 0 leaves the choice.

    start: a folder of load_pretrained to go on from, in place of weights
    drawn from the seed.
    """

    folder: str = "run"
    start: str = ""
    device: str = "auto"
    precision: str = "float32"
    compile: bool = False
    parallel: str = "ddp"
    threads: int = 0

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(
                    f"{name} is {value!r}, but must be one of "
                    + ", ".join(choices)
                )
        if self.threads < 0:
            raise ValueError(
                f"threads is {self.threads}, but must be 0 or more"
            )


@dataclass(frozen=True)
class Config:
    """A whole run, as read from a TOML file: one table a part."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    run: RunConfig = dataclasses.field(default_factory=RunConfig)


Settings = TypeVar("Settings")


def fill(cls: type[Settings], table: object, where: str) -> Settings:
    """Make a dataclass from a table; ValueError names what is wrong."""
    if not isinstance(table, dict):
        raise ValueError(f"{where} is {table!r}, but must be a table")
    kinds = typing.get_type_hints(cls)
    if wrong := table.keys() - kinds.keys():
        raise ValueError(f"{where}: {unknown(min(wrong), [*kinds])}")
    if missing := [*(required(cls) - table.keys())]:
        raise ValueError(f"{where}: {min(missing)} is missing")
    values = {
        key: convert(value, kinds[key], f"{where}.{key}".lstrip("."))
        for key, value in table.items()
    }
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def unknown(key: str, known: list[str]) -> str:
    """Say that there is no such key, and which one may be meant."""
    near = difflib.get_close_matches(key, known, n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    return f"unknown key {key!r}{guess}; known: " + ", ".join(known)


def required(cls: type) -> set[str]:
    """Return the fields of a dataclass that have no default."""
    none = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(cls)
        if field.default is none and field.default_factory is none
    }


def convert(value: Any, kind: Any, where: str) -> Any:
    """Return a value of TOML as the kind that a setting wants."""
    if dataclasses.is_dataclass(kind):
        return fill(cast(type, kind), value, where)
    if kind == list[str]:
        ok = isinstance(value, list) and all(type(v) is str for v in value)
        ok = ok and len(value) > 0
    elif kind is float:
        ok = type(value) in (int, float)
    else:
        ok = type(value) is kind
    if not ok:
        name = "a list of str" if kind == list[str] else kind.__name__
        raise ValueError(f"{where} is {value!r}, but must be {name}")
    return float(value) if kind is float else value


def read_config(path: str | Path) -> Config:
    """Read a run's settings; ValueError names the file and what is wrong."""
    try:
        table = tomli.loads(Path(path).read_text(encoding="utf-8"))
        return fill(Config, table, "")
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(': ')}") from None
