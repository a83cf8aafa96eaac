"""A judge of responses: a language model behind an OpenAI-like server.

Woven from chapters/07_instructions.ipynb. Edit the chapter, then run `make
lib`.
"""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

LOW, HIGH = 1, 5

RUBRIC = """You grade a response to an instruction.

5: right and complete, and nothing besides
4: right, with small flaws of form
3: partly right
2: on the subject, but wrong
1: not on the subject, empty or unreadable

Instruction: {instruction}
Input: {input}
A right response: {output}

The response to grade: {response}

Say in one sentence what is right or wrong. Then end with a line of the form
Score: N
where N is a whole number from 1 to 5."""


def grading_prompt(record: Mapping[str, Any], rubric: str = RUBRIC) -> str:
    """Ask for a grade of a record's `response`."""
    if "response" not in record:
        raise ValueError(
            "the record has no 'response' to judge, only "
            + ", ".join(map(repr, record))
        )
    fields = {"input": "", **record}
    fields["input"] = fields["input"] or "(none)"
    return rubric.format_map(fields)


GRADE = re.compile(
    r"""(?:score|rating|grade|points)\W{0,6}?(?:is|of)?\W{0,6}?
        (-?\d+(?:\.\d+)?)(?:\s*(?:/|out\ of)\s*(\d+)\b)?
        (?!\d|\s*(?:to|-|\u2013)\s*\d)
    | (-?\d+(?:\.\d+)?)\s*(?:/|out\ of)\s*(\d+)\b
    | ^\W*(-?\d+(?:\.\d+)?)\W*$""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)


def read_score(reply: str, low: int = LOW, high: int = HIGH) -> int | None:
    """Find the grade in what a judge said; None if there is none to trust.

    Looked for are "score: 4" and the like, "4/5" and "4 out of 5", and a
    line that holds a number only. The last one counts, whichever its form.
    A number off the scale, of another scale, or between two grades, is no
    grade.
    """
    found = [*GRADE.finditer(THOUGHT.sub(" ", reply))]
    if not found:
        return None
    marked, top, share, whole, alone = found[-1].groups()
    grade = float(marked or share or alone)
    if int(top or whole or high) != high or not grade.is_integer():
        return None
    return int(grade) if low <= grade <= high else None


class NoJudge(ConnectionError):
    """No server answers at an endpoint, or it refuses what is asked."""


@dataclass(frozen=True)
class Verdict:
    """A grade, or None and what went wrong; and all that the judge said."""

    score: int | None
    reply: str = ""
    problem: str = ""


MOST_BYTES = 1_000_000  # that a reply may have


def post(
    url: str, body: Mapping[str, Any], timeout: float, key: str = ""
) -> Any:
    """Send JSON, return the JSON that comes back.

    TimeoutError where nothing comes for `timeout` seconds, or still comes
    after them.
    """
    deadline = time.monotonic() + timeout
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(
        url, json.dumps(body).encode("utf-8"), headers
    )
    local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    proxies = [urllib.request.ProxyHandler({})] if local else []
    opener = urllib.request.build_opener(*proxies)
    with opener.open(request, timeout=timeout) as answer:
        content = b""
        while piece := answer.read1(65536):
            content += piece
            if time.monotonic() > deadline or len(content) > MOST_BYTES:
                raise TimeoutError(f"{len(content)} bytes and no end")
    return json.loads(content)


def complete(
    endpoint: str,
    model: str,
    prompt: str,
    *,
    timeout: float = 60.0,
    max_tokens: int = 200,
    key: str = "",
) -> str:
    """Let a model behind an endpoint reply to a prompt.

    Raises NoJudge where nobody answers or the request is refused,
    OSError, ValueError or HTTPException where another try may help.
    """
    url = endpoint.rstrip("/") + "/chat/completions"
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": max_tokens,
    }
    try:
        reply = post(url, body, timeout, key)
        return str(reply["choices"][0]["message"]["content"] or "")
    except urllib.error.HTTPError as error:
        said = error.read(500).decode("utf-8", "replace").strip()
        if error.code == 429 or error.code >= 500:
            raise OSError(f"status {error.code}: {said}") from error
        raise NoJudge(
            f"{url} refuses the request: status {error.code}: {said}"
        ) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise error.reason from error
        raise NoJudge(f"no server at {endpoint}: {error.reason}") from error
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"the reply lacks choices: {error!r}") from error


def grade(
    prompt: str,
    endpoint: str,
    model: str,
    *,
    retries: int = 2,
    wait: float = 0.5,
    **options: Any,
) -> Verdict:
    """Ask for a grade until one can be read, at most 1 + retries times.

    The pause before each further try is twice the one before. Raises
    NoJudge if there is no server to ask.
    """
    verdict = Verdict(None)
    for attempt in range(retries + 1):
        if attempt:
            time.sleep(wait * 2 ** (attempt - 1))
        try:
            reply = complete(endpoint, model, prompt, **options)
        except NoJudge:
            raise
        except (OSError, ValueError, HTTPException) as error:
            verdict = Verdict(None, "", f"{type(error).__name__}: {error}")
            continue
        score = read_score(reply)
        if score is not None:
            return Verdict(score, reply)
        verdict = Verdict(None, reply, "no grade in the reply")
    return verdict
