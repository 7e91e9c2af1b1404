"""The README's snippets and commands run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bodies import write_bodies

from pct import PoseEstimator, cli
from pct.data.bodies import generate_poses
from pct.data.coco import write_coco_poses
from pct.data.people import GeneratedPersons, generate_scene
from pct.evaluation.metrics import oks
from pct.models.checkpoint import CheckpointError, find_model
from pct.skeleton import COCO17, Skeleton

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_python_snippets_run_one_after_the_other() -> None:
    names: dict[str, object] = {}
    blocks = _blocks("python")
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


def test_pct_commands_run(folder: Path) -> None:
    write_bodies(folder / "bodies.npz")
    write_coco_poses("person_keypoints_val2017.json", generate_poses(30, COCO17, seed=0))
    Path("photo.jpg").write_bytes(generate_scene(seed=3, index=0).jpeg)
    lines = [line.split("#")[0] for block in _blocks("bash") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("pct ")]
    assert len(commands) >= 5
    for command in commands:
        if command[1] == "evaluate":
            continue  # needs the training file; tests/test_report.py runs it
        assert cli.main(command[1:]) == 0, command
    assert Path("poses.json").exists()
    assert Path("gallery.png").exists()
    assert Path("poses3d.png").exists()
    assert Path("decoded3d.npz").exists()
    assert Path("predictions/keypoints.json").exists()


def test_named_files_exist() -> None:
    for name in re.findall(r"(?:configs|tools|docs|tests|benchmarks)/[\w/]+\.\w+", README):
        assert (ROOT / name).exists(), name


def test_skeleton_example_is_one(tmp_path: Path) -> None:
    (tmp_path / "hand5.yaml").write_text(_blocks("yaml")[0])
    assert Skeleton.from_yaml(tmp_path / "hand5.yaml").flip_pairs == ((1, 2), (3, 4))


def test_the_shipped_model_is_small_and_has_a_card() -> None:
    folder = find_model("coco17")
    assert sum(f.stat().st_size for f in folder.iterdir()) < 8_000_000
    assert "CC BY 4.0" in (folder / "README.md").read_text(encoding="utf-8")
    with pytest.raises(CheckpointError, match="coco17"):
        find_model("coco18")


def test_the_shipped_classifier_finds_generated_people_and_says_what_it_is() -> None:
    """Better than chance by far: the mean pose of the crops has a similarity near 0.2."""
    estimator = PoseEstimator.from_pretrained("people")
    persons = [GeneratedPersons(12, seed=123)[i] for i in range(12)]
    found = [estimator.predict(person.image, person.bbox[None]) for person in persons]
    keypoints, target = (
        torch.tensor(np.stack(x)) for x in ([f.keypoints[0] for f in found], [p.keypoints for p in persons])
    )
    visible = torch.tensor(np.stack([p.visibility for p in persons])) > 0
    area = torch.tensor([p.area for p in persons])
    assert oks(keypoints, target, visible, area, torch.tensor(COCO17.sigmas)).mean() > 0.35
    assert "generated people only" in (find_model("people") / "README.md").read_text(encoding="utf-8")
