"""What `fuzz.py` damages and how it is read: samples of every kind of file, and a reader of each kind."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pct import PoseTokenizer, TokenizerConfig
from pct.files.coco_writer import write_coco_poses
from pct.files.motion.mocap import JOINT_NAMES, load_mocap
from pct.files.motion.pairs import load_h36m
from pct.files.parquet import write_columns
from pct.files.photo import photo_size, read_photo
from pct.files.pose_files import load_keypoint_file, read_poses
from pct.files.video import VideoReader, write_video
from pct.people.poses import generate_poses
from pct.photos.detection.boxes import load_photo_boxes
from pct.poses import Poses
from pct.skeleton import COCO17, H36M17, Skeleton
from pct.tokens.codec import encode_file
from pct.tokens.table import TokenReader
from pct.tokens.text_files import table_to_text, text_to_table
from pct.training.kinds import load_run
from pct.training.run_files import load_checkpoint, read_metrics

_TINY = TokenizerConfig(
    num_tokens=4, codebook_size=16, codebook_dim=4, encoder_width=8, encoder_blocks=1, decoder_width=4
)


def make_samples(folder: Path) -> dict[str, list[Path]]:
    """Write the samples, unless they are there, and return them by the name of their reader."""
    if not folder.exists():
        _write_samples(folder)
    return {name: sorted((folder / name).iterdir()) for name in READERS}


def _write_samples(folder: Path) -> None:
    for name in READERS:
        (folder / name).mkdir(parents=True)
    poses = generate_poses(12, COCO17, seed=0)
    coco = folder / "coco" / "poses.json"
    write_coco_poses(coco, [poses])
    text = coco.read_text()
    (folder / "coco/utf16.json").write_bytes(text.encode("utf-16"))
    (folder / "coco/packed.json.gz").write_bytes(gzip.compress(text.encode()))
    results = [{**a, "score": 0.5} for a in json.loads(text)["annotations"]]
    (folder / "coco/results.json").write_text(json.dumps(results))
    person = {"image": "a.jpg", "joints": [[10.0 + j, 20.0 + 2 * j] for j in range(16)], "joints_vis": [1] * 16}
    mpii = [{**person, "center": [20, 40], "scale": 0.5, "head_size": 5.0}] * 4
    (folder / "coco/mpii.json").write_text(json.dumps(mpii))
    for name in ("poses.json", "results.json"):
        (folder / "boxes" / name).write_bytes((folder / "coco" / name).read_bytes())
    _write_arrays(folder, poses)
    _write_photos(folder)
    _write_tokens(folder, coco)
    (folder / "yaml/run.yaml").write_text("out: x\nsteps: 5\noptim: {lr: 0.001}\nmodel: &m {num_tokens: 8}\n")
    skeleton = {"name": "t", "keypoint_names": ["a", "left_b", "right_b"], "edges": [[0, 1]], "sigmas": [0.1] * 3}
    (folder / "yaml/skeleton.yaml").write_text(json.dumps(skeleton))


def _write_arrays(folder: Path, poses: Poses) -> None:
    arrays = {"keypoints": poses.keypoints.numpy(), "visible": poses.visible.numpy(), "bbox": poses.bbox.numpy()}
    np.savez(folder / "arrays/plain.npz", **arrays, keypoint_names=np.array(COCO17.keypoint_names))
    np.savez_compressed(folder / "arrays/packed.npz", **arrays, annotation_ids=np.arange(12))
    np.savez(folder / "arrays/fortran.npz", keypoints=np.asfortranarray(arrays["keypoints"]))
    columns = {"keypoints": (np.dtype(np.float32), 34), "annotation_id": (np.dtype(np.int64), 0)}
    with write_columns(folder / "arrays/poses.parquet", columns, {}) as write:
        write({"keypoints": arrays["keypoints"].reshape(12, 34), "annotation_id": np.arange(12)})
    bodies = np.random.default_rng(0).normal(0, 120, (30, 17, 3)).astype(np.float32)
    clips = {name: np.array(["a", "b"]) for name in ("clip_id", "subject_id", "action", "source")}
    mocap = {"joints": bodies, "clip_start": np.array([0, 10, 30]), "fps": 50.0, "joint_names": np.array(JOINT_NAMES)}
    np.savez(folder / "motion/mocap.npz", **mocap, **clips)
    np.savez(folder / "motion/bodies.npz", keypoints=bodies, image_ids=np.arange(30))
    h36m: dict[str, Any] = {"format": ["pct-h36m-1"], "positions": bodies + np.float32([0, 0, 6000])}
    h36m |= {
        "clip_start": [0, 30],
        "clip_subject": ["S9"],
        "clip_action": ["Walking 1"],
        "camera_names": ["1"],
        "camera_subject": ["S9"],
    }
    h36m |= {"camera_rotation": np.eye(3)[None, None], "camera_position": np.zeros((1, 1, 3))}
    h36m |= {"camera_intrinsics": np.full((1, 1, 4), 500.0), "camera_distortion": np.zeros((1, 1, 5))}
    np.savez(folder / "motion/h36m.npz", **h36m, camera_image_size=np.full((1, 1, 2), 1000))


def _write_photos(folder: Path) -> None:
    from PIL import Image

    grey = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    image = Image.fromarray(grey)
    for ending in ("png", "jpg", "bmp", "gif", "webp", "tif", "ppm"):
        image.save(folder / "photo" / f"a.{ending}")
    image.quantize(16).save(folder / "photo/palette.png", transparency=0)
    Image.fromarray(grey[..., 0].astype(np.uint16) * 256).save(folder / "photo/deep.png")
    image.save(folder / "photo/turned.tif", tiffinfo={0x0112: 6})
    with write_video(folder / "video/a.mp4", 10) as write:
        for _ in range(5):
            write(grey)


def _write_tokens(folder: Path, coco: Path) -> None:
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(_TINY).eval()
    encode_file(tokenizer, coco, folder / "tokens/tokens.parquet")
    table_to_text(folder / "tokens/tokens.parquet", folder / "text/tokens.txt")
    tokenizer.save_pretrained(folder.parent / "model")
    for name in ("config.json", "model.safetensors"):
        (folder / "model" / name).write_bytes((folder.parent / "model" / name).read_bytes())
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.zeros(4)}, "optimizer": {}, "window": [], "step": 3}, buffer)
    (folder / "run/checkpoint.pt").write_bytes(buffer.getvalue())
    (folder / "run/metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')


def _find_wrong(poses: Poses) -> list[str]:
    """Say what cannot be of poses that were read as good ones."""
    known = poses.keypoints[poses.visible]
    wrong = [] if not len(known) or bool((known.abs() < 1e6).all()) else ["joints are no pixels"]
    if len(poses) and not (bool((poses.bbox.abs() < 1e6).all()) and bool((poses.bbox[:, 2:] > 0).all())):
        wrong.append("boxes are none")
    area = poses.area[~poses.area.isnan()]
    return wrong + ([] if bool((area > 0).all()) else ["areas are not positive"])


def _read_coco(path: Path) -> list[str]:
    wrong: list[str] = []
    for batch in read_poses(path, COCO17, 5):
        wrong += _find_wrong(batch.poses)
    if "results" not in path.name:
        wrong += _find_wrong(load_keypoint_file(path, report=lambda _: None))
    return wrong


def _read_boxes(path: Path) -> list[str]:
    boxes = load_photo_boxes(path, report=lambda _: None)
    good = bool(np.isfinite(boxes.bbox).all() and np.isfinite(boxes.scores).all())
    return [] if good else ["a box is not finite"]


def _read_arrays(path: Path) -> list[str]:
    return [wrong for batch in read_poses(path, COCO17, 5) for wrong in _find_wrong(batch.poses)]


def _read_motion(path: Path) -> list[str]:
    if "h36m" in path.name:
        load_h36m(path, ["S9"], actions=["Walking"])
    else:
        for batch in read_poses(path, H36M17, 7, root=0):
            if not bool(torch.isfinite(batch.poses.keypoints).all()):
                return ["3D joints are not finite"]
        if "mocap" in path.name:
            load_mocap(path)
    return []


def _read_photo(path: Path) -> list[str]:
    size, photo = photo_size(path), read_photo(path)
    fits = photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3
    return [] if fits and size == photo.shape[1::-1] else [f"the photo is {photo.shape}, its size {size}"]


def _read_video(path: Path) -> list[str]:
    for number, frame in enumerate(VideoReader(path).frames()):
        if frame.ndim != 3 or number > 20:
            break
    return []


def _read_tokens(path: Path) -> list[str]:
    with TokenReader(path) as reader:
        for tokens in reader.batches(5):
            if (tokens.indices >= reader.metadata.codebook_size).any():
                return ["an id is outside the codebook"]
    return []


def _read_text(path: Path) -> list[str]:
    torch.manual_seed(0)
    text_to_table(PoseTokenizer(_TINY).eval(), path, path.with_suffix(".parquet"), force=True)
    path.with_suffix(".parquet").unlink()
    return []


def _read_model(path: Path) -> list[str]:
    """Read a model folder in which one file is damaged."""
    folder = path.with_suffix(".model")
    folder.mkdir()
    try:
        for name in ("config.json", "model.safetensors"):
            whole = path.parent / "model" / name
            (folder / name).write_bytes((path if path.name.endswith(name) else whole).read_bytes())
        PoseTokenizer.from_pretrained(folder)
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    return []


def _read_run(path: Path) -> list[str]:
    if path.suffix == ".jsonl":
        read_metrics(path)
        return []
    folder = path.with_suffix(".run")
    folder.mkdir()
    try:
        (folder / "checkpoint.pt").write_bytes(path.read_bytes())
        load_checkpoint(folder)
    finally:
        (folder / "checkpoint.pt").unlink()
        folder.rmdir()
    return []


def _read_yaml(path: Path) -> list[str]:
    if "skeleton" in path.name:
        Skeleton.from_yaml(path)
    else:
        load_run("tokenizer", path, [])
    return []


# By name: reads a file and says what is wrong with what it read.
READERS: dict[str, Callable[[Path], list[str]]] = {
    "coco": _read_coco,
    "boxes": _read_boxes,
    "arrays": _read_arrays,
    "motion": _read_motion,
    "photo": _read_photo,
    "video": _read_video,
    "tokens": _read_tokens,
    "text": _read_text,
    "model": _read_model,
    "run": _read_run,
    "yaml": _read_yaml,
}
