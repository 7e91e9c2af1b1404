"""ONNX files give the ids and joints that torch gives, in any batch, and say what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_cli import expect_error, run
from tiny_photo_models import make_coco_tokenizer, make_heatmap_model, make_varied_classifier

from pct import PoseEstimator, PoseTokenizer
from pct.export import onnx as export
from pct.export.onnx import export_onnx
from pct.files.photo import read_photo
from pct.photos.crop import normalise_pixels, plain_crop
from pct.poses import Poses
from pct.skeleton import COCO17
from pct.tokens.codec import read_pose_batches

ROOT = Path(__file__).parents[2]
PHOTOS = {"000000000785.jpg": [280, 44, 218, 346], "000000547336.jpg": [10, 10, 300, 350]}
REAL = {"coco17-ordered": "coco/annotations/person_keypoints_val2017.json", "h36m17": "mocap_h36m17.npz"}
TINY = {
    "parallel": {},
    "fsq": {"codebook_dim": 3, "codebook_size": 64, "quantizer": "fsq", "levels": (4, 4, 4)},
}


def call(file: Path, **inputs: np.ndarray | torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {name: np.asarray(value) for name, value in inputs.items()})


def check(tokenizer: PoseTokenizer, folder: Path, poses: Poses, length: int | None = None) -> None:
    """Compare encoder and decoder with torch: the same ids, the same joints to 1e-4 of half a crop or of a metre."""
    is_3d = tokenizer.space.kind == "root3d"
    place = poses.keypoints[:, tokenizer.space.root].clone() if is_3d else poses.bbox
    name = "root" if is_3d else "bbox"
    wanted = tokenizer.encode(poses.keypoints, poses.visible, place)[:, :length]
    joints = tokenizer.decode(wanted, place)
    unit = tokenizer.space.frame(place)[1].numpy()
    for rows in (slice(None), slice(0, 1)):
        poses_in = {"keypoints": poses.keypoints[rows], "visible": poses.visible[rows], name: place[rows]}
        (indices,) = call(folder / "encoder.onnx", **poses_in)
        np.testing.assert_array_equal(indices, wanted[rows].numpy())
        (decoded,) = call(folder / "decoder.onnx", indices=wanted[rows], **{name: place[rows]})
        assert (np.abs(decoded - joints[rows].numpy()) / unit[rows, None, None]).max() < 1e-4


def random_poses(count: int) -> Poses:
    """Poses of 17 joints in boxes of different sizes; unknown joints hold NaN."""
    generator = torch.Generator().manual_seed(0)
    bbox = torch.rand(count, 4, generator=generator) * 200 + 20
    keypoints = bbox[:, None, :2] + torch.rand(count, 17, 2, generator=generator) * bbox[:, None, 2:]
    visible = torch.rand(count, 17, generator=generator) < 0.8
    keypoints[~visible] = torch.nan
    number = torch.arange(count)
    return Poses(COCO17, keypoints, visible, bbox, area=bbox[:, 2], image_ids=number, annotation_ids=number)


@pytest.mark.parametrize("kind", TINY)
def test_tiny_tokenizers_give_the_ids_and_joints_of_torch(kind: str, tmp_path: Path) -> None:
    make_coco_tokenizer(**TINY[kind]).save_pretrained(tmp_path / "model")
    export_onnx(tmp_path / "model", tmp_path / "out")
    check(PoseTokenizer.from_pretrained(tmp_path / "model"), tmp_path / "out", random_poses(200))


@pytest.mark.parametrize(("name", "length"), [("coco17-ordered", 16), ("h36m17", None)])
def test_ordered_models_do_on_real_poses(name: str, length: int | None, tmp_path: Path, shared_dir: Path) -> None:
    tokenizer = PoseTokenizer.from_pretrained(name)
    export_onnx(name, tmp_path / "out", length)
    poses = next(read_pose_batches(tokenizer, shared_dir / "data" / REAL[name], 500)).poses
    check(tokenizer, tmp_path / "out", poses, length)


def test_the_photo_model_reads_crops_as_torch_does(tmp_path: Path, capsys) -> None:
    """Also its tokenizer's encoder and decoder, which are those of coco17."""
    status, out, said = run(capsys, "export", "photos", "-o", tmp_path / "out")
    assert (status, out, said.count(".onnx: ")) == (0, "", 3)
    estimator = PoseEstimator.from_pretrained("photos", flip=False)
    model, space = estimator.model, estimator.space
    boxes = np.array(list(PHOTOS.values()), np.float32)
    crops = [
        plain_crop(box, space, estimator.image_size).warp(read_photo(ROOT / "docs/pictures/coco" / name))
        for name, box in PHOTOS.items()
    ]
    pixels = np.stack(crops).transpose(0, 3, 1, 2)
    logits, keypoints, indices = call(tmp_path / "out" / "estimator.onnx", pixels=pixels, bbox=boxes)
    with torch.no_grad():
        wanted = model(normalise_pixels(torch.from_numpy(pixels)))
    np.testing.assert_array_equal(indices, wanted.logits.argmax(dim=-1).numpy())
    np.testing.assert_allclose(logits, wanted.logits.numpy(), atol=1e-3)
    for row, (name, box) in enumerate(PHOTOS.items()):
        found = estimator.predict(ROOT / "docs/pictures/coco" / name, [box])
        assert np.abs(keypoints[row] - found.keypoints[0]).max() / max(box[2:]) < 1e-4
        np.testing.assert_array_equal(indices[row], found.indices[0])
    check(model.tokenizer, tmp_path / "out", random_poses(100))
    sheet = json.loads((tmp_path / "out" / "model.json").read_text())
    assert (sheet["fingerprint"], sheet["layout"]) == (model.tokenizer.fingerprint(), "coarse_fine")
    assert sheet["skeleton"]["keypoint_names"][0] == "nose"
    for file, ends in sheet["files"].items():
        session = onnxruntime.InferenceSession(tmp_path / "out" / file, providers=["CPUExecutionProvider"])
        for side, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            assert [(e["name"], e["shape"]) for e in ends[side]] == [(v.name, v.shape) for v in values]
        assert json.loads(session.get_modelmeta().custom_metadata_map["pct"]) == sheet


def test_what_cannot_be_exported_is_one_sentence(here: Path, capsys, monkeypatch) -> None:
    make_coco_tokenizer().save_pretrained("plain")
    make_coco_tokenizer(guidance_channels=4).save_pretrained("guided")
    make_heatmap_model().save_pretrained("heatmap")
    make_varied_classifier().save_pretrained("photos")
    Path("file").touch()
    Path("full").mkdir()
    Path("full/model.json").touch()
    expect_error(capsys, ["export", "lifter", "-o", "out"], "lifter is a lifter", "tokenizers and classifiers")
    expect_error(capsys, ["export", "heatmap", "-o", "out"], "heatmap is a ", "tokenizers and classifiers")
    expect_error(capsys, ["export", "nothing", "-o", "out"], "no model 'nothing'")
    expect_error(capsys, ["export", "guided", "-o", "out"], "needs image features")
    expect_error(capsys, ["export", "plain", "-o", "out", "--tokens", "3"], "3 tokens a pose", "not ordered")
    expect_error(capsys, ["export", "plain", "-o", "file"], "file is a file")
    expect_error(capsys, ["export", "plain", "-o", "full"], "already holds model.json", "--force")
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    expect_error(capsys, ["export", "plain", "-o", "out"], 'pip install "pct[onnx]"')
    assert not Path("out").exists()
