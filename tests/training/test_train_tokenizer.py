"""`pct train tokenizer` as a user calls it: a run, its files, its refusals; several processes; kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from operator import attrgetter
from pathlib import Path

import pytest
import tiny_runs
import torch
from tiny_runs import error_of

from pct.cli import main as cli
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.codebook import TRAINING_BUFFERS
from pct.training.kinds import KINDS
from pct.training.photos.config import ClassifierRun
from pct.training.run_files import load_checkpoint, read_metrics
from pct.training.run_folder import FREE_ON_RESUME
from pct.training.tokenizer.config import TokenizerRun, load_run

ROOT = Path(__file__).parents[2]
TINY = """\
steps: 20
batch_size: 16
log_every: 4
val_every: 10
checkpoint_every: 7
val_poses: 20
report: false
device: cpu
threads: 1
data: {num_generated: 100, val_share: 0.2}
model:
  num_tokens: 4
  codebook_size: 16
  codebook_dim: 8
  encoder_width: 16
  encoder_blocks: 1
  encoder_token_hidden: 8
  decoder_width: 8
  decoder_token_hidden: 8
  revive_below: 0.5
optim: {warmup_steps: 5}
"""
COARSE_FINE = ("model.layout=coarse_fine", "model.num_tokens=34", "model.coarse_width=8", "augment.prefix_share=0.5")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(autouse=True)
def _threads_as_before() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a tiny run's time."""
    monkeypatch.setattr("pct.drawing.plots.plot_training_curves", lambda *_: None)


def train(config: Path, *arguments: str, out: str = "run") -> int:
    """Call the command in this process."""
    return tiny_runs.train("tokenizer", config, *arguments, out=out)


def test_a_run_leaves_everything_it_promises(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(config, "report=true", "report_poses=20", "data.num_generated=300") == 0
    folder, printed = config.parent / "run", capsys.readouterr().out
    for name in ("config.yaml", "checkpoint.pt", "metrics.jsonl", "curves.png", "report/index.html"):
        assert (folder / name).stat().st_size > 0, name
    for name in ("model", "curves.png", "report"):
        assert f"{name.split('.')[0]}:" in printed
    assert list((folder / "tensorboard").glob("events*"))
    assert not list(folder.rglob("*.tmp"))
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    tokenizer = PoseTokenizer.from_pretrained(folder / "model")
    assert not tokenizer.training
    state = load_checkpoint(folder)
    assert state is not None
    assert state["step"] == 20
    # Counts and sums of the codebook serve training only and are not saved.
    kept = {n: value for n, value in tokenizer.state_dict().items() if n.rpartition(".")[2] not in TRAINING_BUFFERS}
    assert len(kept) > 10
    for name, value in kept.items():
        assert torch.equal(value, state["model"][name]), name
    assert load_run(folder / "config.yaml", []) == load_run(
        config, [f"out={folder}", "report=true", "report_poses=20", "data.num_generated=300"]
    )
    last = read_metrics(folder / "metrics.jsonl")[-1]
    assert {"step", "epoch", "lr", "loss", "keypoint_loss", "commitment_loss", "poses_per_second"} <= set(last)
    assert {"usage", "perplexity", "val_mean_error_px", "val_median_error_px", "val_perplexity"} <= set(last)


@pytest.mark.usefixtures("without_curves")
def test_the_same_command_gives_the_same_model(config: Path) -> None:
    assert train(config, out="first") == train(config, out="second") == 0
    first, second = (
        (config.parent / name / "model" / "model.safetensors").read_bytes() for name in ("first", "second")
    )
    assert first == second


@pytest.mark.usefixtures("without_curves")
def test_an_existing_run_is_refused_resumed_or_replaced(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.parent / "run"
    assert train(config, "steps=8") == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert train(config, "steps=8") == 1
    error = error_of(capsys)
    assert error.startswith(f"pct: error: {folder} already holds a run")
    assert "--resume" in error
    assert "--force" in error
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert train(config, "--resume", "steps=9") == 0
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [4, 8, 9]
    (folder / "notes.txt").write_text("mine")
    assert train(config, "--force", "steps=5", "seed=1") == 0
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [4, 5]
    assert load_run(folder / "config.yaml", []).seed == 1
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("without_curves")
def test_force_leaves_nothing_of_the_old_run_beside_a_new_one_that_fails(config: Path) -> None:
    assert train(config, "steps=2") == 0
    folder = config.parent / "run"
    assert train(config, "--force", "data.train=nowhere.json") == 1
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml"]


@pytest.mark.parametrize(
    ("override", "before", "now"),
    [
        ("seed=3", "seed=0", "3"),
        ("model.encoder_width=24", "model.encoder_width=16", "24"),
        ("data.num_generated=90", "data.num_generated=100", "90"),
        ("augment.mask_ratio=[0.1,0.3]", "augment.mask_ratio=(0.2, 0.2)", "(0.1, 0.3)"),
        ("precision=bf16", "precision=fp32", "bf16"),
        ("optim.lr=0.5", "optim.lr=0.002", "0.5"),
    ],
)
def test_a_resumed_run_keeps_its_settings(
    config: Path, capsys: pytest.CaptureFixture[str], override: str, before: str, now: str
) -> None:
    folder = config.parent / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(TINY + f"out: {folder}\n")
    assert train(config, "--resume", override) == 1
    assert f"config.yaml: the run to resume has {before}, not {now};" in capsys.readouterr().err
    assert (folder / "config.yaml").read_text() == TINY + f"out: {folder}\n"


def test_what_a_resumed_run_may_change_are_keys_of_the_config() -> None:
    runs = (TokenizerRun(), ClassifierRun())
    for key in FREE_ON_RESUME:
        assert any(_has(run, key) for run in runs), key


def _has(run: TokenizerRun | ClassifierRun, key: str) -> bool:
    try:
        attrgetter(key)(run)
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stepz=3"], "command line: unknown key stepz; did you mean steps?"),
        (["steps=many"], "steps is 'many'; it must be int"),
        (["data.train=nowhere.json"], "nowhere.json"),
        (["device=gpu"], "device is 'gpu'; allowed are auto, cpu, cuda and cuda:N"),
        (["space.kind=root3d"], "root3d"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_status_1(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert train(config, *arguments) == 1
    assert message in error_of(capsys)


def test_a_missing_config_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "tokenizer", str(tmp_path / "nowhere.yaml")]) == 1
    assert "nowhere.yaml does not exist" in capsys.readouterr().err


def test_resume_and_force_exclude_each_other(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train(config, "--resume", "--force")
    assert end.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_help_fits_a_screen(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["train", kind, "--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(len(line) for line in lines) <= 120


@pytest.mark.usefixtures("without_curves")
def test_sigterm_saves_and_says_how_to_go_on(config: Path) -> None:
    """In a process of its own, as a cluster ends a job; it then goes on as that sentence says."""
    folder = config.parent / "run"
    process = tiny_runs.start("tokenizer", config, "steps=100000", "checkpoint_every=100000", "log_every=1")
    deadline = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists() or not read_metrics(folder / "metrics.jsonl"):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    state = load_checkpoint(folder)
    assert state is not None
    assert f"stopped after step {state['step']}, which is saved" in error
    assert f"pct train tokenizer {folder / 'config.yaml'} --resume" in error
    assert "Traceback" not in error
    steps = state["step"] + 2
    assert cli.main(["train", "tokenizer", str(folder / "config.yaml"), "--resume", f"steps={steps}", "--quiet"]) == 0
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == list(range(1, steps + 1))


@pytest.mark.usefixtures("without_curves")
@pytest.mark.parametrize("overrides", [(), COARSE_FINE], ids=["parallel", "coarse_fine"])
def test_two_processes_with_half_the_batch_train_as_one(config: Path, overrides: tuple[str, ...]) -> None:
    """20 steps under torchrun with gloo: start from data, revival and every logged number included."""
    tiny_runs.check_two_processes_train_as_one("tokenizer", config, overrides, tolerance=1e-5)
    one, two = config.parent / "one", config.parent / "two"
    state, state_of_two = (PoseTokenizer.from_pretrained(run / "model").state_dict() for run in (one, two))
    assert any(name.startswith("quantizer.") for name in state)
    for name, value in state.items():
        # The norm after it removes this bias: its gradient is rounding noise, which Adam brings to full steps.
        if name.endswith("token_mlp.2.bias"):
            continue
        torch.testing.assert_close(state_of_two[name], value, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_two_killed_runs_go_on_as_one() -> None:
    """Two of the kills of benchmarks/kill_resume.py."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kill_resume.py"), "--kills", "2", "--seed", "1"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 kills" in done.stdout
    assert "equal: yes" in done.stdout
