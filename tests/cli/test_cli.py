"""The command line as people call it: what it writes, what it says, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tiny_cli import expect_error, run, write_poses

from pct.cli import common, info
from pct.cli import main as cli
from pct.cli.main import explain, guard, one_line
from pct.tokenizer import PoseTokenizer, TokenizerConfig
from pct.tokens.table import TokenReader
from pct.training.kinds import KINDS

COMMANDS = [[name] for name in cli.COMMANDS] + [["train", kind] for kind in KINDS]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A folder with a tiny model of COCO 17."""
    torch.manual_seed(0)
    config = TokenizerConfig(
        num_tokens=4, codebook_size=32, codebook_dim=4, encoder_width=8, encoder_blocks=1, decoder_width=8
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    card = "---\nlicense: mit\n---\n\n# Tiny\n\nA model of\nno use.\n\nMore of it.\n"
    PoseTokenizer(config).save_pretrained(folder, card=card)
    return str(folder)


def test_poses_go_through_every_command(here, model, capsys) -> None:
    write_poses(here / "poses.json")
    m = ("--model", model)
    assert run(capsys, "encode", "poses.json", "-o", "t.parquet", *m) == (0, "", "encoded 5 poses to t.parquet\n")
    assert run(capsys, "decode", "t.parquet", "-o", "out.json", *m) == (0, "", "decoded 5 poses to out.json\n")
    assert run(capsys, "decode", "t.parquet", "-o", "out.npz", *m)[0] == 0
    assert run(capsys, "text", "t.parquet", "-o", "t.txt") == (0, "", "wrote 5 poses to t.txt\n")
    assert run(capsys, "text", "t.txt", "-o", "again.parquet", "--like", "t.parquet", *m)[0] == 0
    assert (here / "again.parquet").read_bytes() == (here / "t.parquet").read_bytes()
    annotations = json.loads((here / "out.json").read_text())["annotations"]
    assert [a["id"] for a in annotations] == [0, 1, 2, 3, 4]
    assert annotations[0]["bbox"] == [20, 20, 70, 70.5]
    assert sorted(p.name for p in here.iterdir()) == sorted(
        ["again.parquet", "out.json", "out.npz", "poses.json", "t.parquet", "t.txt"]
    )


def test_vocab_prints_every_word_once(here, model, capsys) -> None:
    status, out, _ = run(capsys, "vocab", "--model", model)
    assert status == 0
    assert out.split("\n") == ["<pose>", "</pose>", *(f"<p{i}>" for i in range(32)), ""]


def test_info_says_what_a_model_is(here, model, capsys) -> None:
    status, out, _ = run(capsys, "info", model, "--json")
    values = json.loads(out)
    tokenizer = PoseTokenizer.from_pretrained(model)
    assert status == 0
    assert values["fingerprint"] == tokenizer.fingerprint()
    assert values["parameters"] == sum(p.numel() for p in tokenizer.parameters())
    assert (values["skeleton"], values["num_tokens"], values["bits_per_pose"]) == ("coco17", 4, 20)
    assert values["card"] == "A model of no use."
    lines = run(capsys, "info", model)[1].splitlines()
    assert len(lines) == len(values)
    assert any(line.split() == ["fingerprint", tokenizer.fingerprint()] for line in lines)


def test_info_says_what_a_token_table_is(here, model, capsys) -> None:
    run(capsys, "encode", write_poses(here / "poses.json", 40), "-o", "t.parquet", "--model", model)
    values = json.loads(run(capsys, "info", "t.parquet", "--json")[1])
    with TokenReader(here / "t.parquet") as reader:
        used = len(np.unique(reader.read().indices))
    assert (values["poses"], values["images"], values["model"]) == (40, 20, model)
    assert values["codebook_usage"] == pytest.approx(used / 32, abs=1e-4)
    assert 1 <= values["codebook_perplexity"] <= used
    assert values["file_bytes"] == (here / "t.parquet").stat().st_size


@pytest.mark.parametrize("options", [(), ("--reconstruct",)])
def test_visualize_draws_poses_and_tokens(here, model, capsys, options) -> None:
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("matplotlib")
    run(capsys, "encode", write_poses(here / "poses.json", bad=2), "-o", "t.parquet", "--model", model)
    for source in ("poses.json", "t.parquet"):
        out = f"{source}.png"
        assert run(capsys, "visualize", source, "-o", out, "--model", model, "--count", 3, *options)[0] == 0
        picture = cv2.imread(str(here / out))
        assert picture.std() > 1
        status, _, error = run(capsys, "visualize", source, "-o", out, "--model", model)
        assert (status, "--force" in error) == (1, True)


def test_evaluate_hands_on_what_was_asked(here, model, capsys, monkeypatch) -> None:
    files = pytest.importorskip("pct.evaluation.tokens.files")
    calls = []
    monkeypatch.setattr(files, "run_evaluation", lambda *args, **kwargs: calls.append(args))
    write_poses(here / "poses.json")
    argv = ("evaluate", "poses.json", "-o", "report", "--model", model, "--limit", 3, "--baseline", "b.json")
    assert run(capsys, *argv)[0] == 0
    assert calls[0][1:] == ("poses.json", "report", "b.json", None, 3, 0, False)


def test_bad_poses_are_reported_up_to_a_limit_and_counted(here, model, capsys) -> None:
    write_poses(here / "poses.json", 5, bad=23)
    status, out, error = run(capsys, "encode", "poses.json", "-o", "t.parquet", "--model", model)
    lines = error.splitlines()
    assert (status, out) == (0, "")
    assert lines[0].startswith("pct: skipped: poses.json: annotation 1000: bbox is [1.0, 2.0, 0.0, 4.0]; width and")
    assert len(lines) == 20 + 2
    assert lines[20] == "pct: skipped: 3 more"
    assert lines[21] == "encoded 5 poses to t.parquet; skipped 23 bad ones (box without area: 23)"


def test_strict_stops_and_leaves_nothing(here, model, capsys) -> None:
    write_poses(here / "poses.json", 5, bad=2)
    status, _, error = run(capsys, "encode", "poses.json", "-o", "t.parquet", "--model", model, "--strict")
    assert status == 1
    assert error.count("\n") == 1
    assert "poses.json: annotation 1000: bbox" in error
    assert [p.name for p in here.iterdir()] == ["poses.json"]


def test_files_that_cannot_be_used_are_one_sentence(here, model, capsys) -> None:
    (here / "empty.json").touch()
    (here / "broken.json").write_text('{"annotations": [')
    (here / "poses.csv").write_text("1,2")
    (here / "folder.json").mkdir()
    (here / "tokens.parquet").write_bytes(b"PAR1")
    for name, part in (
        ("nothing.json", "no such file"),
        ("empty.json", "the file is empty"),
        ("broken.json", "malformed or truncated JSON"),
        ("poses.csv", "suffix is '.csv'"),
        ("folder.json", "this is a folder"),
        ("tokens.parquet", "no Parquet file"),
    ):
        expect_error(capsys, ("encode", name, "-o", "t.parquet", "--model", model), name, part)
    expect_error(capsys, ("decode", "tokens.parquet", "-o", "o.json", "--model", model), "tokens.parquet")
    expect_error(capsys, ("decode", "nothing.parquet", "-o", "o.json", "--model", model), "no such file")
    expect_error(capsys, ("info", "tokens.parquet"), "tokens.parquet")
    expect_error(capsys, ("text", "a.txt", "-o", "b.txt"), "one .parquet and one .txt")
    expect_error(capsys, ("text", "a.txt", "-o", "b.parquet", "--model", model), "a.txt: no such file")
    assert not list(here.glob("*.tmp"))
    assert not (here / "t.parquet").exists()


def test_outputs_are_checked_before_a_model_is_loaded(here, model, capsys, monkeypatch) -> None:
    write_poses(here / "poses.json")
    run(capsys, "encode", "poses.json", "-o", "t.parquet", "--model", model)
    monkeypatch.setattr(common, "load_tokenizer", lambda args: pytest.fail("a model was loaded"))
    for argv, part in (
        (("encode", "poses.json", "-o", "no/t.parquet"), "output folder no does not exist"),
        (("encode", "poses.json", "-o", "t.parquet"), "t.parquet exists; give --force"),
        (("encode", "poses.json", "-o", "t.json"), "it must be one of .parquet"),
        (("decode", "t.parquet", "-o", "no/p.json"), "output folder no does not exist"),
        (("decode", "t.parquet", "-o", "p.csv"), "it must be one of .json, .npz"),
        (("visualize", "poses.json", "-o", "no/p.png"), "output folder no does not exist"),
        (("text", "t.txt", "-o", "t.parquet"), "--force"),
        (("evaluate", "poses.json", "-o", "poses.json"), "poses.json is a file"),
    ):
        expect_error(capsys, argv, part)


def test_broken_models_are_one_sentence(here, model, capsys) -> None:
    write_poses(here / "poses.json")
    config, weights = (Path(model) / name for name in ("config.json", "model.safetensors"))
    for name, files, part in (
        ("truncated", (config.read_bytes(), weights.read_bytes()[:-100]), "truncated"),
        ("no_json", (b"{", weights.read_bytes()), "not valid JSON"),
        (
            "shape",
            (config.read_bytes().replace(b'"codebook_size": 32', b'"codebook_size": 33'), weights.read_bytes()),
            "",
        ),
        (
            "key",
            (config.read_bytes().replace(b'"codebook_dim"', b'"codebook_dims"'), weights.read_bytes()),
            "codebook_dims",
        ),
    ):
        (here / name).mkdir()
        for path, data in zip((config, weights), files, strict=True):
            (here / name / path.name).write_bytes(data)
        expect_error(capsys, ("encode", "poses.json", "-o", "t.parquet", "--model", name), name, part)
    (here / "bare").mkdir()
    expect_error(capsys, ("info", "bare"), "bare", "config.json")
    expect_error(capsys, ("info", "no_such_model"), "no_such_model")
    assert not (here / "t.parquet").exists()


def test_tokens_of_another_model_name_both(here, model, capsys) -> None:
    torch.manual_seed(1)
    config = TokenizerConfig(
        num_tokens=4, codebook_size=32, codebook_dim=4, encoder_width=8, encoder_blocks=1, decoder_width=8
    )
    other = PoseTokenizer(config)
    other.save_pretrained(here / "other")
    run(capsys, "encode", write_poses(here / "poses.json"), "-o", "t.parquet", "--model", model)
    first = PoseTokenizer.from_pretrained(model).fingerprint()
    for argv in (("decode", "t.parquet", "-o", "o.json"), ("visualize", "t.parquet", "-o", "o.png")):
        expect_error(capsys, (*argv, "--model", "other"), first, other.fingerprint(), "another model")


def test_links_to_nowhere_are_not_replaced_unasked(here, model, capsys) -> None:
    write_poses(here / "poses.json")
    (here / "t.parquet").symlink_to("t.parquet")
    expect_error(capsys, ("encode", "poses.json", "-o", "t.parquet", "--model", model), "t.parquet exists", "--force")
    assert (here / "t.parquet").is_symlink()


def test_evaluate_wants_labels(here, capsys) -> None:
    np.savez(here / "poses.npz", keypoints=np.ones((2, 17, 2)))
    expect_error(capsys, ("evaluate", "poses.npz", "-o", "report"), "poses.npz", "labelled joints in a .json")


def test_a_table_without_rows_gives_no_text(here, model, capsys) -> None:
    run(capsys, "encode", write_poses(here / "poses.json"), "-o", "t.parquet", "--model", model)
    pq.write_table(pq.read_table(here / "t.parquet").slice(0, 0), here / "none.parquet")
    expect_error(capsys, ("text", "none.parquet", "-o", "none.txt"), "none.parquet: no poses")
    assert not (here / "none.txt").exists()


@pytest.mark.parametrize("number", ["0", "-3", "1.5", "1" + "0" * 30])
def test_numbers_out_of_range_are_wrong_usage(here, capsys, number) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["encode", "poses.json", "-o", "t.parquet", "--batch-size", number])
    assert stop.value.code == 2
    assert "is not an integer from 1 to 999999999" in capsys.readouterr().err


def test_devices_that_are_not_there_are_one_sentence(here, model, capsys) -> None:
    write_poses(here / "poses.json")
    argv = ("encode", "poses.json", "-o", "t.parquet", "--model", model, "--device")
    expect_error(capsys, (*argv, "warp"), "device 'warp'")
    expect_error(capsys, (*argv, "meta"), "device 'meta' cannot be used")
    if not torch.cuda.is_available():
        expect_error(capsys, (*argv, "cuda"), "device 'cuda'", "no CUDA device")


def test_errors_of_our_own_are_one_sentence_unless_debugged(here, capsys, monkeypatch) -> None:
    def fail(args) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(info, "run", fail)
    expect_error(capsys, ("info",), "unexpected RuntimeError: first line second line", "PCT_DEBUG=1")
    monkeypatch.setenv("PCT_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main(["info"])


def test_an_interrupt_exits_with_130_and_leaves_nothing(here, model, capsys, monkeypatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    write_poses(here / "poses.json")
    monkeypatch.setattr(PoseTokenizer, "encode", interrupt)
    status, _, error = run(capsys, "encode", "poses.json", "-o", "t.parquet", "--model", model)
    assert status == 130
    assert error == "pct: interrupted; nothing was written\n"
    assert [p.name for p in here.iterdir()] == ["poses.json"]


def test_a_missing_package_is_named(here, capsys, monkeypatch) -> None:
    def fail(args) -> None:
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    monkeypatch.setattr(info, "run", fail)
    expect_error(capsys, ("info",), "needs the package cv2", 'pip install "pct[photo]"')


def test_a_progress_bar_comes_when_asked(here, model, capsys) -> None:
    write_poses(here / "poses.json")
    argv = ("encode", "poses.json", "-o", "t.parquet", "--model", model, "--force")
    assert "poses/s" not in run(capsys, *argv)[2]
    assert "poses/s" in run(capsys, *argv, "--progress")[2]


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help_fits_a_screen(capsys, command, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("argv", [[], ["unknown"], ["encode"], ["encode", "a.json", "-o", "b", "--batch-size", "0"]])
def test_wrong_usage_exits_with_2(capsys, argv) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2


def test_the_program_runs_as_a_module(here, model) -> None:
    write_poses(here / "poses.json")
    argv = ["encode", "poses.json", "-o", "t.parquet", "--model", model]
    assert cli.main(argv) == 0
    python = [sys.executable, "-m", "pct", *argv]
    again = subprocess.run(python, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "pct: error: output t.parquet exists; give --force (force=True) to replace it\n"


def test_messages_are_one_short_line_that_moves_no_terminal() -> None:
    assert one_line("a\n  b\x1b[31m\u202ec\udcff é") == "a b\ufffd[31m\ufffdc\ufffd é"
    assert len(one_line("x" * 10_000)) == 499
    assert explain(RuntimeError("x" * 10_000)).endswith("(PCT_DEBUG=1 shows where)")


def test_warnings_are_notes(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert guard("pct", lambda: warnings.warn("two\nlines", stacklevel=1)) == 0
    assert capsys.readouterr().err == "pct: note: two lines\n"
