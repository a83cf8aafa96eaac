"""A run from the shell: checked, stopped, killed, resumed and shared."""

import json
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import torch

import lib.train
from lib import corpus, devices, launch
from lib.data import load_text
from lib.gpt import GPT, GPTConfig
from lib.settings import RunConfig, read_config
from lib.train import read_checkpoint
from lib.weights import load_pretrained

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 240  # after which a process that hangs is ended
SETTINGS = """\
[data]
texts = ["a.txt", "b.txt"]
held_out = ["c.txt"]
tokenizer = "letters.json"
vocab_size = 300
batch_size = 6

[model]
context_length = 16
d_model = 16
n_layers = 2
n_heads = 2
dropout = 0.2

[train]
steps = 25
learning_rate = 3e-3
warmup_steps = 4
eval_every = 10
accumulate = 2
seed = 3

[run]
folder = "whole"
device = "cpu"
threads = 1
"""
Home = Callable[..., Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts; what runs share is made once."""
    folder = tmp_path_factory.mktemp("runs")
    story = load_text("a-letter-a-year")[:9000]
    for name, text in zip(
        "abc", (story[:2500], story[2500:7000], story[7000:])
    ):
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def home(base: Path) -> Home:
    """Writes settings with changes; returns the path of run.toml."""

    def write(folder: str, *changes: tuple[str, str]) -> Path:
        text = SETTINGS.replace('"whole"', f'"{folder}"')
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path = base / f"{folder}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def whole(home: Home) -> Path:
    """The folder of a run that nobody disturbed."""
    path = home("whole")
    assert launch.main(["--config", str(path)]) == 0
    return path.with_suffix("")


def same_run(a: Path, b: Path) -> None:
    """Weights, averages, settings, history and log are equal, bit for bit."""
    (facts, tensors), (others, twins) = (
        read_checkpoint(folder / "checkpoint.safetensors") for folder in (a, b)
    )
    assert facts == others
    assert tensors.keys() == twins.keys()
    assert all(torch.equal(t, twins[name]) for name, t in tensors.items())
    assert launch.read_log(a / "log.jsonl") == launch.read_log(b / "log.jsonl")
    assert launch.read_log(a / "log.jsonl") == facts["history"]


def error_of(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What main says of settings that it refuses."""
    assert launch.main(["--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


def kill_all(pid: int) -> None:
    """Kill a process and what it has started; torchrun's workers, too."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for started in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                started.kill()


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen]:
    """A Python process with all that it starts, ended in any case."""
    running = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    try:
        yield running
    finally:
        kill_all(running.pid)
        running.wait()
        running.stdout.close()


def to_the_end(*command: str) -> str:
    """Run a command as a user would: after a crash, once more.

    gloo has been seen to crash (SIGSEGV) in one of some fifty starts of two
    processes with FSDP. What is wrong in earnest is wrong twice.
    """
    for _ in range(2):
        with process(*command) as running:
            output, _ = running.communicate(timeout=SECONDS)
        if running.returncode == 0:
            break
    assert running.returncode == 0, output
    return output


def wait_for_records(log: Path, n: int, running: subprocess.Popen) -> None:
    """Read the log again and again, until it holds n records."""
    deadline = time.monotonic() + SECONDS
    while not log.exists() or len(launch.read_log(log)) < n:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)


# Settings


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("eval_every", "evaluate_every", "train: unknown key 'evaluate_every"),
        ("eval_every", "eval-every", "did you mean eval_every"),
        ("[run]", "[runs]", "unknown key 'runs' .did you mean run"),
        ("[run]", "[run]\nfast = 1", "run: unknown key 'fast'"),
        ("steps = 25", "", "train: steps is missing"),
        ("batch_size = 6", "", "data: batch_size is missing"),
        ("steps = 25", "steps = true", "train.steps is True, .* be int"),
        ("steps = 25", "steps = 2.5", "train.steps is 2.5, .* be int"),
        ("n_heads = 2", 'n_heads = "2"', "model.n_heads is '2', .* be int"),
        ("= 0.2", '= "no"', "model.dropout is 'no', .* be float"),
        ('["c.txt"]', '"c.txt"', "data.held_out is 'c.txt', .* list of str"),
        ('["c.txt"]', "[]", r"data.held_out is \[\], .* list of str"),
        ('["c.txt"]', "[1]", r"data.held_out is \[1\], .* list of str"),
        ("steps = 4", "steps = 99", "train: warmup_steps is 99, .* 25"),
        ('"cpu"', '"gpu"', "run: device is 'gpu', .*auto, cpu, cuda, mps"),
        ("threads = 1", "threads = -1", "run: threads is -1"),
        ("threads = 1", 'parallel = "tp"', "parallel is 'tp', .*ddp, fsdp"),
        ("[data]", "data = 3", "data is 3, but must be a table"),
        ("steps = 25", "steps = ", "[Ii]nvalid value .at line"),
        ("steps = 25", "steps = 1\nsteps = 2", "[Oo]verwrite a value"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = SETTINGS.replace(old, new, 1)
    if new == "data = 3":
        text = "data = 3\n" + SETTINGS[SETTINGS.index("[model]") :]
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"my\.toml: .*{message}"):
        read_config(tmp_path / "my.toml")


def test_defaults_and_integers_for_floats(tmp_path: Path) -> None:
    text = SETTINGS[: SETTINGS.index("[run]")].replace("3e-3", "1")
    (tmp_path / "my.toml").write_text(text)
    config = read_config(tmp_path / "my.toml")
    assert config.run == RunConfig()
    assert config.train.learning_rate == 1.0
    assert type(config.train.learning_rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('["c.txt"]', '["d.txt"]'), "'d.txt' is neither a file in"),
        (("batch_size = 6", "batch_size = 0"), "data.batch_size is 0"),
        (("batch_size = 6", "batch_size = 9999"), "has only"),
        (("d_model = 16", "d_model = 15"), "15"),
        (("context_length = 16", "context_length = 99999"), "needs 100000"),
    ],
)
def test_what_cannot_be_run_is_an_error_of_one_line(
    home: Home,
    whole: Path,
    capsys: pytest.CaptureFixture[str],
    change: tuple[str, str],
    message: str,
) -> None:
    assert message in error_of(home("impossible", change), capsys)


def test_a_missing_file_of_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "none.toml" in error_of(tmp_path / "none.toml", capsys)


def test_a_device_that_is_not_there(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    found = torch.accelerator.current_accelerator(check_available=True)
    wanted = "mps" if found and found.type == "cuda" else "cuda"
    path = home("device", ('"cpu"', f'"{wanted}"'))
    said = error_of(path, capsys)
    assert f"run.device is '{wanted}', but this machine has" in said
    expected = torch.device(found.type) if found else torch.device("cpu")
    assert devices.pick_device("auto").type == expected.type


def test_a_batch_that_processes_cannot_share(
    home: Home, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home("shared")
    monkeypatch.setattr(launch, "place", lambda: (0, 4))
    with pytest.raises(ValueError, match=r"batch_size is 6, .*multiple of 4"):
        launch.make_loaders(read_config(path), path.parent)


# What a run reads


def test_texts_end_and_are_tokenized_once(whole: Path) -> None:
    base = whole.parent
    tokenizer = corpus.BPETokenizer.load(base / "letters.json")
    texts = [(base / f"{n}.txt").read_text(encoding="utf-8") for n in "ab"]
    end = tokenizer.special_tokens[corpus.END]
    expected = [i for text in texts for i in [*tokenizer.encode(text), end]]
    windows = launch.Shards(base / "tokens" / "texts", 1)
    assert windows.read(0, windows.starts[-1]).tolist() == expected


def test_json_lines_are_many_texts(tmp_path: Path) -> None:
    texts = ["one, in a\nline", "", "thr\u00e9e"]
    lines = "".join(json.dumps({"text": t, "n": 1}) + "\n" for t in texts)
    (tmp_path / "some.jsonl").write_text(lines, encoding="utf-8")
    with lzma.open(tmp_path / "packed.jsonl.xz", "wb") as file:
        file.write(lines.encode())
    for name in "some.jsonl", "packed.jsonl.xz":
        assert corpus.read_texts(name, tmp_path) == texts
    tokenizer = corpus.BPETokenizer.train("none", 257, [corpus.END])
    end = tokenizer.special_tokens[corpus.END]
    ids = [[*tokenizer.encode(text), end] for text in texts]
    assert [*corpus.encode(tokenizer, texts)] == ids
    assert corpus.digest_of(texts) != corpus.digest_of([*texts[:2], "three"])


@pytest.mark.parametrize("line", ["text", '["text"]', "{}", '{"text": 1}'])
def test_a_line_that_is_no_text_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"some\.jsonl:2 is not JSON of"):
        corpus.read_texts("some.jsonl", tmp_path)


def test_a_run_goes_on_from_a_finished_model(home: Home, whole: Path) -> None:
    start = ('"further"', '"further"\nstart = "whole/model"')
    path = home("further", start)
    config = read_config(path)
    model = launch.make_model(config, path.parent)
    finished, _ = load_pretrained(whole / "model", dropout=0.2)
    there = finished.state_dict()
    assert all(torch.equal(w, there[n]) for n, w in model.state_dict().items())
    other = home("further", start, ("d_model = 16", "d_model = 32"))
    with pytest.raises(ValueError, match=r"run\.start holds .*d_model=16"):
        launch.make_model(read_config(other), path.parent)


def test_other_texts_or_another_batch_size_are_refused(
    home: Home, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home("other", ('["c.txt"]', '["a.txt"]'))
    assert "holds shards of other texts" in error_of(path, capsys)
    here = '"whole"', '"whole"'
    path = home("whole", ("batch_size = 6", "batch_size = 4"), here)
    assert "began with batch_size 6, but" in error_of(path, capsys)
    other = "accumulate = 2\nseed = 3", "accumulate = 2\nseed = 4"
    path = home("whole", other)
    assert "was saved with seed=3, but" in error_of(path, capsys)
    moved = "batch_size = 6", 'batch_size = 6\nfolder = "others"'
    path = home("whole", moved, ('["c.txt"]', '["a.txt"]'))
    assert "began with held_out" in error_of(path, capsys)
    home("whole")


@pytest.mark.parametrize("harm", ["missing", "altered", "shortened"])
def test_a_harmed_shard_stops_the_run_by_name(
    home: Home, whole: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    path = whole.parent / "tokens" / "texts" / "00000.tokens"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[:-2] + (b"\0\0" if harm == "altered" else b""))
        if harm == "missing":
            path.unlink()
        said = error_of(home("harmed"), capsys)
    finally:
        path.write_bytes(kept)
    assert "texts/00000.tokens" in said.replace(os.sep, "/")


def test_a_harmed_checkpoint_stops_the_run_by_name(
    home: Home, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home("torn")
    launch.launch(path)
    file = path.with_suffix("") / "checkpoint.safetensors"
    os.truncate(file, file.stat().st_size - 100)
    capsys.readouterr()
    assert "torn" in error_of(path, capsys)


# Stopped and killed in this process, at any point


class Crash(BaseException):
    """As sudden as SIGKILL: nothing here catches it."""


def crash_at(function: Callable, call: int) -> Callable:
    """Let a function crash before its call of a number."""
    calls = iter(range(1, 10_000))

    def crashing(*args: object, **kwargs: object) -> object:
        if next(calls) == call:
            raise Crash
        return function(*args, **kwargs)

    return crashing


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("lib.train.train_step", 1),
        ("lib.train.train_step", 9),  # before anything was saved
        ("lib.train.train_step", 18),
        ("lib.train.evaluate", 2),
        ("lib.train.save_file", 2),
        ("lib.launch.write_log", 1),
        ("lib.launch.write_log", 3),  # a record is saved, but not logged
        ("lib.launch.print", 3),
    ],
)
def test_a_crash_at_any_point_changes_nothing(
    home: Home,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    call: int,
) -> None:
    path = home(f"crash-{place}-{call}")
    module, _, name = place.rpartition(".")
    owner = sys.modules[module]
    function = getattr(owner, name, print)
    with monkeypatch.context() as patch:
        wrapped = crash_at(function, call)
        patch.setattr(owner, name, wrapped, raising=False)
        with pytest.raises(Crash):
            launch.launch(path)
    launch.launch(path)
    same_run(path.with_suffix(""), whole)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 10, 17, 24])
def test_a_signal_at_any_step_is_a_wish(
    home: Home,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: int,
    sent: int,
) -> None:
    path = home(f"wish-{step}-{sent}")
    steps, take = iter(range(1, 100)), lib.train.train_step

    def signalling(*args: object) -> object:
        if next(steps) == step:
            signal.raise_signal(sent)  # in the middle of a step
        return take(*args)

    with monkeypatch.context() as patch:
        patch.setattr(lib.train, "train_step", signalling)
        assert launch.main(["--config", str(path)]) == 130
    facts, _ = read_checkpoint(path.with_suffix("") / "checkpoint.safetensors")
    assert facts["history"][-1]["step"] == step
    assert ("nats" in facts["history"][-1]) == (step % 10 > 0)
    assert launch.main(["--config", str(path)]) == 0
    same_run(path.with_suffix(""), whole)
    assert f"step {step:>6} of 25" in capsys.readouterr().out


def test_handlers_are_given_back_and_a_second_signal_is_no_wish() -> None:
    before = signal.getsignal(signal.SIGINT)
    with launch.polite_stop() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_finished_model_is_handed_over(whole: Path) -> None:
    config = read_config(whole.with_suffix(".toml"))
    expected = launch.make_model(config, whole.parent).eval()
    lib.train.load_checkpoint(whole / "checkpoint.safetensors", expected)
    found, encoding = load_pretrained(whole / "model")
    tokenizer = corpus.BPETokenizer.load(whole.parent / "letters.json")
    text = (whole.parent / "c.txt").read_text(encoding="utf-8")
    ids = encoding.encode_ordinary(text)
    assert ids == tokenizer.encode(text)
    x = torch.tensor([ids[:16], ids[16:32]])
    assert torch.equal(found(x), expected(x))


def test_an_unfinished_model_is_not_handed_over(home: Home) -> None:
    path = home("unfinished", ("eval_every = 10", "eval_every = 1"))
    print_once = iter(range(3))

    def stop_soon(*args: object, **kwargs: object) -> None:
        if next(print_once) == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "print", stop_soon, raising=False)
        assert launch.main(["--config", str(path)]) == 130
    assert not (path.with_suffix("") / "model").exists()


def test_a_finished_run_is_left_as_it_is(home: Home, whole: Path) -> None:
    path = home("whole")
    files = [whole / "checkpoint.safetensors", whole / "log.jsonl"]
    before = [file.read_bytes() for file in files]
    assert launch.main(["--config", str(path)]) == 0
    assert [file.read_bytes() for file in files] == before


# From the shell


def test_killed_from_outside_it_resumes_bit_for_bit(
    home: Home, whole: Path
) -> None:
    path = home("killed")
    log = path.with_suffix("") / "log.jsonl"
    with process("-m", "lib.train", "--config", str(path)) as running:
        wait_for_records(log, 1, running)
        running.kill()
        running.wait(SECONDS)
    assert running.returncode == -signal.SIGKILL
    assert launch.read_log(log)  # whole lines, whenever it was killed
    launch.launch(path)
    same_run(path.with_suffix(""), whole)


def test_ctrl_c_saves_and_the_same_command_goes_on(home: Home) -> None:
    more = (
        ("steps = 25", "steps = 2000"),
        ("eval_every = 10", "eval_every = 9"),
    )
    path = home("interrupted", *more)
    folder = path.with_suffix("")
    command = "-m", "lib.train", "--config", str(path)
    with process(*command) as running:
        wait_for_records(folder / "log.jsonl", 1, running)
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=SECONDS)
    assert running.returncode == 130, output
    facts, _ = read_checkpoint(folder / "checkpoint.safetensors")
    step = int(facts["history"][-1]["step"])
    assert 9 <= step < 2000
    if step % 9:
        assert "stopped; the same command goes on" in output
    resumed = [*launch.read_log(folder / "log.jsonl")]
    assert [r["step"] for r in resumed] == [*range(9, step + 1, 9)]


SCRIPT = """
import sys
from contextlib import contextmanager
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
sys.path.insert(0, {tests!r})
from test_launch import uneven, uneven_model
from lib import launch, train

@contextmanager
def wish_of_one():  # process 1 hears a signal in step 7, process 0 does not
    asked = iter(range(1, 10_000))
    yield lambda: next(asked) >= 7 and dist.get_rank() == 1

class Last:
    def step(self): self.grads = [w.grad.clone() for w in weights]
    def zero_grad(self): pass

def compare_then_make(*args):  # where both processes are connected
    parts, rank = uneven(), dist.get_rank()
    learner, last = DistributedDataParallel(gpt), Last()
    nats, n = train.train_step(learner, last, [parts[rank]], 1e9)
    loss = train.evaluate(learner, [parts[rank]])
    if rank == 0:
        torch.save([nats, n, loss, last.grads], sys.argv[1])
    return make_model(*args)

gpt, weights = uneven_model()
launch.make_model, make_model = compare_then_make, launch.make_model
launch.polite_stop = wish_of_one
stopped = launch.launch(sys.argv[2])
assert stopped[-1]["step"] == 7, stopped
"""


def uneven() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two parts of a batch, of 4 and 2 windows, with 20 and 3 targets."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randint(11, (2, 6, 5), generator=g)
    y[4:, 1:] = -100
    y[4, 0], y[5, :2] = -100, 7
    return [(x[:4], y[:4]), (x[4:], y[4:])]


def uneven_model() -> tuple[GPT, list[torch.nn.Parameter]]:
    torch.manual_seed(0)
    gpt = GPT(GPTConfig(11, 5, 12, 1, 3))
    return gpt, list(gpt.parameters())


def near(found: Path, expected: Path, tolerance: float) -> None:
    """Two logs tell the same losses, up to a tolerance in nats."""
    pairs = zip(
        launch.read_log(found / "log.jsonl"),
        launch.read_log(expected / "log.jsonl"),
        strict=True,
    )
    for a, b in pairs:
        for name in ("step", "tokens", "learning_rate"):
            assert a[name] == b[name]
        for name in ("train_loss", "val_loss"):
            assert a[name] == pytest.approx(b[name], abs=tolerance)


NO_DROPOUT = "dropout = 0.2", "dropout = 0.0"
LAUNCHER = "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"


@pytest.fixture(scope="module")
def single(home: Home, whole: Path) -> Path:
    """The folder of a run without dropout, in a single process."""
    path = home("single", NO_DROPOUT)
    launch.launch(path)
    return path.with_suffix("")


def test_two_processes_with_parts_of_a_model_have_the_same_curve(
    home: Home, single: Path
) -> None:
    way = "threads = 1", 'threads = 1\nparallel = "fsdp"'
    path = home("fsdp", NO_DROPOUT, way)
    output = to_the_end(*LAUNCHER, "-m", "lib.train", "--config", str(path))
    assert output.count("step     25 of 25") == 1  # one of them prints
    near(path.with_suffix(""), single, 1e-3)
    tensors, expected = (
        read_checkpoint(folder / "checkpoint.safetensors")[1]
        for folder in (path.with_suffix(""), single)
    )
    assert {name: t.shape for name, t in tensors.items()} == {
        name: t.shape for name, t in expected.items()
    }
    # taken up by one process, the run is finished
    assert launch.launch(path)[-1]["step"] == 25
    assert (path.with_suffix("") / "model" / "model.safetensors").exists()


def test_two_processes_weigh_targets_alike_and_stop_together(
    home: Home, single: Path, tmp_path: Path
) -> None:
    path, results = home("ddp", NO_DROPOUT), tmp_path / "results"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(ROOT / "tests")))
    to_the_end(*LAUNCHER, str(script), str(results), str(path))
    nats, n, loss, grads = torch.load(results, weights_only=True)
    gpt, weights = uneven_model()
    x, y = map(torch.cat, zip(*uneven(), strict=True))
    expected = torch.nn.functional.cross_entropy(
        gpt(x).flatten(0, 1), y.flatten()
    )
    expected.backward()
    assert n == 22 and loss == pytest.approx(expected.item(), abs=1e-5)
    assert nats / n == pytest.approx(expected.item(), abs=1e-5)
    for found, weight in zip(grads, weights, strict=True):
        assert torch.allclose(found, weight.grad, atol=1e-6)
    # what two have begun, one finishes
    launch.launch(path)
    near(path.with_suffix(""), single, 1e-3)


# Number formats


def test_half_precision_learns_what_single_precision_learns(
    home: Home, single: Path
) -> None:
    half = "threads = 1", 'threads = 1\nprecision = "bfloat16"'
    path = home("half", NO_DROPOUT, half)
    launch.launch(path)
    near(path.with_suffix(""), single, 0.02)
    gpt, _ = uneven_model()
    learner = devices.make_learner(
        gpt, RunConfig(precision="bfloat16"), torch.device("cpu")
    )
    x = uneven()[0][0]
    exact, found = gpt(x), learner(x)
    assert found.dtype == torch.float32
    assert not torch.equal(exact, found)
    assert torch.allclose(exact, found, atol=0.02)


def test_the_log_is_lines_of_json(whole: Path) -> None:
    lines = (whole / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20, 25]
