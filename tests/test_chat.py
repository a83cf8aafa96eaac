"""Talking with a model: in the terminal, and over HTTP."""

import io
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch

from lib.chat import answerer, main, pieces, read_messages, served, talk
from lib.gpt import GPT, GPTConfig
from lib.instruct import make_batches, respond
from lib.tokenizer import BPETokenizer
from lib.train import TrainConfig, train
from lib.weights import save_pretrained

ROOT = Path(__file__).parents[1]
RECORDS = [
    {"instruction": "Drink?", "input": "", "output": "caf\u00e9 au lait"},
    {"instruction": "Name it.", "input": "", "output": "\U0001f980 crab"},
]


@pytest.fixture(scope="module")
def tuned():
    text = "<|user|> Drink? <|assistant|> Name it." * 9
    tokenizer = BPETokenizer.train(text, 275, ["<|endoftext|>"]).to_tiktoken()
    torch.manual_seed(0)
    model = GPT(GPTConfig(tokenizer.n_vocab, 64, 24, 1, 2))
    batches = make_batches(RECORDS, tokenizer, 2, template="chat")
    train(model, batches, batches, TrainConfig(120, 1e-2, eval_every=120))
    return model, tokenizer


@pytest.fixture(scope="module")
def folder(tuned, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tuned"
    save_pretrained(tuned[0], path, tuned[1])
    return path


def test_pieces_are_the_response(tuned):
    for record in RECORDS:
        said = [*pieces(*tuned, record["instruction"])]
        assert "".join(said) == record["output"] and len(said) > 1
        assert "\ufffd" not in "".join(said)  # no half characters
        assert respond(*tuned, record, template="chat") == record["output"]
    assert len("".join(pieces(*tuned, "Drink?", max_new_tokens=2))) < 5


def test_a_broken_character_is_shown_as_such(tuned):
    model, tokenizer = tuned
    whole = tokenizer.encode_ordinary(" \U0001f980")
    cut = len(whole) - 1
    said = [*pieces(model, tokenizer, "Name it.", max_new_tokens=cut)]
    assert "".join(said) == "\ufffd"


def test_talk():
    said = []
    talk(
        lambda m: [m[-1]["content"], "!"],
        ["hi\n", "  \n", " ho "],
        said.append,
    )
    assert "".join(said) == "hi!\nho!\n"


def test_ctrl_c_cuts_an_answer_short():
    def answer(messages):
        yield "one"
        if messages[-1]["content"] == "stop":
            raise KeyboardInterrupt
        yield " two"

    said = []
    talk(answer, ["stop", "go"], said.append)
    assert "".join(said) == "one ...\none two\n"


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(url, data, timeout=30) as reply:
        return reply.headers["Content-Type"], reply.read().decode()


def test_server(tuned):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Drink?"},
    ]
    with served(answerer(*tuned)) as endpoint:
        _, models = ask(endpoint + "/models")
        kind, whole = ask(
            endpoint + "/chat/completions", {"messages": messages}
        )
        asked = {"messages": messages, "stream": True}
        stream_kind, parts = ask(endpoint + "/chat/completions", asked)
    assert json.loads(models)["data"][0]["object"] == "model"
    (choice,) = json.loads(whole)["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": "caf\u00e9 au lait",
    }
    assert choice["finish_reason"] == "stop" and kind == "application/json"
    events = [
        line.removeprefix("data: ") for line in parts.split("\n\n") if line
    ]
    assert events.pop() == "[DONE]" and stream_kind == "text/event-stream"
    deltas = [json.loads(e)["choices"][0] for e in events]
    assert (
        "".join(d["delta"]["content"] for d in deltas) == "caf\u00e9 au lait"
    )
    assert [d["finish_reason"] for d in deltas][-2:] == [None, "stop"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"messages": []},
        {"messages": ["hi"]},
        {"messages": [{"role": "u"}]},
    ],
)
def test_server_refuses(body):
    with served(lambda messages: ["never"]) as endpoint:
        with pytest.raises(urllib.error.HTTPError) as caught:
            ask(endpoint + "/chat/completions", body)
        assert caught.value.code == 400
        said = json.loads(caught.value.read())["error"]["message"]
        caught.value.close()
        assert said.startswith("no chat request")
        for path in ("/nothing", "/embeddings"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                ask(endpoint + path, body)
            assert caught.value.code == 404
            caught.value.close()


def test_read_messages():
    asked = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    assert read_messages(json.dumps(asked).encode()) == (
        asked["messages"],
        True,
    )
    with pytest.raises(ValueError, match="no chat request"):
        read_messages(b"{")


# From the shell


def run(*words, typed=""):
    return subprocess.run(
        [sys.executable, "-m", "lib.instruct", *map(str, words)],
        input=typed,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=120,
        encoding="utf-8",
    )


def test_chat_from_the_shell(folder):
    done = run("chat", "--model", folder, typed="Drink?\n\nName it.\n")
    assert done.stderr == "" and done.returncode == 0
    assert done.stdout == "caf\u00e9 au lait\n\U0001f980 crab\n"


def test_no_such_model():
    done = run("chat", "--model", "no-such")
    assert done.returncode == 2 and "no model 'no-such'" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_from_the_shell(folder):
    words = ["-m", "lib.instruct", "serve", "--port", "0", "--model", folder]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout
        said = process.stdout.readline()
        endpoint = said.split()[-1]
        body = {"messages": [{"role": "user", "content": "Drink?"}]}
        _, reply = ask(endpoint + "/chat/completions", body)
        assert "au lait" in reply
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_chat_within(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Drink?\n"))
    assert main(["chat", "--model", str(folder)]) == 0
    assert capsys.readouterr().out == "caf\u00e9 au lait\n"
