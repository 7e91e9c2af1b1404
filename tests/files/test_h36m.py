"""Human3.6M: small files of exactly VideoPose3D's layout, converted and loaded, against calculations of our own."""

from __future__ import annotations

import json
import re
import runpy
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pct.cameras import project
from pct.files.motion.h36m_convert import CAMERA_NAMES, KEPT_JOINTS, H36MCameras, convert_h36m, read_h36m_cameras
from pct.files.motion.pairs import ACTIONS, TEST_SUBJECTS, load_h36m
from pct.people.poses import generate_poses3d
from pct.skeleton import COCO17, H36M16, H36M17

Layout = dict[str, dict[str, Any]]


def numbers() -> np.ndarray:
    """The 300 numbers of w0: cameras 5 m from the middle, 1.5 m high, looking at it; z is up in this world."""
    w0 = np.zeros(300)
    for c in range(4):
        for s in range(11):
            turn = np.pi / 2 * c + 0.1 * s + 0.3
            # Rx(a) Ry(b) Rz(c): turn about the vertical, then tip z from up to forward.
            angles = (np.pi / 2 + 0.02, 0.01, turn)
            forward = rotation(*angles)[2]
            w0[6 * (c * 11 + s) :][:6] = (*angles, *(np.array([0, 0, 1000.0]) - 5000 * forward))
        w0[264 + 9 * c :][:9] = (1145 + c, 1144 + c, 512 + c, 515 - c, -0.2, 0.24, -0.001, -0.0009, 0.0015 * c)
    return w0


def rotation(x: float, y: float, z: float) -> np.ndarray:
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(turn_x @ turn_y @ turn_z)


@lru_cache
def pool() -> np.ndarray:
    return generate_poses3d(4000).keypoints.numpy()


def world_bodies(n: int, seed: int) -> np.ndarray:
    """(n, 32, 3) metres, z up; the joints that do not move on their own are NaN-free rubbish."""
    bodies = pool()[10 * seed : 10 * seed + n]
    joints = np.full((n, 32, 3), 77.0)
    joints[:, list(KEPT_JOINTS)] = bodies[..., [0, 2, 1]] * (1, 1, -1) / 1000 + (0, 0, 0.9)
    return joints.astype(np.float32)


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cameras") / "metadata.xml"
    text = " ".join(repr(float(v)) for v in numbers())
    path.write_text(f"<mvml><frames>1</frames><w0>[{text}]</w0></mvml>")
    return path


@pytest.fixture(scope="module")
def cameras(metadata: Path) -> H36MCameras:
    return read_h36m_cameras(metadata)


def recordings() -> Layout:
    """Two takes of every action of S9, one of S11, who lacks Directions; two actions have their older names."""
    old = {"Photo": "TakingPhoto", "WalkDog": "WalkingDog"}
    bodies: Layout = {"S9": {}, "S11": {}}
    for number, action in enumerate(ACTIONS):
        name = old.get(action, action)
        bodies["S9"][name] = world_bodies(3, number)
        bodies["S9"][f"{name} 1"] = world_bodies(4, 100 + number)
        if action != "Directions":
            bodies["S11"][f"{name} 2"] = world_bodies(2, 200 + number)
    return bodies


def detect(bodies: Layout, cameras: H36MCameras, extra: int = 2) -> Layout:
    """Project with the cameras; videos go on for ``extra`` frames."""
    found: Layout = {"S2": {"Walking": [np.zeros((5, 17, 2))] * 4}}
    for subject, actions in bodies.items():
        s = cameras.subjects.index(subject)
        found[subject] = {"Directions 9": [np.zeros((1, 17, 2), np.float32)] * 4}
        for action, clip in actions.items():
            views = []
            for c in range(4):
                x = (clip[:, KEPT_JOINTS] * 1000 - cameras.position[s, c]) @ cameras.rotation[s, c].T
                args = (cameras.intrinsics[s, c], cameras.distortion[s, c])
                pixels = project(torch.from_numpy(x), *(torch.from_numpy(a.copy()) for a in args)).numpy()
                views.append(np.concatenate([pixels, pixels[:1].repeat(extra, 0)]).astype(np.float32))
            found[subject][action] = views
    return found


def save(folder: Path, bodies: Layout, found: Layout, name: str = "gt", layout: str = "h36m") -> tuple[Path, Path]:
    np.savez_compressed(folder / "data_3d_h36m.npz", positions_3d=np.array(bodies, dtype=object))
    joints = next(iter(found["S9"].values()))[0].shape[1]
    about = {"layout_name": layout, "num_joints": joints, "keypoints_symmetry": [[4], [1]]}
    path = folder / f"data_2d_h36m_{name}.npz"
    np.savez_compressed(path, positions_2d=np.array(found, dtype=object), metadata=np.array(about, dtype=object))
    return folder / "data_3d_h36m.npz", path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, cameras: H36MCameras) -> tuple[Path, Path]:
    bodies = recordings()
    return save(tmp_path_factory.mktemp("h36m"), bodies, detect(bodies, cameras))


@pytest.fixture(scope="module")
def converted(original: tuple[Path, Path], cameras: H36MCameras) -> Path:
    out = original[0].with_name("plain.npz")
    (said,) = convert_h36m(out, original[0], [original[1]], cameras, trust_pickle=True)
    assert said == f"{out}: 44 recordings of S9, S11, 133 frames by 4 cameras; 2D poses: gt"
    return out


def as_json(cameras: H36MCameras) -> dict[str, Any]:
    names = ("rotation", "position", "intrinsics", "distortion")
    return {
        subject: {name: {n: getattr(cameras, n)[s, c].tolist() for n in names} for c, name in enumerate(CAMERA_NAMES)}
        for s, subject in enumerate(cameras.subjects)
    }


def test_cameras_of_the_metadata_are_those_of_the_formula_and_of_json(cameras: H36MCameras, tmp_path: Path) -> None:
    w0 = numbers()
    for c, s in ((0, 0), (2, 4), (3, 10)):
        six, nine = w0[6 * (c * 11 + s) :][:6], w0[264 + 9 * c :][:9]
        assert np.allclose(cameras.rotation[s, c], rotation(*six[:3]))
        assert np.allclose(cameras.position[s, c], six[3:])
        assert np.allclose([*cameras.intrinsics[s, c], *cameras.distortion[s, c]], nine)
    assert cameras.image_size[8].tolist() == [[1000, 1002], [1000, 1000], [1000, 1000], [1000, 1002]]
    (tmp_path / "cameras.json").write_text(json.dumps(as_json(cameras)))
    again = read_h36m_cameras(tmp_path / "cameras.json")
    for name in ("rotation", "position", "intrinsics", "distortion", "image_size"):
        assert np.allclose(getattr(again, name), getattr(cameras, name), atol=1e-6), name


def test_bad_cameras_are_refused(metadata: Path, cameras: H36MCameras, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_h36m_cameras(tmp_path / "metadata.xml")
    for text, match in (
        ("<w0>", "ParseError: no element"),
        ("<a/>", r"bad\.xml: no element w0"),
        ("<a><w0>1 2</w0></a>", "holds 2 numb"),
    ):
        (tmp_path / "bad.xml").write_text(text)
        with pytest.raises(ValueError, match=match):
            read_h36m_cameras(tmp_path / "bad.xml")
    for changes, match in (
        ({"position": None}, r"S5 54138969 has \['distortion', .*'rotation'\]; it must have"),
        ({"position": [0, 0]}, r"position is \[0, 0\]; it must be \(3,\) numbers"),
        ({"intrinsics": [1.1, 1.1, 0, 0]}, r"focal lengths are 1\.1 to"),
    ):
        values = as_json(cameras)
        entry = {**values["S5"]["54138969"], **changes}
        values["S5"]["54138969"] = {name: value for name, value in entry.items() if value is not None}
        (tmp_path / "bad.json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=match):
            read_h36m_cameras(tmp_path / "bad.json")


def test_loaded_pairs_are_the_recordings(converted: Path, cameras: H36MCameras) -> None:
    pairs = load_h36m(converted, TEST_SUBJECTS, "gt")
    assert len(pairs) == 4 * (15 * 7 + 14 * 2)
    assert set(pairs.actions) == set(ACTIONS)
    number = pairs.clip_ids.index("S9 WalkDog 1 58860488")
    assert (pairs.subject_ids[number], pairs.actions[number]) == ("S9", "WalkDog")
    rows = pairs.select(pairs.clip_index == number)
    world = recordings()["S9"]["WalkingDog 1"][:, KEPT_JOINTS] * 1000.0
    expected = np.einsum("ij,nkj->nki", cameras.rotation[8, 2], world - cameras.position[8, 2])
    assert np.allclose(rows.keypoints3d.numpy(), expected, atol=0.01)
    assert np.allclose(rows.intrinsics[0].numpy(), cameras.intrinsics[8, 2])
    assert rows.image_size[0].tolist() == [1000, 1000]
    # Projected poses are the detections of a perfect detector, but for the lens's distortion.
    projected, found = load_h36m(converted, ["S9"]), load_h36m(converted, ["S9"], "gt")
    assert torch.allclose(found.keypoints2d, projected.keypoints2d, atol=1e-2)
    ideal = project(projected.keypoints3d, projected.intrinsics)
    assert 0.5 < float((ideal - projected.keypoints2d).norm(dim=-1).max()) < 50


def test_sixteen_joints_are_seventeen_without_the_nose(converted: Path) -> None:
    every, fewer = (load_h36m(converted, ["S11"], "gt", skeleton=skeleton) for skeleton in (H36M17, H36M16))
    kept = [i for i in range(17) if i != 9]
    assert torch.equal(every.keypoints3d[:, kept], fewer.keypoints3d)
    assert torch.equal(every.keypoints2d[:, kept], fewer.keypoints2d)
    with pytest.raises(ValueError, match="not of skeleton coco17"):
        load_h36m(converted, skeleton=COCO17)


def test_actions_are_matched_by_their_exact_name(converted: Path) -> None:
    sitting = load_h36m(converted, ["S9"], actions=["Sitting"])
    assert (len(sitting), set(sitting.actions)) == (4 * 7, {"Sitting"})
    assert len(load_h36m(converted, ["S9"], actions=["Sitting"], stride=2)) == 4 * (2 + 2)


@pytest.mark.parametrize(
    ("subjects", "detections", "actions", "message"),
    [
        (["S1"], "projected", None, "no subject 'S1'; there are S9, S11"),
        (["S9"], "cpn", None, "no 2D poses cpn; there are projected, gt"),
        (["S9"], "projected", ["Sit"], "S9 has no Sit;"),
        ([], "projected", None, "nothing to load of subjects none"),
    ],
)
def test_what_is_not_there_is_named(converted: Path, subjects, detections, actions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_h36m(converted, subjects, detections, actions=actions)
    with pytest.raises(ValueError, match=r"convert_h36m\.py writes it"):
        load_h36m(converted.with_name("none.npz"))


def test_the_converted_file_is_plain(converted: Path) -> None:
    with np.load(converted, allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "fiU" for name in archive.files)
        assert archive["keypoints2d_gt"].shape == (15 * 7 + 14 * 2, 4, 17, 2)


def convert_changed(folder: Path, cameras: H36MCameras, bodies: Layout, found: Layout, **names: str) -> Path:
    poses, path = save(folder, bodies, found, **names)
    out = folder / "out.npz"
    convert_h36m(out, poses, [path], cameras, trust_pickle=True, force=True)
    return out


def test_detections_may_lack_only_the_damaged_recording(cameras: H36MCameras, tmp_path: Path) -> None:
    bodies = {"S11": {"Directions 1": world_bodies(3, 0), "Walking": world_bodies(2, 1)}, "S9": {}}
    found = detect(bodies, cameras)
    del found["S11"]["Directions 1"]
    out = convert_changed(tmp_path, cameras, bodies, found)
    assert load_h36m(out, ["S11"], "gt", actions=["Directions", "Walking"]).clip_ids[0].startswith("S11 Walking")
    assert len(load_h36m(out, ["S11"], actions=["Directions", "Walking"])) == 4 * 5
    with pytest.raises(
        ValueError, match=r"S11 has no Discussion, Eating, .*WalkTogether; there are Directions, Walking"
    ):
        load_h36m(out, ["S11"])
    del found["S11"]["Walking"]
    with pytest.raises(ValueError, match="no 2D poses of S11 Walking, which has 3D poses"):
        convert_changed(tmp_path, cameras, bodies, found)


def test_other_layouts_are_bridged(cameras: H36MCameras, tmp_path: Path) -> None:
    bodies = {"S9": {"Walking": world_bodies(3, 0)}}
    coco = detect(bodies, cameras)
    order = [H36M17.keypoint_names.index(n) if n in H36M17.keypoint_names else 10 for n in COCO17.keypoint_names]
    coco["S9"] = {a: [v[:, order] for v in views] for a, views in coco["S9"].items()}
    out = convert_changed(tmp_path, cameras, bodies, coco, name="detectron_pt_coco", layout="coco")
    pairs = load_h36m(out, ["S9"], "detectron_pt_coco", actions=["Walking"])
    exact = load_h36m(out, ["S9"], actions=["Walking"])
    knee = H36M17.keypoint_names.index("left_knee")
    assert torch.allclose(pairs.keypoints2d[:, knee], exact.keypoints2d[:, knee], atol=0.01)
    hips = [H36M17.keypoint_names.index(f"{s}_hip") for s in ("left", "right")]
    assert torch.allclose(pairs.keypoints2d[:, 0], exact.keypoints2d[:, hips].mean(dim=1), atol=0.01)
    # Each of several files gives its own set.
    poses, gt = save(tmp_path, bodies, detect(bodies, cameras))
    files = [gt, tmp_path / "data_2d_h36m_detectron_pt_coco.npz"]
    convert_h36m(out, poses, files, cameras, trust_pickle=True, force=True)
    assert torch.equal(load_h36m(out, ["S9"], "detectron_pt_coco", actions=["Walking"]).keypoints2d, pairs.keypoints2d)
    found = load_h36m(out, ["S9"], "gt", actions=["Walking"])
    assert torch.allclose(found.keypoints2d, exact.keypoints2d, atol=0.01)


def test_bad_layouts_are_refused(cameras: H36MCameras, tmp_path: Path) -> None:
    clip = world_bodies(3, 0)
    bodies = {"S9": {"Walking": clip}}
    views = detect(bodies, cameras)["S9"]["Walking"]
    with pytest.raises(ValueError, match="its joints are halpe with 17 joints"):
        convert_changed(tmp_path, cameras, bodies, {"S9": {"Walking": views}}, layout="halpe")
    with pytest.raises(ValueError, match="no cameras for S99"):
        convert_changed(tmp_path, cameras, {"S99": bodies["S9"]}, {"S9": {"Walking": views}})
    for poses, found, message in (
        (
            clip,
            [v[:2] for v in views],
            r"S9 Walking, camera 54138969: 2D poses have shape \(2, 17, 2\); expected at least 3 frames",
        ),
        (clip, views[:3], "4 cameras"),
        (clip * 1000, views, r"read as metres .* mm, read as millimetres \d+ mm; expected metres"),
        (clip[:, :20], views, r"S9 Walking has shape \(3, 20, 3\); expected \(T, 32, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_changed(tmp_path, cameras, {"S9": {"Walking": poses}}, {"S9": {"Walking": found}})


def test_broken_files_are_refused(original: tuple[Path, Path], cameras: H36MCameras, tmp_path: Path) -> None:
    broken = tmp_path / "data_3d_h36m.npz"
    broken.write_bytes(original[0].read_bytes()[:200])
    for poses, detections, message in (
        (broken, [], r"truncated, or no \.npz archive"),
        (original[1], [], "no array positions_3d; the file has positions_2d, metadata"),
        (original[0], [original[0]], "is named data_2d_h36m_NAME"),
    ):
        with pytest.raises(ValueError, match=message):
            convert_h36m(tmp_path / "out.npz", poses, detections, cameras, trust_pickle=True)
    assert not (tmp_path / "out.npz").exists()
    with pytest.raises(ValueError, match=r"no converted file; run tools/convert_h36m\.py"):
        load_h36m(original[0])


def test_swapped_sides_are_warned_of(cameras: H36MCameras, tmp_path: Path) -> None:
    bodies = {"S9": {"Walking": world_bodies(40, 0)}}
    found = detect(bodies, cameras)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_h36m(convert_changed(tmp_path, cameras, bodies, found), ["S9"], "gt", actions=["Walking"])
    flip = H36M17.flip_index
    swapped = {"S9": {"Walking": [v[:, flip] for v in found["S9"]["Walking"]]}}
    out = convert_changed(tmp_path, cameras, bodies, swapped)
    with pytest.warns(UserWarning, match="2D poses fit their 3D pose better with left and right swapped"):
        load_h36m(out, ["S9"], "gt", actions=["Walking"])
    clip = bodies["S9"]["Walking"].copy()
    clip[:, KEPT_JOINTS] = clip[:, KEPT_JOINTS][:, flip]
    out = convert_changed(tmp_path, cameras, {"S9": {"Walking": clip}}, found)
    with pytest.warns(UserWarning, match="bend the wrong way, so left and right seem to be swapped"):
        load_h36m(out, ["S9"], actions=["Walking"])


def test_the_tool_converts_and_asks_for_the_word(
    original: tuple[Path, Path], metadata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "convert_h36m.py"))["main"]
    out = tmp_path / "plain.npz"
    arguments = [str(out), "--poses", str(original[0]), "--cameras", str(metadata), "--detections", str(original[1])]
    assert main(arguments) == 1
    assert re.search("run any code on this machine.*--trust-pickle", capsys.readouterr().err)
    assert not out.exists()
    assert main([*arguments, "--trust-pickle"]) == 0
    assert "44 recordings of S9, S11, 133 frames by 4 cameras; 2D poses: gt" in capsys.readouterr().out
    assert main([*arguments, "--trust-pickle"]) == 1
    assert "exists" in capsys.readouterr().err
    assert len(load_h36m(out, ["S9"])) == 4 * 105
