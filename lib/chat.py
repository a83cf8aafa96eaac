"""Talk with a tuned model: in the terminal, or over HTTP.

Woven from chapters/07_instructions.ipynb. Edit the chapter, then run `make
lib`.
"""

import argparse
import codecs
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from typing import Any

import tiktoken
import torch

from lib.difference import load_tuned
from lib.gpt import GPT
from lib.instruct import TEMPLATES, format_prompt
from lib.sample import stream

Message = Mapping[str, str]  # role and content
Answer = Callable[[Sequence[Message]], Iterable[str]]


def read_messages(body: bytes) -> tuple[list[Message], bool]:
    """Read a request: its messages, and whether to stream the answer."""
    try:
        asked = json.loads(body)
        messages: list[Message] = [
            {"role": str(m["role"]), "content": str(m["content"])}
            for m in asked["messages"]
        ]
        streamed = bool(asked.get("stream", False))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no chat request: {error!r}") from None
    if not messages:
        raise ValueError("no chat request: messages is empty")
    return messages, streamed


def choice(text: str, streamed: bool, done: bool) -> dict[str, Any]:
    """Wrap a text, or a piece of it, as the protocol has it."""
    kind = "chat.completion.chunk" if streamed else "chat.completion"
    message = {"content": text} | ({} if streamed else {"role": "assistant"})
    part = {"index": 0, "delta" if streamed else "message": message}
    part["finish_reason"] = "stop" if done else None
    return {"object": kind, "choices": [part]}


class JSONHandler(BaseHTTPRequestHandler):
    """Sends JSON, as a whole or as a row of events."""

    def log_message(self, format: str, *args: Any) -> None:
        """Keep still."""

    def send(self, status: int, content: Mapping[str, Any]) -> None:
        """Send JSON."""
        body = json.dumps(content).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_events(self, contents: Iterable[Mapping[str, Any]]) -> None:
        """Send each content as an event of its own, as it comes."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for content in contents:
            self.event(json.dumps(content))
        self.event("[DONE]")

    def event(self, data: str) -> None:
        """Send one event."""
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()


class ChatHandler(JSONHandler):
    """Speaks the part of OpenAI's protocol that a chat needs."""

    answer: Answer
    model = "course"

    def do_GET(self) -> None:
        """List the one model that there is."""
        if self.path.rstrip("/") != "/v1/models":
            self.send(404, {"error": {"message": f"no {self.path}"}})
            return
        one = {"id": self.model, "object": "model"}
        self.send(200, {"object": "list", "data": [one]})

    def do_POST(self) -> None:
        """Answer a chat, whole or piece by piece."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.rstrip("/") != "/v1/chat/completions":
            self.send(404, {"error": {"message": f"no {self.path}"}})
            return
        try:
            messages, streamed = read_messages(body)
        except ValueError as error:
            self.send(400, {"error": {"message": str(error)}})
            return
        answer = type(self).answer(messages)
        if streamed:
            pieces = (choice(piece, True, False) for piece in answer)
            self.send_events(chain(pieces, [choice("", True, True)]))
        else:
            whole = choice("".join(answer), False, True)
            self.send(200, whole | {"model": self.model})


def make_server(
    answer: Answer, host: str = "127.0.0.1", port: int = 0
) -> ThreadingHTTPServer:
    """Make a server whose chats a function answers; port 0: any free one.

    Its address is http://HOST:PORT/v1, with the port of `server_port`.
    """
    handler = type("Handler", (ChatHandler,), {"answer": staticmethod(answer)})
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    return server


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """Serve in the background while the block runs; yield the endpoint."""
    server = make_server(answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pieces(
    model: GPT,
    tokenizer: tiktoken.Encoding,
    instruction: str,
    *,
    template: str = "chat",
    max_new_tokens: int = 60,
    **sampling: Any,
) -> Iterator[str]:
    """Yield a response piece by piece, as it is written.

    A character whose bytes are split over tokens waits until it is whole.
    """
    prompt = format_prompt({"instruction": instruction}, template)
    device = next(model.parameters()).device
    ids = torch.tensor([tokenizer.encode_ordinary(prompt)], device=device)
    end = tokenizer.eot_token
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = False
    new = stream(model, ids, max_new_tokens, stop_id=end, **sampling)
    for step in new:
        if (token := int(step)) == end:
            break
        text = decoder.decode(tokenizer.decode_single_token_bytes(token))
        text = text if begun else text.lstrip()
        begun |= bool(text)
        if text:
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest


def answerer(
    model: GPT, tokenizer: tiktoken.Encoding, **options: Any
) -> Answer:
    """Answer the last message of a conversation; options as in `pieces`.

    One question at a time: the model's memory is not to be shared.
    """
    lock = threading.Lock()

    def answer(messages: Sequence[Message]) -> Iterator[str]:
        with lock:
            yield from pieces(
                model, tokenizer, messages[-1]["content"], **options
            )

    return answer


def talk(
    answer: Answer, lines: Iterable[str], say: Callable[[str], object]
) -> None:
    """Answer line after line; Ctrl-C cuts an answer short."""
    for line in lines:
        if not line.strip():
            continue
        try:
            for piece in answer([{"role": "user", "content": line.strip()}]):
                say(piece)
        except KeyboardInterrupt:
            say(" ...")
        say("\n")


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read what the shell was told."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.instruct",
        description="Talk with a tuned model, or serve it to other programs.",
    )
    parser.add_argument("command", choices=["chat", "serve"])
    parser.add_argument("--model", default="course-instruct", metavar="NAME")
    parser.add_argument("--template", default="chat", choices=TEMPLATES)
    parser.add_argument("--max-new-tokens", type=int, default=60)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    return parser.parse_args(arguments)


def prompted() -> Iterator[str]:
    """Yield what is typed, line by line, until the end of the input."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Chat or serve; return the exit status."""
    options = read_options(arguments)
    try:
        model, tokenizer = load_tuned(options.model)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    answer = answerer(
        model,
        tokenizer,
        template=options.template,
        max_new_tokens=options.max_new_tokens,
        temperature=options.temperature,
    )
    try:
        if options.command == "chat":
            talk(answer, prompted(), partial(print, end="", flush=True))
            return 0
        with make_server(answer, options.host, options.port) as server:
            where = f"http://{options.host}:{server.server_port}/v1"
            print(f"serving {options.model} at {where}", flush=True)
            server.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0
