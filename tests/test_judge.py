"""The judge, against real servers: good, slow, talkative, broken, absent."""

import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.chat import served
from lib.instruct import exact_match, judge
from lib.judge import NoJudge, Verdict, grading_prompt, read_score

RECORDS = [
    {"instruction": "Add.", "input": "1 + 1", "output": "2", "response": "2"},
    {"instruction": "Add.", "input": "1 + 2", "output": "3", "response": "5"},
    {"instruction": "Say tea.", "input": "", "output": "tea", "response": ""},
]
FAST = {"wait": 0.01, "timeout": 5.0}


def clerk(messages):
    """Grade by exact match: a judge that is right by construction."""
    asked = messages[-1]["content"]
    right = asked.split("A right response: ")[1].split("\n")[0]
    given = asked.split("The response to grade: ")[1].split("\n")[0]
    yield f"I looked at it for 3 minutes. Score: {5 if right == given else 1}"


@contextmanager
def server_of(reply):
    """Run a server whose POST is a function of handler and call number."""
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            calls.append((self.path, json.loads(self.rfile.read(length))))
            with suppress(BrokenPipeError, ConnectionResetError):
                reply(self, len(calls))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", calls
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(handler, body, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def say(handler, text):
    message = {"role": "assistant", "content": text}
    send(handler, json.dumps({"choices": [{"message": message}]}).encode())


# A server that does as it should


def test_a_good_judge():
    with served(clerk) as endpoint:
        verdicts = judge(RECORDS, endpoint, "clerk", **FAST)
    assert [v.score for v in verdicts] == [5, 1, 1]
    expected = [5 if exact_match(r["response"], r) else 1 for r in RECORDS]
    assert [v.score for v in verdicts] == expected
    assert all("3 minutes" in v.reply and not v.problem for v in verdicts)


def test_what_is_sent():
    with server_of(lambda h, n: say(h, "4/5")) as (endpoint, calls):
        judge(RECORDS[:1], endpoint + "/", "some-model", max_tokens=9, **FAST)
    (path, body) = calls[0]
    assert path == "/v1/chat/completions"
    assert body["model"] == "some-model" and body["max_tokens"] == 9
    assert body["temperature"] == 0
    (message,) = body["messages"]
    assert message["role"] == "user"
    for text in RECORDS[0].values():
        assert text in message["content"]


def test_key_is_sent():
    keys = []

    def reply(handler, n):
        keys.append(handler.headers["Authorization"])
        say(handler, "Score: 2")

    with server_of(reply) as (endpoint, _):
        judge(RECORDS[:1], endpoint, "m", key="secret", **FAST)
        judge(RECORDS[:1], endpoint, "m", **FAST)
    assert keys == ["Bearer secret", None]


# Servers that do not


def test_slow_server():
    with server_of(lambda h, n: time.sleep(1.5)) as (endpoint, calls):
        begin = time.monotonic()
        options = {"timeout": 0.2, "retries": 1, "wait": 0.01}
        (verdict,) = judge(RECORDS[:1], endpoint, "m", **options)
        assert time.monotonic() - begin < 1.4
    assert len(calls) == 2
    assert verdict.score is None and "Timeout" in verdict.problem


def test_server_that_trickles():
    """Each byte comes in time, but there is no end to them."""

    def reply(handler, n):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.05)

    with server_of(reply) as (endpoint, _):
        begin = time.monotonic()
        options = {"timeout": 0.3, "retries": 0}
        (verdict,) = judge(RECORDS[:1], endpoint, "m", **options)
        assert time.monotonic() - begin < 2
    assert verdict.score is None and "no end" in verdict.problem


def test_retries_until_it_is_good():
    def reply(handler, n):
        if n == 1:
            send(handler, b"overloaded", 503)
        elif n == 2:
            say(handler, "Let me think about that.")
        else:
            say(handler, "Score: 3")

    with server_of(reply) as (endpoint, calls):
        (verdict,) = judge(RECORDS[:1], endpoint, "m", **FAST)
    assert verdict == Verdict(3, "Score: 3") and len(calls) == 3


@pytest.mark.parametrize(
    "body, problem",
    [
        (b"<html>not found</html>", "JSONDecodeError"),
        (b'{"error": "busy"}', "lacks choices"),
        (b'{"choices": []}', "lacks choices"),
        (b"[1, 2]", "lacks choices"),
        (b"\xff\xfe\x00", "Error"),
        (b'{"choices": [{"message": {"content": null}}]}', "no grade"),
        (b'{"choices": [{"message": {"content": "Grand!"}}]}', "no grade"),
    ],
)
def test_nonsense(body, problem):
    with server_of(lambda h, n: send(h, body)) as (endpoint, calls):
        verdicts = judge(RECORDS[:2], endpoint, "m", retries=1, **FAST)
    assert [v.score for v in verdicts] == [None, None]
    assert all(problem in v.problem for v in verdicts) and len(calls) == 4


def test_server_that_hangs_up():
    with server_of(lambda h, n: None) as (endpoint, calls):
        (verdict,) = judge(RECORDS[:1], endpoint, "m", retries=1, **FAST)
    assert verdict.score is None and "Disconnected" in verdict.problem
    assert len(calls) == 2


def test_server_that_speaks_no_http():
    with server_of(lambda h, n: h.wfile.write(b"what?\r\n\r\n")) as (e, calls):
        (verdict,) = judge(RECORDS[:1], e, "m", retries=1, **FAST)
    assert verdict.score is None and "BadStatusLine" in verdict.problem
    assert len(calls) == 2


def test_what_was_graded_is_kept_when_the_server_refuses():
    def reply(handler, n):
        if n == 1:
            say(handler, "Score: 4")
        else:
            send(handler, b"{}", 404)

    with server_of(reply) as (endpoint, _):
        first, second = judge(RECORDS[:2], endpoint, "m", **FAST)
    assert first.score == 4
    assert second.score is None and "status 404" in second.problem


def test_refusal_is_not_repeated():
    body = b'{"error": {"message": "model \'m\' not found"}}'
    with (
        server_of(lambda h, n: send(h, body, 404)) as (endpoint, calls),
        pytest.raises(NoJudge, match=r"404.*model 'm' not found"),
    ):
        judge(RECORDS, endpoint, "m", **FAST)
    assert len(calls) == 1


def test_no_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}/v1"
    with pytest.raises(NoJudge) as caught:
        judge(RECORDS, endpoint, "m", **FAST)
    said = str(caught.value)
    assert said.startswith(f"no server at {endpoint}")
    for advice in ("ollama serve", "exact_match"):
        assert advice in said


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with served(clerk) as endpoint:
        assert judge(RECORDS[:1], endpoint, "clerk", **FAST)[0].score == 5


def test_prompt_needs_a_response():
    with pytest.raises(ValueError, match=r"no 'response' to judge, only 'ins"):
        grading_prompt({"instruction": "Go.", "output": "No."})
    said = grading_prompt(RECORDS[2])
    assert "Input: (none)" in said and "from 1 to 5" in said
    odd = RECORDS[0] | {"response": "{instruction} {0}"}
    assert "{instruction} {0}" in grading_prompt(odd)


# Grades in chatter


@pytest.mark.parametrize(
    "reply, score",
    [
        ("Score: 4", 4),
        ("score:4.", 4),
        ("**Score:** 3", 3),
        ("**Score: 2**", 2),
        ('{"score": 5, "reason": "right"}', 5),
        ("Score = 1", 1),
        ("The score is 2.", 2),
        ("I give it a rating of 4.", 4),
        ("Grade: 3/5", 3),
        ("Score: 4 out of 5", 4),
        ("I would say 4/5, well done", 4),
        ("This deserves 2 out of 5.", 2),
        ("It is right.\n5", 5),
        ("5", 5),
        (" [4] \n", 4),
        ("Score: 4.0", 4),
        ("Two of 3 words are right.\n\nScore: 3", 3),
        ("A score of 1 would be harsh. Score: 3", 3),
        ("<think>Score: 1? no, score: 2</think>Score: 4", 4),
        ("On a score from 1 to 5, I say\nScore: 2", 2),
        ("", None),
        ("Excellent!", None),
        ("A score of 1 would be harsh, so I say 3 out of 5.", 3),
        ("Score: 4/10", None),
        ("a score of 10 to 20", None),
        ("Score: 7", None),
        ("Score: 0", None),
        ("Score: -3", None),
        ("Score: 4.5", None),
        ("3 words are right, 2 are wrong", None),
        ("7/10", None),
        ("<think>Score: 3 or so, let me see", None),
        ("scores vary", None),
    ],
)
def test_read_score(reply, score):
    assert read_score(reply) == score


@given(st.text(), st.integers(1, 5))
def test_last_line_counts(chatter, score):
    assert read_score(f"{chatter}</think>\nScore: {score}") == score
    found = read_score(chatter)
    assert found is None or 1 <= found <= 5


def test_other_scales():
    assert read_score("Score: 85", 0, 100) == 85
    assert read_score("9/10", 1, 10) == 9
    assert read_score("9/10", 1, 5) is None
