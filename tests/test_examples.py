"""The scripts of examples/ run small, and give what they promise."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pct import PoseTokenizer
from pct.cli.main import main as pct_main
from pct.files.motion.mocap import JOINT_NAMES
from pct.people.poses import generate_poses, generate_poses3d
from pct.skeleton import COCO17
from pct.training.kinds import load_run
from pct.training.tokenizer.recipe import build_tokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Run a script as a user does."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


def write_coco(path: Path, joints: list[str], number: int = 60) -> Path:
    """Write poses of some of COCO's joints under names of their own, each on a photo of its own."""
    poses = generate_poses(number, COCO17, seed=3)
    rows = [poses.skeleton.keypoint_names.index(name) for name in joints]
    points = torch.cat([poses.keypoints, 2.0 * poses.visible[..., None]], dim=-1)[:, rows]
    people = [
        {
            **{"id": i + 1, "image_id": i + 1, "category_id": 1, "iscrowd": 0, "num_keypoints": len(rows)},
            **{"keypoints": p.flatten().tolist(), "bbox": b.tolist(), "area": float(b[2] * b[3])},
        }
        for i, (p, b) in enumerate(zip(points, poses.bbox, strict=True))
    ]
    images = [{"id": i + 1, "file_name": f"{i}.jpg", "width": 2000, "height": 2000} for i in range(number)]
    bones = [[i, i + 1] for i in range(1, len(joints))]
    category = {"id": 1, "name": "player", "keypoints": joints, "skeleton": bones}
    path.write_text(json.dumps({"images": images, "annotations": people, "categories": [category]}))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token table of generated poses."""
    folder = tmp_path_factory.mktemp("tables")
    coco = write_coco(folder / "poses.json", list(COCO17.keypoint_names))
    assert pct_main(["encode", str(coco), "-o", str(folder / "tokens.parquet")]) == 0
    return folder / "tokens.parquet"


def test_the_language_model_learns_and_all_that_it_says_decodes(monkeypatch, capsys, table, tmp_path) -> None:
    picture = tmp_path / "samples.png"
    run_example(
        monkeypatch, "language_model", table, table, "-o", picture, "--steps", 30, "--batch-size", 16, "--samples", 2
    )
    said = capsys.readouterr().out
    bits, alone = map(float, re.findall(r": (\d+\.\d)", said))
    assert bits < alone
    assert picture.stat().st_size > 1000


def test_search_finds_the_pose_itself_first(monkeypatch, capsys, table, tmp_path) -> None:
    run_example(monkeypatch, "search", table, table, "-o", tmp_path / "found.png", "--count", 8, "-k", 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].split("%")[0].strip() for line in lines] == ["100", "100"]
    assert (tmp_path / "found.png").exists()


def test_action_recognition_compares_all_readers(monkeypatch, capsys, tmp_path) -> None:
    rng = np.random.default_rng(0)
    names = ["walk", "run"] * 6
    standing = generate_poses3d(12).keypoints.numpy() * np.array([1, -1, -1], np.float32)
    joints = np.repeat(standing, 16, axis=0) + rng.normal(0, 1, (192, 17, 3)).astype(np.float32)
    texts = {"clip_id": [f"c{i}" for i in range(12)], "subject_id": ["s"] * 12, "action": names, "source": ["x"] * 12}
    np.savez(
        tmp_path / "mocap.npz",
        joints=joints.astype(np.float32),
        clip_start=np.arange(13) * 16,
        fps=15.0,
        joint_names=np.array(JOINT_NAMES),
        **{name: np.array(values) for name, values in texts.items()},
    )
    run_example(monkeypatch, "action_recognition", tmp_path / "mocap.npz", "--epochs", 1, "--views", 1)
    said = capsys.readouterr().out
    assert "12 windows of 12 clips" in said
    assert said.count("% right") == 4


def test_a_tokenizer_of_own_joints_starts_from_the_shipped_one(monkeypatch, capsys, tmp_path) -> None:
    joints = ["nose", *(f"{s}_{j}" for j in ("shoulder", "elbow", "hip", "knee") for s in ("left", "right"))]
    coco = write_coco(tmp_path / "own.json", joints)
    with pytest.warns(UserWarning, match="fit and are taken over"):
        run_example(monkeypatch, "finetune_tokenizer", coco, "-o", tmp_path / "run", "--steps", 2)
    assert "9 joints, 53 poses to train on, 6 held out" in capsys.readouterr().out
    model = PoseTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert model.skeleton.keypoint_names == tuple(joints)
    assert (tmp_path / "run" / "poses.png").exists()


def test_model_from_of_the_same_sizes_takes_all_over(tmp_path) -> None:
    shipped = PoseTokenizer.from_pretrained()
    run = load_run("tokenizer", EXAMPLES.parent / "configs" / "tokenizer_coco.yaml", ["model_from=coco17"])
    built = build_tokenizer(run, shipped.skeleton).state_dict()
    assert all(torch.equal(value, built[name]) for name, value in shipped.state_dict().items())
    with pytest.raises(ValueError, match="this run needs one of layout parallel"):
        build_tokenizer(load_run("tokenizer", "coco_paper", ["model_from=coco17"]), shipped.skeleton)
