"""Runs of every kind as a user calls them: files, refusals, going on as if not cut, several processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import tiny_runs
import torch
from tiny_bodies import make_tokenizer_3d
from tiny_runs import CrashError, CutAfter, error_of, losses, train

from pct.cli import main as cli
from pct.drawing import plots
from pct.lifting.lifter import Lifter
from pct.photos.classifier import PoseClassifier
from pct.photos.heatmap import HeatmapModel
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.codebook import TRAINING_BUFFERS
from pct.training.kinds import KINDS, load_run, train_run
from pct.training.photos.config import ClassifierRun
from pct.training.run_files import FREE_ON_RESUME, load_checkpoint, read_metrics
from pct.training.tokenizer.config import TokenizerRun

ROOT = Path(__file__).parents[2]
WriteConfig = Callable[[str], Path]
MODELS: dict[str, Any] = {
    "tokenizer": PoseTokenizer,
    "classifier": PoseClassifier,
    "heatmap": HeatmapModel,
    "lifter": Lifter,
}
LOGGED = {
    "tokenizer": {"usage", "perplexity", "val_mean_error_px", "val_median_error_px", "val_perplexity"},
    "heatmap": {"val_mean_error_px", "val_oks"},
    "classifier": {
        "token_loss",
        "keypoint_loss",
        "top1",
        "top5",
        "val_top1",
        "val_argmax_error_px",
        "val_oracle_error_px",
    },
    "lifter": {"keypoint_loss", "val_mpjpe_mm", "val_p_mpjpe_mm", "val_clean_mpjpe_mm"},
}
COARSE_FINE = ("model.layout=coarse_fine", "model.num_tokens=34", "model.coarse_width=8", "augment.prefix_share=0.5")
PRETRAIN = ("pretrain.steps=4", "pretrain.heatmap.width=8", "pretrain.heatmap.num_deconvs=1")
IN_SPACE = ("space.kind=root3d", "data.num_generated=200")
TOKENS = ("tokenizer=tokenizer3d", "lifter.head=tokens")


@pytest.fixture(autouse=True)
def _beside_a_3d_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_tokenizer_3d().save_pretrained(tmp_path / "tokenizer3d")


def weights(folder: Path) -> list[bytes]:
    """Return the content of all files of the saved model."""
    return [path.read_bytes() for path in sorted((folder / "model").rglob("*")) if path.is_file()]


@pytest.mark.usefixtures("drawn_curves")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_leaves_everything_it_promises(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    config, folder = write_config(kind), Path.cwd() / "run"
    options = ["report=true", "report_poses=20", "data.num_generated=300"] if kind == "tokenizer" else []
    assert train(kind, config, *options) == 0
    report = f"report: {folder / 'report/index.html'}\n" if kind == "tokenizer" else ""
    assert capsys.readouterr().out == f"model:  {folder / 'model'}\ncurves: {folder / 'curves.png'}\n{report}"
    for name in ("config.yaml", "metrics.jsonl", *(["report/index.html"] if report else [])):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard").glob("events*"))
    assert not list(folder.rglob("*.tmp"))
    given = load_run(kind, str(config), [f"out={folder}", *options])
    assert load_run(kind, str(folder / "config.yaml"), []) == given
    rows, state = read_metrics(folder / "metrics.jsonl"), load_checkpoint(folder)
    assert state is not None
    assert state["step"] == rows[-1]["step"] == given.steps
    steps = range(1, given.steps + 1)
    assert [row["step"] for row in rows] == [s for s in steps if s % given.log_every == 0 or s % given.val_every == 0]
    assert {"step", "epoch", "lr", "loss", "poses_per_second"} | LOGGED[kind] <= set(rows[-1])
    model = MODELS[kind].from_pretrained(folder / "model")
    assert not model.training
    # Counts and sums of the codebook serve training only and are not saved.
    kept = {n: value for n, value in model.state_dict().items() if n.rpartition(".")[2] not in TRAINING_BUFFERS}
    assert len(kept) > 10
    for name, value in kept.items():
        assert torch.equal(value, state["model"][name]), name


@pytest.mark.parametrize(
    ("kind", "overrides", "steps", "phase"),
    [
        ("tokenizer", IN_SPACE, 12, 0),
        ("classifier", (), 3, 0),
        ("classifier", ("backbone.drop_path=0.5", "layer_decay=0.8"), 3, 0),
        ("classifier", PRETRAIN, 3, 0),
        ("classifier", PRETRAIN, 3, 1),
        ("heatmap", ("backbone.drop_path=0.5",), 3, 0),
        # With dropout and z-scores, which both must come back as they were.
        ("lifter", ("lifter.network=fcn", "lifter.depth=1", "lifter.z_score=true", "lifter.dropout=0.2"), 8, 0),
        ("lifter", ("lifter.dropout=0.2", *TOKENS), 8, 0),
    ],
)
def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(
    write_config: WriteConfig, kind: str, overrides: tuple[str, ...], steps: int, phase: int
) -> None:
    config, cut, whole = write_config(kind), Path("cut"), Path("whole")
    settings = [*overrides, "checkpoint_every=2"]
    train_run(kind, load_run(kind, str(config), [f"out={whole}", *settings]))
    run = load_run(kind, str(config), [f"out={cut}", *settings])
    with pytest.raises(CrashError):
        train_run(kind, run, progress=CutAfter(steps, phase))
    torch.rand(7)  # another process has drawn other numbers
    assert not (cut / "model").exists()
    train_run(kind, run, resume=True)
    assert losses(cut) == losses(whole)
    assert weights(cut) == weights(whole)
    if overrides == PRETRAIN:
        assert losses(cut / "pretrain") == losses(whole / "pretrain")


def check_same_weights(kind: str, one: Path, two: Path) -> None:
    first, second = (MODELS[kind].from_pretrained(folder / "model").state_dict() for folder in (one, two))
    for name, value in first.items():
        # A norm removes the one bias and the softmax a key's: their gradients are rounding noise, which Adam brings to
        # full steps.
        if not name.endswith(("token_mlp.2.bias", "key_value.bias")):
            torch.testing.assert_close(second[name], value, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_two_processes_with_half_the_batch_train_as_one(write_config: WriteConfig) -> None:
    """Under torchrun with gloo: start from data, revival and every logged number included."""
    tiny_runs.check_two_processes_train_as_one("tokenizer", write_config("tokenizer"), (), 1e-5)
    check_same_weights("tokenizer", Path("one"), Path("two"))


def _train_all(runs: list[tuple[str, Path, list[str]]], rank: int) -> None:
    plots.plot_training_curves = lambda *_: None  # as in all tests here
    for kind, config, overrides in runs:
        train_run(kind, load_run(kind, str(config), overrides))


def test_two_processes_train_models_of_all_kinds_as_one(write_config: WriteConfig, tmp_path: Path) -> None:
    """A heatmap model has batch norms, which see each process's own part."""
    cases = {"tokenizer": (COARSE_FINE, 1e-5), "classifier": ((), 1e-5), "lifter": (TOKENS, 1e-4)}
    runs = {kind: (kind, write_config(kind), list(overrides)) for kind, (overrides, _) in cases.items()}
    both = [(kind, config, [*overrides, f"out=two_{kind}"]) for kind, config, overrides in runs.values()]
    tiny_runs.in_two_processes(partial(_train_all, both), tmp_path)
    for kind, config, overrides in runs.values():
        train_run(kind, load_run(kind, str(config), [*overrides, f"out=one_{kind}"]))
        tiny_runs.check_same_numbers(Path(f"one_{kind}"), Path(f"two_{kind}"), cases[kind][1])
        if kind != "lifter":
            check_same_weights(kind, Path(f"one_{kind}"), Path(f"two_{kind}"))


def test_an_existing_run_is_refused_resumed_or_replaced(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder = write_config("tokenizer"), Path.cwd() / "run"
    assert train("tokenizer", config, "steps=8") == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert train("tokenizer", config, "steps=8") == 1
    error = error_of(capsys)
    assert error.startswith(f"pct: error: {folder} already holds a run")
    assert "--resume" in error
    assert "--force" in error
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert train("tokenizer", config, "--resume", "steps=9") == 0
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [4, 8, 9]
    (folder / "notes.txt").write_text("mine")
    (folder / "pretrain").mkdir()
    assert train("tokenizer", config, "--force", "steps=5", "seed=1") == 0
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [4, 5]
    assert load_run("tokenizer", str(folder / "config.yaml"), []).seed == 1
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "pretrain").exists()
    (folder / "notes.txt").unlink()
    # Nothing of the old run is left beside a new one that fails.
    assert train("tokenizer", config, "--force", "data.train=nowhere.json") == 1
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("kind", "override", "before", "now"),
    [
        ("tokenizer", "seed=3", "seed=0", "3"),
        ("tokenizer", "model.encoder_width=24", "model.encoder_width=16", "24"),
        ("tokenizer", "data.num_generated=110", "data.num_generated=100", "110"),
        ("tokenizer", "augment.mask_ratio=[0.1,0.3]", "augment.mask_ratio=(0.2, 0.2)", "(0.1, 0.3)"),
        ("tokenizer", "precision=bf16", "precision=fp32", "bf16"),
        ("tokenizer", "optim.lr=0.5", "optim.lr=0.002", "0.5"),
        ("classifier", "backbone.drop_path=0.3", "backbone.drop_path=0.0", "0.3"),
    ],
)
def test_a_resumed_run_keeps_its_settings(
    write_config: WriteConfig,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    override: str,
    before: str,
    now: str,
) -> None:
    config, folder = write_config(kind), Path("run")
    folder.mkdir()
    text = config.read_text() + f"out: {folder.absolute()}\n"
    (folder / "config.yaml").write_text(text)
    assert train(kind, config, "--resume", override) == 1
    assert f"config.yaml: the run to resume has {before}, not {now};" in capsys.readouterr().err
    assert (folder / "config.yaml").read_text() == text


def test_what_a_resumed_run_may_change_are_keys_of_the_config() -> None:
    for key in FREE_ON_RESUME:
        found = 0
        for run in (TokenizerRun(), ClassifierRun()):
            try:
                attrgetter(key)(run)
                found += 1
            except AttributeError:
                pass
        assert found, key


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("tokenizer", ["data.train=nowhere.json"], "nowhere.json"),
        ("tokenizer", ["device=gpu"], "device is 'gpu'; allowed are auto, cpu, cuda and cuda:N"),
        ("tokenizer", ["augment3d.turn=90"], "augment3d is Augment3DConfig(turn=90.0"),
        ("tokenizer", [*IN_SPACE, "data.train=nowhere.npz"], "nowhere.npz: no such file"),
        ("tokenizer", [*IN_SPACE, "data.train=a.json"], "data.train is 'a.json'; it must be generated or mocap"),
        ("tokenizer", [*IN_SPACE, "data.val=poses.npz"], "data.val is 'poses.npz'; it must be left out"),
        ("tokenizer", [*IN_SPACE, "bodies.mocap=a"], "unknown key bodies; it is now data (bodies.mocap is data.train"),
        ("tokenizer", [*IN_SPACE, "data.num_generated=5"], "data.num_generated is 5; it must be 100 or more"),
        ("tokenizer", [*IN_SPACE, "data.val_share=0.7"], "data.val_share is 0.7"),
        (
            "classifier",
            ["backbone.name=swin_tini_patch4_window7_224"],
            "nearest names are swin_tiny_patch4_window7_224",
        ),
        ("classifier", ["data.train_images="], "data.train_images is ''; it must be the folder of data.train's photos"),
        ("classifier", ["data.train=nowhere.json"], "nowhere.json"),
        ("classifier", ["data.val_images="], "data.val_images is ''"),
        ("classifier", ["tokenizer=nowhere"], "no model 'nowhere'"),
        ("classifier", ["backbone.image_size=[8,8]"], "image_size is [8, 8]; it must be two sizes of at least 16"),
        ("classifier", ["backbone_from=nowhere"], "no model 'nowhere'"),
        ("classifier", ["pretrained=true"], "sizes of our own, so there are no pretrained weights"),
        ("classifier", ["layer_decay=0"], "layer_decay is 0.0; it must be in (0, 1]"),
        ("classifier", ["pretrain.stepz=3"], "did you mean pretrain.steps?"),
        ("classifier", ["data.val=generated"], "it must be empty, as data.val is 'generated'"),
        ("classifier", ["data.train=generated"], "it must be empty, as data.train is 'generated'"),
        ("classifier", ["data.mocap=m.npz"], "unknown key data.mocap"),
        ("heatmap", ["seed=-1"], "seed is -1; it must be at least 0"),
        ("lifter", ["lifter.netwrk=lcn"], "command line: unknown key lifter.netwrk; did you mean lifter.network?"),
        ("lifter", ["lifter.head=tokens"], "tokenizer is ''; it must be a trained 3D tokenizer, for lifter.head: tok"),
        ("lifter", ["tokenizer=coco17"], "tokenizer is 'coco17'; it must be empty, as lifter.head is coordinates"),
        ("lifter", ["lifter.head=tokens", "tokenizer=coco17"], "coco17 is of crop2d poses; a lifter needs one of 3D"),
        ("lifter", ["lifter.head=tokens", "tokenizer=photos"], "this is not a pose_tokenizer, but a pose_classifier"),
        ("lifter", ["loss.keypoint_weight=0"], "loss.keypoint_weight is 0.0; it must be positive: nothing else is"),
        ("lifter", [*TOKENS, "data.skeleton=h36m16"], "skeleton h36m17, but the lifter has h36m16"),
        ("lifter", ["lifter.head=tokens", "tokenizer=nowhere"], "no model 'nowhere'"),
        ("lifter", ["data.train=nowhere.npz"], "nowhere.npz: no such file"),
        ("lifter", ["lifter.network=dhcsf", "lifter.options={frames: 3}"], "'generated'; it must be mocap"),
        ("lifter", ["data.num_generated=0"], "data.num_generated is 0; it must be 100 or more"),
        ("lifter", ["augment3d.turn=90"], "augment3d.turn is 90.0; it must be left out: the cameras turn"),
        ("lifter", ["recorded.file=h36m.npz"], "recorded.file is h36m.npz; it must be empty where data are given"),
        ("lifter", ["loss.kind=l2"], "loss.kind is 'l2'; it must be one of ['mpjpe', 'mse', 'smooth_l1']"),
        ("lifter", ["loss.beta=-1"], "loss.beta is -1.0; it must be at least 0"),
        ("lifter", ["optim.lr=0"], "optim.lr is 0.0; it must be positive"),
        ("lifter", ["data.skeleton=h36m99"], "h36m99"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_status_1(
    write_config: WriteConfig, capsys: pytest.CaptureFixture[str], kind: str, arguments: list[str], message: str
) -> None:
    assert train(kind, write_config(kind), *arguments) == 1
    assert message in error_of(capsys)


def test_settings_of_former_versions_are_left_out_where_empty(write_config: WriteConfig) -> None:
    config = write_config("classifier")
    former = config.with_name("former.yaml")
    former.write_text(config.read_text().replace("data:\n", "data:\n  mocap: ''\n  backgrounds: ''\n"))
    assert load_run("classifier", str(former), []) == load_run("classifier", str(config), [])


def test_resume_and_force_exclude_each_other(write_config: WriteConfig, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        train("tokenizer", write_config("tokenizer"), "--resume", "--force")
    assert end.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_sigterm_saves_and_says_how_to_go_on(write_config: WriteConfig) -> None:
    """In a process of its own, as a cluster ends a job; it then goes on as that sentence says."""
    config, folder = write_config("tokenizer"), Path.cwd() / "run"
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


def _train(run: TokenizerRun) -> None:
    torch.set_num_threads(1)
    train_run("tokenizer", run, resume=True)


def test_a_run_that_is_killed_again_and_again_goes_on_as_one(write_config: WriteConfig) -> None:
    """SIGKILL amid steps of which each writes a checkpoint; benchmarks/kill_resume.py does it more often."""
    config, folder, reached = write_config("tokenizer"), Path.cwd() / "killed", 0
    settings = ["steps=60", "checkpoint_every=1", "val_every=30"]
    run = load_run("tokenizer", str(config), [f"out={folder}", *settings])
    for _ in range(2):
        process = get_context(tiny_runs.FORKED).Process(target=_train, args=(run,))
        process.start()
        before, deadline = reached, time.monotonic() + 120
        while reached < before + 4:
            assert process.is_alive()
            assert time.monotonic() < deadline
            state = load_checkpoint(folder)
            reached = state["step"] if state else 0
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert reached < run.steps
    train_run("tokenizer", run, resume=True)
    train_run("tokenizer", load_run("tokenizer", str(config), ["out=whole", *settings]))
    assert losses(folder) == losses(Path("whole"))
    assert weights(folder) == weights(Path("whole"))
