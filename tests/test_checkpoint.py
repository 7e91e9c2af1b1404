"""Model folders: strict loading, atomic writing, and a sentence for every way in which files can be wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pct import PoseTokenizer, TokenizerConfig, checkpoint
from pct.checkpoint import CheckpointError
from pct.lifting.lifter import Lifter
from pct.photos.detection.detector import load_detector
from pct.photos.estimator import PoseEstimator

TINY = TokenizerConfig(
    num_tokens=4, codebook_size=16, codebook_dim=4, encoder_width=8, encoder_blocks=1, decoder_width=4
)
POSE = torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(0)) * 250 + 50
PHOTO = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    PoseTokenizer(TINY).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def change_weights(folder: Path, **changes: object) -> None:
    """Replace tensors by name (dots as double underscores); None drops one."""
    state = load_file(folder / "model.safetensors")
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    save_file(state, folder / "model.safetensors")


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: truncate(f / "model.safetensors", 500), "truncated or not a safetensors file"),
        (lambda f: truncate(f / "model.safetensors", 4), "truncated or not a safetensors file"),
        (lambda f: truncate(f / "model.safetensors", 0), "truncated or not a safetensors file"),
        (lambda f: truncate(f / "config.json", 50), "not valid JSON"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "not valid JSON"),
        (lambda f: (f / "config.json").write_text("[1, 2]"), "not a pose_tokenizer"),
        (lambda f: (f / "config.json").unlink(), "no config.json, so this is not a model folder"),
        (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
        (lambda f: change_config(f, kind="pose_classifier"), "this is not a pose_tokenizer"),
        (lambda f: change_config(f, format_version=2), "format_version is 2; this version reads 1"),
        (lambda f: change_config(f, widht=3), "unknown keys: widht"),
        (lambda f: change_config(f, encoder="transformer"), "this version reads mixer"),
        (lambda f: change_config(f, encoder_width="wide"), "tokenizer encoder_width is 'wide'; it must be an integer"),
        (lambda f: change_config(f, encoder_width=8.5), "encoder_width is 8.5; it must be an integer"),
        (lambda f: change_config(f, encoder_blocks=-1), "encoder_blocks is -1; it must be an integer of at least 0"),
        (lambda f: change_config(f, ema_decay=None), "ema_decay is None; it must be a number"),
        (lambda f: change_config(f, encoder_width=16), "size mismatch"),
        (lambda f: change_config(f, skeleton={"name": "x"}), "do not make this model"),
        (lambda f: change_weights(f, encoder__norm__weight=torch.ones(9)), r"size mismatch for encoder\.norm"),
        (lambda f: change_weights(f, encoder__norm__weight=None), r"Missing key.*encoder\.norm\.weight"),
        (lambda f: change_weights(f, encoder__norm__weight=torch.full((8,), torch.nan)), r"encoder\.norm.* holds NaN"),
        (lambda f: change_weights(f, encoder__norm__weight=torch.full((8,), torch.inf)), r"encoder\.norm.* holds NaN"),
        (lambda f: change_weights(f, extra=torch.ones(1)), r"Unexpected key.*extra"),
        (lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"a": 1})), "not a safetensors file"),
    ],
)
def test_broken_folders_say_what_is_wrong(folder: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    spoil(folder)
    with pytest.raises(CheckpointError) as error:
        PoseTokenizer.from_pretrained(folder)
    assert str(folder) in str(error.value)
    assert error.match(f"(?s){message}")


class Dangerous:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_pickles_are_never_run(folder: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": Dangerous(tmp_path / "ran")}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        PoseTokenizer.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    torch.manual_seed(1)
    other = PoseTokenizer(TINY)
    with pytest.raises(FileExistsError, match="already holds a model"):
        other.save_pretrained(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    other.save_pretrained(folder, force=True)
    assert PoseTokenizer.from_pretrained(folder).fingerprint() == other.fingerprint()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            checkpoint.save_model(tmp_path / "model", "kind", {}, {"a": torch.ones(1)})
    assert list((tmp_path / "model").iterdir()) == []
    assert path.read_bytes() == b"old"


def test_names_that_are_no_model_are_explained(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is a file; a model is a folder"):
        PoseTokenizer.from_pretrained(tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="no model 'coco71'"):
        PoseTokenizer.from_pretrained("coco71")


def test_fingerprint_does_not_depend_on_order_or_layout() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    one = checkpoint.fingerprint({"a": 1, "b": 2}, {"x": tensor, "y": tensor})
    assert one == checkpoint.fingerprint({"b": 2, "a": 1}, {"y": tensor.t().contiguous().t(), "x": tensor})
    assert one != checkpoint.fingerprint({"a": 1, "b": 2}, {"x": tensor + 1, "y": tensor})
    assert len(one) == 16


def test_a_folder_of_photos_does_not_hide_the_model_of_that_name(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    shipped = checkpoint.find_model("photos")
    assert (shipped / "config.json").exists()
    (tmp_path / "photos/config.json").write_text("{}")
    assert checkpoint.find_model("photos") == Path("photos")


@pytest.mark.parametrize("sizes", [{"encoder_blocks": 10**7}, {"encoder_width": 10**6}, {"codebook_size": 2**30}])
def test_sizes_that_the_weights_do_not_have_are_refused_before_they_are_built(folder: Path, sizes) -> None:
    change_config(folder, **sizes)
    with pytest.raises(CheckpointError, match=f"{next(iter(sizes))} is {next(iter(sizes.values()))}"):
        PoseTokenizer.from_pretrained(folder)


def _encode_and_decode(name: str) -> torch.Tensor:
    tokenizer = PoseTokenizer.from_pretrained(name)
    box = torch.tensor([[50.0, 50, 250, 250]])
    ids = tokenizer.encode(POSE, bbox=box)
    return torch.cat([tokenizer.decode(ids, box).flatten(), tokenizer.embed(ids).flatten(), ids.flatten()])


@pytest.mark.parametrize(
    "work",
    [
        lambda: _encode_and_decode("coco17"),
        lambda: _encode_and_decode("coco17-ordered"),
        lambda: PoseTokenizer.from_pretrained("h36m17").decode(torch.zeros(1, 34, dtype=torch.int64)),
        lambda: Lifter.from_pretrained("lifter").lift(POSE).keypoints,
        lambda: PoseEstimator.from_pretrained().predict(PHOTO, [[10, 10, 100, 150]]).keypoints,
        lambda: np.column_stack(load_detector(min_score=0.01).detect(PHOTO)),
    ],
    ids=["coco17", "coco17-ordered", "h36m17", "lifter", "photos", "nanodet"],
)
def test_models_leave_random_numbers_alone_and_work_under_another_default_dtype(work) -> None:
    expected, state = torch.as_tensor(work()), torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        found = torch.as_tensor(work())
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.get_rng_state(), state)
    assert (found.dtype, len(found) > 0) == (torch.float32, True)
    torch.testing.assert_close(found, expected)
