"""The data sets by name, from a loopback server; windows by brute force."""

import gc
import hashlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import data
from lib.data import (
    DATASETS,
    DataAltered,
    DataNotFound,
    NextTokenDataset,
    Source,
    atomic_path,
    load_records,
    load_text,
    make_loader,
)

needs_data = pytest.mark.skipif(
    "COURSE_DATA" not in os.environ,
    reason="COURSE_DATA does not name a folder with the real data sets",
)
# A download that fails leaves its socket to Python's garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket"
    ":pytest.PytestUnraisableExceptionWarning"
)
TEXT = "Grüße aus Penry.\r\nHE LEFT NO MAN UNPAI\n".encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# The registry


def test_registry_is_complete():
    names = "a-letter-a-year the-verdict tiny-shakespeare harbour sms-spam"
    assert {*names.split(), "instruction-1100"} <= DATASETS.keys()
    for source in DATASETS.values():
        assert len(source.sha256) == 64 and int(source.sha256, 16)
        assert source.licence and source.about
        assert source.bundled != source.url.startswith("https://")
    with pytest.raises(AttributeError):
        DATASETS["the-verdict"].sha256 = ""  # type: ignore[misc]


def test_bundled_story_is_as_its_card_says():
    text = load_text("a-letter-a-year")
    root = Path(__file__).parents[1]
    card = (root / "data" / "a-letter-a-year.md").read_text(encoding="utf-8")
    assert DATASETS["a-letter-a-year"].sha256 in card
    assert sha256(text.encode()) in card
    assert f"{len(text):,} characters" in card


def test_bundled_story_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_text("a-letter-a-year").startswith("A Letter a Year\n")


def test_bundled_messages():
    messages = load_records("harbour")
    labels = [message["label"] for message in messages]
    assert len(messages) == 3000 and {*labels} == {0, 1}
    root = Path(__file__).parents[1]
    card = root / "data" / "harbour" / "README.md"
    assert DATASETS["harbour"].sha256 in card.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"load_records\('harbour'\)"):
        load_text("harbour")


def test_unknown_name_lists_the_known():
    for load in (load_text, load_records):
        with pytest.raises(ValueError, match=r"'verdict'.*the-verdict.*sms"):
            load("verdict")


def test_wrong_kind_names_the_right_function():
    with pytest.raises(ValueError, match=r"load_records\('sms-spam'\)"):
        load_text("sms-spam")
    with pytest.raises(ValueError, match=r"load_text\('the-verdict'\)"):
        load_records("the-verdict")


@needs_data
def test_real_texts():
    verdict = load_text("the-verdict")
    assert len(verdict) == 20479 and verdict.startswith("I HAD always")
    shakespeare = load_text("tiny-shakespeare")
    assert len(shakespeare) == 1115394
    assert shakespeare.startswith("First Citizen:\nBefore we proceed")


@needs_data
def test_real_records():
    messages = load_records("sms-spam")
    labels = [message["label"] for message in messages]
    assert len(messages) == 5574
    assert (labels.count("ham"), labels.count("spam")) == (4827, 747)
    assert messages[1] == {
        "label": "ham",
        "text": "Ok lar... Joking wif u oni...",
    }
    entries = load_records("instruction-1100")
    assert len(entries) == 1100
    assert all(e.keys() == {"instruction", "input", "output"} for e in entries)


@needs_data
def test_the_verdict_split_by_the_reference():
    """The lossy split that the chapter begins with, on its usual text."""
    import re

    pieces = re.split(r"""([,.:;?_!"()']|--|\s)""", load_text("the-verdict"))
    words = [piece.strip() for piece in pieces if piece.strip()]
    assert (len(words), len(set(words))) == (4690, 1130)


# Finding and fetching, from a server of our own


def archive(member: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("readme", "about")
        z.writestr(member, content)
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def send(self, content: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        match self.path:
            case "/good":
                self.send(TEXT)
            case "/truncated":
                self.send(TEXT[:10], len(TEXT))
            case "/shortened":  # cut, with a length that agrees
                self.send(TEXT[:10])
            case "/altered":
                self.send(TEXT.replace(b"NO", b"NA"))
            case "/zip":
                self.send(archive("inside", b"ham\ta\tb\nspam\tc\n"))
            case "/badzip":
                self.send(archive("inside", b"ham\ta\n")[:-20])
            case "/otherzip":
                self.send(archive("elsewhere", b"ham\ta\n"))
            case "/slow":
                self.send_response(200)
                self.send_header("Content-Length", str(len(TEXT)))
                self.end_headers()
                self.wfile.write(TEXT[:5])
                self.wfile.flush()
                time.sleep(1.5)
            case _:
                self.send_error(404)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


Name = Callable[..., str]


@pytest.fixture
def offer(server, tmp_path, monkeypatch) -> Iterator[Name]:
    """Register a data set at a path of the server; return its name."""
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(data, "TIMEOUT", (0.5, 0.5))
    server.asked.clear()

    def add(path: str, content: bytes = TEXT, **fields: str) -> str:
        url = f"http://127.0.0.1:{server.server_port}{path}"
        source = Source("t.txt", sha256(content), "CC0-1.0", "a test", url)
        monkeypatch.setitem(DATASETS, "t", replace(source, **fields))
        return "t"

    yield add
    gc.collect()


def cached(tmp_path: Path) -> list[str]:
    return [p.name for p in tmp_path.rglob("*") if p.is_file()]


def test_good_download_is_kept(offer, server, tmp_path):
    name = offer("/good")
    assert load_text(name) == TEXT.decode()
    assert load_text(name) == TEXT.decode()
    assert server.asked == ["/good"]
    kept = tmp_path / "home" / "every-token-counts" / "t.txt"
    assert kept.read_bytes() == TEXT
    assert cached(tmp_path) == ["t.txt"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/truncated", "IncompleteRead"),
        ("/404", "404"),
        ("/slow", "timed out"),
    ],
)
def test_failed_download(offer, tmp_path, path, said):
    name = offer(path)
    start = time.monotonic()
    with pytest.raises(DataNotFound) as caught:
        load_text(name)
    assert time.monotonic() - start < 5
    message = str(caught.value)
    for part in (said, path, "t.txt", sha256(TEXT), "COURSE_DATA"):
        assert part in message
    assert str(tmp_path / "home" / "every-token-counts") in message
    assert cached(tmp_path) == []


@pytest.mark.parametrize("path", ["/altered", "/shortened"])
def test_altered_download(offer, tmp_path, path):
    name = offer(path)
    sent = TEXT.replace(b"NO", b"NA") if path == "/altered" else TEXT[:10]
    with pytest.raises(DataAltered) as caught:
        load_text(name)
    for part in (path, sha256(TEXT), sha256(sent)):
        assert part in str(caught.value)
    assert cached(tmp_path) == []


def test_no_network(offer, tmp_path):
    """A port where nobody listens, as on a machine that is unplugged."""
    name = offer("/good", url="http://127.0.0.1:9/t.txt")
    start = time.monotonic()
    with pytest.raises(DataNotFound, match=r"127\.0\.0\.1:9.*COURSE_DATA"):
        load_text(name)
    assert time.monotonic() - start < 5
    assert cached(tmp_path) == []


def test_time_out_is_set():
    connect, read = data.TIMEOUT
    assert 0 < connect <= 10 and 0 < read <= 60


def test_interrupted_download(offer, tmp_path, monkeypatch):
    name = offer("/good")

    class Interrupted:
        def __init__(self, **_: object) -> None: ...

        def __call__(self, url: str, file: str, pooch: None) -> None:
            Path(file).write_bytes(TEXT[:7])
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data, "HTTPDownloader", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_text(name)
    assert cached(tmp_path) == []
    assert load_text(name) == TEXT.decode()


def test_cache_that_cannot_be_written(offer, tmp_path):
    (tmp_path / "home").write_text("a file, not a folder")
    with pytest.raises(DataNotFound, match="every-token-counts"):
        load_text(offer("/good"))


def test_zip_member(offer, tmp_path):
    content = b"ham\ta\tb\nspam\tc\n"
    name = offer("/zip", content, file="t.tsv", member="inside")
    assert load_records(name) == [
        {"label": "ham", "text": "a\tb"},
        {"label": "spam", "text": "c"},
    ]
    assert cached(tmp_path) == ["t.tsv"]


@pytest.mark.parametrize("path", ["/badzip", "/good", "/otherzip"])
def test_zip_that_is_none(offer, tmp_path, path):
    name = offer(path, file="t.tsv", member="inside")
    with pytest.raises(DataNotFound, match=rf"{path}.*(zip|inside)"):
        load_records(name)
    assert cached(tmp_path) == []


def test_course_data_comes_before_cache_and_network(
    offer, server, tmp_path, monkeypatch
):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("COURSE_DATA", str(own))
    name = offer("/good")
    (own / "t.txt").write_bytes(TEXT)
    stale = tmp_path / "home" / "every-token-counts" / "t.txt"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"would be refused")
    assert load_text(name) == TEXT.decode()
    assert server.asked == []
    (own / "t.txt").unlink()
    stale.unlink()
    assert load_text(name) == TEXT.decode()
    assert server.asked == ["/good"]


@pytest.mark.parametrize("where", ["own", "home/every-token-counts"])
def test_altered_file_is_an_error_and_stays(
    offer, server, tmp_path, monkeypatch, where
):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "own"))
    name = offer("/good")
    path = tmp_path / where / "t.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(TEXT + b"!")
    with pytest.raises(DataAltered) as caught:
        load_text(name)
    for part in (str(path), sha256(TEXT), sha256(TEXT + b"!")):
        assert part in str(caught.value)
    assert path.read_bytes() == TEXT + b"!" and server.asked == []


def test_missing_bundled_file_is_named(monkeypatch):
    gone = replace(DATASETS["a-letter-a-year"], file="gone.txt")
    monkeypatch.setitem(DATASETS, "a-letter-a-year", gone)
    with pytest.raises(DataNotFound, match=r"gone\.txt.*bundled"):
        load_text("a-letter-a-year")


def test_atomic_path(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary != path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"]


# Windows


def slow_windows(ids, length, stride):
    found, start = [], 0
    while start + length + 1 <= len(ids):
        piece = ids[start : start + length + 1]
        found.append((piece[:-1], piece[1:]))
        start += stride
    return found


@settings(deadline=None, max_examples=300)
@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 25))
def test_windows_equal_brute_force(n, length, stride):
    ids = [7 * i % 101 for i in range(n)]
    expected = slow_windows(ids, length, stride)
    if not expected:
        with pytest.raises(ValueError, match=rf"\({n},\).*\b{length + 1}\b"):
            NextTokenDataset(ids, length, stride)
        return
    dataset = NextTokenDataset(ids, length, stride)
    assert len(dataset) == len(expected) == (n - length - 1) // stride + 1
    found = [(x.tolist(), y.tolist()) for x, y in dataset]
    assert found == expected
    x, y = dataset[0]
    assert x.dtype == y.dtype == torch.int64


def test_windows_are_views():
    ids = torch.arange(100)
    dataset = NextTokenDataset(ids, 8, 3)
    x, y = dataset[5]
    assert x.data_ptr() == ids[15:].data_ptr()
    assert y.data_ptr() == ids[16:].data_ptr()
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@pytest.mark.parametrize(
    ("ids", "length", "stride", "said"),
    [
        ([1, 2, 3], 3, 1, r"\(3,\).* 4"),
        ([], 2, 1, r"\(0,\).* 3"),
        ([1, 2, 3], 0, 1, "context_length is 0"),
        ([1, 2, 3], -2, 1, "context_length is -2"),
        ([1, 2, 3], 2, 0, "stride 0"),
        ([1, 2, 3], 2, -1, "stride -1"),
        ([[1, 2, 3]], 2, 1, r"\(1, 3\)"),
    ],
)
def test_bad_windows(ids, length, stride, said):
    with pytest.raises(ValueError, match=said):
        NextTokenDataset(ids, length, stride)


# Batches


def rows(loader):
    return [tuple(row) for x, _ in loader for row in x.tolist()]


def test_batches_in_order():
    loader = make_loader(range(50), 5, 4)
    assert [x.shape for x, _ in loader] == [(4, 5), (4, 5), (1, 5)]
    assert rows(loader) == [tuple(range(s, s + 5)) for s in range(0, 45, 5)]
    for x, y in loader:
        assert torch.equal(y, x + 1)
    assert len(make_loader(range(50), 5, 4, drop_last=True)) == 2
    assert len(make_loader(range(50), 5, 4, stride=2).dataset) == 23


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        loader = make_loader(range(403), 4, 3, shuffle=True, seed=seed)
        loader.sampler.set_epoch(epoch)
        torch.manual_seed(seed + 5 * epoch)
        torch.rand(epoch)
        return rows(loader)

    orders = {(s, e): order(s, e) for s in range(3) for e in range(3)}
    every = sorted(orders[0, 0])
    assert every == [tuple(range(s, s + 4)) for s in range(0, 397, 4)]
    assert all(sorted(o) == every for o in orders.values())
    assert all(order(s, e) == o for (s, e), o in orders.items())
    # Seeds 0, 1 at epochs 1, 0 agree by torch's rule (seed + epoch).
    assert len({tuple(o) for o in orders.values()}) == 5
    first = make_loader(range(403), 4, 3, shuffle=True)
    assert rows(first) == orders[0, 0] != every


def test_order_does_not_touch_the_global_generator():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    loader = make_loader(range(99), 4, 3, shuffle=True)
    loader.sampler.set_epoch(1)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": -1}, "batch_size -1"),
        ({"batch_size": 11, "drop_last": True}, r"11 .*10 windows"),
        ({"context_length": 51}, r"\(51,\).* 52"),
        ({"stride": 0}, "stride 0"),
    ],
)
def test_bad_loaders(changes, said):
    settings = {"context_length": 5, "batch_size": 4} | changes
    with pytest.raises(ValueError, match=said):
        make_loader(range(51), **settings)
