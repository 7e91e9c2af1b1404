"""Converted official weights compute what the published release computes (reference vectors), and bad files say why."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from official_weights import Reference, assert_relative, make_tokenizer_weights
from safetensors.torch import save_file
from torch import Tensor

from pct import PoseTokenizer, get_skeleton
from pct.cli import main as cli
from pct.layers.losses import keypoint_loss
from pct.photos.guide import features_at_joints
from pct.published.checkpoint import official_name, read_official
from pct.published.tokenizer import PREFIX, TOKENIZER_NAMES, convert_tokenizer

SIZES = {
    "num_tokens": "num_tokens",
    "codebook_size": "codebook_size",
    "codebook_dim": "token_dim",
    "encoder_width": "hidden_dim",
    "encoder_blocks": "encoder_blocks",
    "encoder_token_hidden": "token_inter_dim",
    "encoder_channel_hidden": "hidden_inter_dim",
    "decoder_width": "decoder_dim",
    "decoder_blocks": "decoder_blocks",
    "decoder_channel_hidden": "decoder_inter_dim",
}


@pytest.mark.shared
@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_sizes_and_inference_equal_reference(reference: Reference, units: str) -> None:
    """The folded path too, in image pixels: a box that is the crop itself after the padding of 1.25."""
    tokenizer = reference.build(units)
    assert {ours: getattr(tokenizer.config, ours) for ours in SIZES} == {
        ours: int(reference[f"hyper/{theirs}"]) for ours, theirs in SIZES.items()
    }
    channels = int(reference["hyper/feature_channels"]) if reference.features is not None else 0
    assert tokenizer.config.guidance_channels == channels
    half = reference.crop_size / 2
    poses = reference.keypoints if units == "pixels" else reference.keypoints / half - 1
    with torch.no_grad():
        z = tokenizer.encode_features(poses, reference.visible, reference.features)
        output = tokenizer(poses, reference.visible, reference.features)
    decoded = output.keypoints if units == "pixels" else (output.keypoints + 1) * half
    assert_relative(z, reference["tokenize/token_features"])
    for name in ("tokenize/indices", "classify/target_indices"):
        assert torch.equal(output.indices, reference[name]), name
    assert_relative(decoded, reference["tokenize/joints"])
    crop = float(reference.crop_size)
    side, corner = crop / 1.25, (crop - crop / 1.25) / 2
    bbox = torch.tensor([corner, corner, side, side]).expand(len(reference.keypoints), 4)
    indices = tokenizer.encode(reference.keypoints, reference.visible, bbox, reference.features)
    assert torch.equal(indices, reference["tokenize/indices"])
    assert_relative(tokenizer.decode(indices, bbox), reference["tokenize/joints"])


@pytest.mark.shared
def test_training_step_equals_reference(reference: Reference) -> None:
    tokenizer = reference.build("pixels").train()
    output = tokenizer(reference.keypoints, reference.visible, reference.features)
    beta = float(reference["hyper/smooth_l1_beta"])
    pose_loss = keypoint_loss(output.keypoints, reference.keypoints, reference.visible, beta, "published")
    commitment = output.commitment_loss * float(reference["hyper/commitment_weight"])
    (pose_loss + commitment).backward()
    assert_relative(pose_loss.detach(), reference["train/joint_loss"])
    assert_relative(commitment.detach(), reference["train/commitment_loss"])
    state = tokenizer.state_dict()
    assert_relative(state["quantizer.codebook.codebook_buffer"], reference["train/codebook_after"])
    assert_relative(state["quantizer.codebook.ema_count"], reference["train/ema_cluster_size_after"])
    assert_relative(state["quantizer.codebook.ema_sum"], reference["train/ema_w_after"])
    for name, parameter in tokenizer.named_parameters():
        norm = reference[f"train/grad_norm/{official_name(name, TOKENIZER_NAMES)}"]
        assert parameter.grad is not None, name
        # A bias that is constant over the channels passes no gradient through the layer norm after it: only rounding
        # is left (1e-8 where the others are 1e-1), and rounding has no relative error.
        assert float(parameter.grad.norm() - norm) == pytest.approx(0, abs=1e-4 * float(norm) + 1e-6), name


def make_official(**sizes: int) -> dict[str, Tensor]:
    """A random tokenizer of the official layout, with parts of a whole model beside it."""
    beside = {"backbone.norm.weight": torch.ones(3), "keypoint_head.cls_pred_layer.bias": torch.ones(4)}
    return {**beside, **make_tokenizer_weights(**sizes)}


@pytest.mark.parametrize("guidance", [0, 7])
@pytest.mark.parametrize("blocks", [(2, 1), (0, 0), (1, 3)])
@torch.no_grad()
def test_units_fold_into_the_weights(guidance: int, blocks: tuple[int, int]) -> None:
    official = make_official(guidance=guidance, blocks=blocks[0], decoder_blocks=blocks[1])
    pixels, unit = (convert_tokenizer(official, units=units) for units in ("pixels", "unit"))
    poses, visible = torch.rand(64, 17, 2) * 256, torch.rand(64, 17) < 0.8
    features = torch.randn(64, 17, guidance) if guidance else None
    z, folded = (
        pixels.encode_features(poses, visible, features),
        unit.encode_features(poses / 128 - 1, visible, features),
    )
    assert_relative(folded, z, 1e-5)
    indices = pixels.quantizer.assign(z)
    assert (indices == unit.quantizer.assign(folded)).float().mean() > 0.99
    torch.testing.assert_close((unit.decode(indices) + 1) * 128, pixels.decode(indices), atol=1e-3, rtol=0)


def test_whole_checkpoint_is_converted_by_the_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = make_official(joints=14, guidance=7)
    whole = {"meta": {"epoch": 3}, "state_dict": {f"module.{name}": t for name, t in official.items()}}
    torch.save(whole, tmp_path / "official.pth")
    arguments = [str(tmp_path / "official.pth"), str(tmp_path / "model"), "--skeleton", "crowdpose14"]
    assert cli.main(["convert", *arguments]) == 0
    said = capsys.readouterr().out
    assert "left: 1 tensors of backbone, 1 tensors of keypoint_head" in said
    tokenizer = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.config.ema_rule == "published"
    assert tokenizer.config.guidance_channels == 7
    expected = convert_tokenizer(official, get_skeleton("crowdpose14"))
    assert tokenizer.fingerprint() == expected.fingerprint()
    assert cli.main(["convert", *arguments]) == 1
    assert "--force" in capsys.readouterr().err
    assert cli.main(["convert", *arguments, "--force", "--keep-pixels"]) == 0
    assert PoseTokenizer.from_pretrained(tmp_path / "model").space.units == "pixels"


NUMBERS = (np.int64(3), np.float64(0.75), np.float32(0.5), np.bool_(True))


@pytest.mark.parametrize("kind", ["safetensors", "numpy 1", "numpy 2"])
def test_files_with_and_without_numbers_of_numpy_beside_the_weights_are_read(tmp_path: Path, kind: str) -> None:
    """Training tools leave the best score and the like in the file, under the name that their NumPy has for it."""
    path, official = tmp_path / ("official.safetensors" if kind == "safetensors" else "official.pth"), make_official()
    if kind == "safetensors":
        save_file(official, path)
    else:
        whole = {"meta": {"hook_msgs": {"best_score": NUMBERS}}, "state_dict": official}
        torch.save(whole, path, _use_new_zipfile_serialization=False)
        content = path.read_bytes()
        assert b"numpy._core.multiarray" in content
        core = b"numpy.core.multiarray" if kind == "numpy 1" else b"numpy._core.multiarray"
        path.write_bytes(content.replace(b"numpy._core.multiarray", core))
    read = read_official(path)
    assert all(torch.equal(read[name], tensor) for name, tensor in official.items())


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_become_float32(precision: torch.dtype) -> None:
    official = {n: t.to(precision) if t.is_floating_point() else t for n, t in make_official().items()}
    state = convert_tokenizer(official, units="pixels").state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            assert tensor.dtype == torch.float32, name
            official_tensor = official[PREFIX + official_name(name, TOKENIZER_NAMES)]
            assert torch.equal(tensor, official_tensor.float().reshape(tensor.shape)), name


def test_joints_and_parts_must_be_those_of_the_tokenizer() -> None:
    with pytest.raises(ValueError, match="14 joints, but skeleton coco17 has 17"):
        convert_tokenizer(make_official(joints=14))
    assert convert_tokenizer(make_official(joints=16), get_skeleton("mpii16")).config.skeleton.name == "mpii16"
    with pytest.raises(ValueError, match=r"no tokenizer in this checkpoint.*2 of backbone"):
        convert_tokenizer({"backbone.a": torch.ones(1), "backbone.b": torch.ones(1)})


class Dangerous:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (self.path,))  # type: ignore[return-value]


def test_bad_files_exit_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": make_official(), "hook": Dangerous(tmp_path / "ran")}, tmp_path / "pickled.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"state_dict": 1}, protocol=2))
    torch.save(make_official(), tmp_path / "whole.pth")
    (tmp_path / "short.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "broken.safetensors").write_bytes(b"\x10" * 40)
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    for name, words in {
        "pickled.pth": "refused",
        "plain.pth": "not a readable",
        "short.pth": "not a readable",
        "empty.pth": "not a readable",
        "broken.safetensors": "safetensors",
        "other.pth": "no state dict",
        "absent.pth": "No such file",
    }.items():
        assert cli.main(["convert", str(tmp_path / name), str(tmp_path / "model")]) == 1, name
        error = capsys.readouterr().err
        assert words in error, name
        assert error.count("\n") == 1, error
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "model").exists()


def test_guidance_takes_the_nearest_cell() -> None:
    feature_map = torch.arange(6.0).reshape(1, 1, 2, 3)
    points = torch.tensor([[[0.0, 0.0], [15.9, 16.0], [80.0, 15.0], [-50.0, 500.0], [float("nan"), 20.0]]])
    assert features_at_joints(feature_map, points, 32).flatten().tolist() == [0, 3, 2, 3, 3]
    with pytest.raises(ValueError, match="2 feature maps for 1 poses"):
        features_at_joints(feature_map.expand(2, -1, -1, -1), points, 32)
