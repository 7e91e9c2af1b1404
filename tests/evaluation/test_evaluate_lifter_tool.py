"""tools/evaluate_lifter.py as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tool_loader import load_tool

from pct.files.motion.mocap import JOINT_NAMES
from pct.lifting.config import LifterConfig
from pct.lifting.lifter import Lifter
from pct.people.poses import generate_poses3d

TOOL = Path(__file__).parents[2] / "tools" / "evaluate_lifter.py"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An untrained lifter, and 20 clips of 3 subjects, two of them those of the test."""
    folder = tmp_path_factory.mktemp("lifter")
    torch.manual_seed(0)
    Lifter(LifterConfig(network="gcn", width=8, depth=1)).save_pretrained(folder / "model")
    joints = generate_poses3d(60, seed=2).keypoints.numpy() * np.float32([1, -1, -1])
    texts = {
        "clip_id": [f"clip{i}" for i in range(20)],
        "subject_id": ["cmu06", "cmu07", *["s1"] * 18],
        "action": ["walk"] * 20,
        "source": ["test"] * 20,
    }
    start = np.arange(0, 61, 3)
    np.savez(folder / "mocap.npz", joints=joints, clip_start=start, fps=15.0, joint_names=list(JOINT_NAMES), **texts)
    return {name: str(folder / name) for name in ("model", "mocap.npz")}


def test_the_numbers_are_printed_and_written(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = [files["model"], "--mocap", files["mocap.npz"], "--missing", "2", "--noise"]
    assert load_tool("evaluate_lifter").main([*arguments, "--out", str(out)]) == 0
    numbers, text = json.loads((out / "metrics.json").read_text()), capsys.readouterr().out
    page = (out / "index.html").read_text()
    for words in ("a detector&#39;s errors on the 2D joints, 2 joints missing", f"{numbers['mpjpe']:.1f} mm", "walk"):
        assert words in page
    for kind in ("typical", "worst", "best"):
        with Image.open(out / "pictures" / f"{kind}.png") as picture:
            assert np.asarray(picture).std() > 10
    # Two test subjects, and four of the other's eighteen clips.
    assert numbers["poses"] == 3 * 6
    assert f"{numbers['mpjpe']:.1f} mm" in text
    assert numbers["mpjpe"] >= numbers["p_mpjpe"] > 0
    assert load_tool("evaluate_lifter").main([*arguments, "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--mocap", "nowhere.npz"], "nowhere.npz does not exist"),
        (["--h36m", "nowhere.npz"], "nowhere.npz"),
        (["--mpi-inf-3dhp", "nowhere"], "nowhere"),
        (["--mocap", "MOCAP", "--missing", "17"], "missing is 17; it must be from 0 to 16"),
        (["--mocap", "MOCAP", "--out", "MOCAP"], "is a file"),
    ],
)
def test_mistakes_are_one_sentence(
    files: dict[str, str], changes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [files["mocap.npz"] if c == "MOCAP" else c for c in changes]
    assert load_tool("evaluate_lifter").main([files["model"], *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
