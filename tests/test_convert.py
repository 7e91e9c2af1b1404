"""Converted official weights compute what the published release computes (reference vectors), and bad files say why."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pct import PoseTokenizer, get_skeleton
from pct.layers.guidance import features_at_joints
from pct.layers.losses import keypoint_loss
from pct.models.convert import PREFIX, _official_name, check_conversion, convert_tokenizer
from pct.models.official import read_official

STRIDE = 32


def load_tool() -> ModuleType:
    path = Path(__file__).parents[1] / "tools" / "convert_pct.py"
    spec = importlib.util.spec_from_file_location("convert_pct", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Reference:
    """One file of reference vectors as tensors."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays}
        self.state = {n.removeprefix("state/"): t for n, t in self.arrays.items() if n.startswith("state/")}
        self.crop_size = int(self["hyper/image_size"])
        joints = self["in/joints"]
        self.keypoints, self.visible = joints[..., :2], joints[..., 2] > 0
        self.features = None
        if float(self["hyper/guide_ratio"]) > 0:
            self.features = features_at_joints(self["in/feature_map"], self.keypoints, STRIDE)

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def build(self, units: str) -> PoseTokenizer:
        return convert_tokenizer(self.state, units=units, crop_size=self.crop_size).build()


@pytest.fixture(scope="module", params=["unguided", "guided"])
def reference(request: pytest.FixtureRequest, shared_dir: Path) -> Reference:
    return Reference(shared_dir / "reference" / f"coco17_{request.param}.npz")


def assert_relative(ours: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Every number within ``tolerance`` of the largest expected one."""
    assert ours.shape == expected.shape
    error = float((ours - expected).abs().max() / expected.abs().max())
    assert error < tolerance, f"relative error {error:.2e}"


@pytest.mark.shared
def test_sizes_are_read_off_the_shapes(reference: Reference) -> None:
    config = reference.build("pixels").config
    names = {
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
    for ours, theirs in names.items():
        assert getattr(config, ours) == int(reference[f"hyper/{theirs}"]), ours
    channels = int(reference["hyper/feature_channels"]) if reference.features is not None else 0
    assert config.guidance_channels == channels


@pytest.mark.shared
@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_inference_equals_reference(reference: Reference, units: str) -> None:
    tokenizer = reference.build(units)
    half = reference.crop_size / 2
    poses = reference.keypoints if units == "pixels" else reference.keypoints / half - 1
    with torch.no_grad():
        z = tokenizer.encode_features(poses, reference.visible, reference.features)
        output = tokenizer(poses, reference.visible, reference.features)
    decoded = output.keypoints if units == "pixels" else (output.keypoints + 1) * half
    assert_relative(z, reference["tokenize/token_features"])
    assert torch.equal(output.indices, reference["tokenize/indices"])
    assert_relative(decoded, reference["tokenize/joints"])


@pytest.mark.shared
@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_public_codec_equals_reference(reference: Reference, units: str) -> None:
    """The folded path too, in image pixels: a box that is the crop itself after the padding of 1.25."""
    tokenizer = reference.build(units)
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
    assert_relative(state["quantizer.codebook_buffer"], reference["train/codebook_after"])
    assert_relative(state["quantizer.ema_count"], reference["train/ema_cluster_size_after"])
    assert_relative(state["quantizer.ema_sum"], reference["train/ema_w_after"])
    for name, parameter in tokenizer.named_parameters():
        norm = reference[f"train/grad_norm/{_official_name(name)}"]
        assert parameter.grad is not None, name
        # A bias that is constant over the channels passes no gradient through the layer norm after it: only rounding
        # is left (1e-8 where the others are 1e-1), and rounding has no relative error.
        assert float(parameter.grad.norm() - norm) == pytest.approx(0, abs=1e-4 * float(norm) + 1e-6), name


@pytest.mark.shared
def test_reference_classifier_mixture_decodes(reference: Reference) -> None:
    """Stage two's soft decoding: softmax of the reference's logits through our mixture and decoder."""
    tokenizer = reference.build("pixels")
    with torch.no_grad():
        decoded = tokenizer.decode_soft(reference["classify/logits"].softmax(dim=-1))
    assert_relative(decoded, reference["classify/joints"])


def make_official(
    joints: int = 17, guidance: int = 0, width: int = 12, blocks: int = 2, decoder_blocks: int = 1
) -> dict[str, Tensor]:
    """A random tokenizer of the official layout, its names written out, with parts of a whole model beside it."""
    generator = torch.Generator().manual_seed(0)
    tokens, entries, dim, decoder, token_hidden, channel_hidden = 6, 16, 8, 10, 5, 14
    shapes: dict[str, tuple[int, ...]] = {
        "invisible_token": (1, 1, width),
        "codebook": (entries, dim),
        "ema_cluster_size": (entries,),
        "ema_w": (entries, dim),
    }

    def linear(name: str, rows: int, columns: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(name: str, size: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (size,), (size,)

    def mixers(side: str, count: int, size: int) -> None:
        for i in range(count):
            norm(f"{side}.{i}.layernorm1", size)
            linear(f"{side}.{i}.MLP_token.ff.0", token_hidden, joints)
            linear(f"{side}.{i}.MLP_token.ff.3", joints, token_hidden)
            norm(f"{side}.{i}.layernorm2", size)
            linear(f"{side}.{i}.MLP_channel.ff.0", channel_hidden, size)
            linear(f"{side}.{i}.MLP_channel.ff.3", size, channel_hidden)

    linear("start_embed", width // 2 if guidance else width, 2)
    if guidance:
        linear("start_img_embed", width // 2, guidance)
    mixers("encoder", blocks, width)
    norm("encoder_layer_norm", width)
    linear("token_mlp", tokens, joints)
    linear("feature_embed", dim, width)
    linear("decoder_token_mlp", joints, tokens)
    linear("decoder_start", decoder, dim)
    mixers("decoder", decoder_blocks, decoder)
    norm("decoder_layer_norm", decoder)
    linear("recover_embed", 2, decoder)
    # Pixels come in as hundreds: small first weights keep the features in the range of the codebook.
    state = {f"{PREFIX}{n}": torch.randn(shape, generator=generator) * 0.3 for n, shape in shapes.items()}
    state[f"{PREFIX}start_embed.weight"] *= 0.05
    state[f"{PREFIX}ema_cluster_size"] = state[f"{PREFIX}ema_cluster_size"].abs() + 1
    return {"backbone.norm.weight": torch.ones(3), "keypoint_head.cls_pred_layer.bias": torch.ones(4), **state}


@pytest.mark.parametrize("guidance", [0, 7])
@pytest.mark.parametrize("blocks", [(2, 1), (0, 0), (1, 3)])
def test_units_fold_into_the_weights(guidance: int, blocks: tuple[int, int]) -> None:
    official = make_official(guidance=guidance, blocks=blocks[0], decoder_blocks=blocks[1])
    check = check_conversion(official)
    assert check.feature_error < 1e-5
    assert check.keypoint_error < 1e-3
    assert check.equal_tokens > 0.99


def test_whole_checkpoint_is_converted_by_the_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = make_official(joints=14, guidance=7)
    whole = {"meta": {"epoch": 3}, "state_dict": {f"module.{name}": t for name, t in official.items()}}
    torch.save(whole, tmp_path / "official.pth")
    tool = load_tool()
    arguments = [str(tmp_path / "official.pth"), str(tmp_path / "model"), "--skeleton", "crowdpose14"]
    assert tool.main(arguments) == 0
    said = capsys.readouterr().out
    assert "1 tensors of backbone, 1 tensors of keypoint_head" in said
    tokenizer = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.config.ema_rule == "published"
    assert tokenizer.config.guidance_channels == 7
    expected = convert_tokenizer(official, get_skeleton("crowdpose14")).build()
    assert tokenizer.fingerprint() == expected.fingerprint()
    assert tool.main(arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert tool.main([*arguments, "--force", "--keep-pixels"]) == 0
    assert PoseTokenizer.from_pretrained(tmp_path / "model").space.units == "pixels"


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(make_official(), tmp_path / "official.safetensors")
    read = read_official(tmp_path / "official.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in make_official().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(f"{PREFIX}token_mlp.bias"), "token_mlp.bias is missing"),
        (lambda s: s.pop(f"{PREFIX}codebook"), "lacks keypoint_head.tokenizer.codebook"),
        (lambda s: s.update({f"{PREFIX}extra.weight": torch.ones(1)}), "extra.weight is unexpected"),
        (lambda s: s.update({f"{PREFIX}start_embed.weight": torch.ones(12, 3)}), r"\(12, 3\), expected \(12, 2\)"),
        (lambda s: s[f"{PREFIX}codebook"].fill_(float("nan")), "codebook holds NaN"),
    ],
)
def test_wrong_weights_are_named(change, message: str) -> None:  # type: ignore[no-untyped-def]
    official = make_official()
    change(official)
    with pytest.raises(ValueError, match=message):
        convert_tokenizer(official)


def test_another_joint_count_asks_for_its_skeleton() -> None:
    with pytest.raises(ValueError, match="14 joints, but skeleton coco17 has 17"):
        convert_tokenizer(make_official(joints=14))
    assert convert_tokenizer(make_official(joints=16), get_skeleton("mpii16")).config.skeleton.name == "mpii16"


def test_a_checkpoint_without_tokenizer_says_what_it_holds() -> None:
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
    tool = load_tool()
    for name, words in {
        "pickled.pth": "refused",
        "plain.pth": "not a readable",
        "short.pth": "not a readable",
        "empty.pth": "not a readable",
        "broken.safetensors": "safetensors",
        "other.pth": "no state dict",
        "absent.pth": "No such file",
    }.items():
        assert tool.main([str(tmp_path / name), str(tmp_path / "model")]) == 1, name
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
