"""Converted whole models compute what the published release computes, and what was not converted is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from official_weights import (
    Reference,
    assert_relative,
    build_backbone,
    make_backbone_weights,
    make_classifier_weights,
    make_heatmap_head_weights,
    make_tokenizer_weights,
    read_arrays,
    state_of,
)

from pct import PoseTokenizer, get_skeleton
from pct.cli import main as cli
from pct.layers.losses import keypoint_loss
from pct.photos.backbone import Backbone
from pct.photos.classifier import PoseClassifier
from pct.photos.guide import features_at_joints
from pct.photos.heatmap import HeatmapModel
from pct.published.checkpoint import OfficialPart
from pct.published.photos import convert_classifier, convert_heatmap_model, kind_of
from pct.published.swin import _read_sizes, convert_backbone
from pct.published.tokenizer import PREFIX
from pct.tokenizer.codebook import TRAINING_BUFFERS
from pct.training.kinds import load_run

CONFIGS = Path(__file__).parents[2] / "configs"
SIDE = 64


HEAD_SIZES = {
    "conv_channels": "conv_channels",
    "width": "head_dim",
    "channel_hidden": "head_inter_dim",
    "num_blocks": "head_blocks",
    "token_hidden": "token_inter_dim",
}


@pytest.mark.shared
@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_sizes_logits_poses_and_losses_of_a_classifier_equal_reference(reference: Reference, units: str) -> None:
    """With a backbone of fitting width beside the reference, in whose place its feature map goes to the head."""
    official = {**reference.state, **make_backbone_weights(width=3, heads=(1, 1, 1, 1))}
    classifier = convert_classifier(official, units=units, crop_size=reference.crop_size)
    for ours, theirs in HEAD_SIZES.items():
        assert getattr(classifier.config.head, ours) == int(reference[f"hyper/{theirs}"]), ours
    classifier.backbone.forward = lambda images: reference["in/feature_map"]  # type: ignore[method-assign]
    with torch.no_grad():
        output = classifier(torch.zeros(6, 3, reference.crop_size, reference.crop_size))
    keypoints = output.keypoints if units == "pixels" else (output.keypoints + 1) * reference.crop_size / 2
    assert_relative(output.logits, reference["classify/logits"])
    assert_relative(keypoints, reference["classify/joints"])
    # The published score of a token is its largest logit, which is no probability.
    assert_relative(output.logits.amax(dim=-1, keepdim=True), reference["classify/score"])
    targets, beta = reference["classify/target_indices"], float(reference["hyper/smooth_l1_beta"])
    assert_relative(F.cross_entropy(output.logits.flatten(0, 1), targets.flatten()), reference["classify/token_loss"])
    loss = keypoint_loss(keypoints, reference.keypoints, reference.visible, beta, "published")
    assert_relative(loss, reference["classify/joint_loss"])


@pytest.mark.shared
def test_backbone_equals_reference(shared_dir: Path) -> None:
    arrays = read_arrays(shared_dir / "reference" / "swinv2_backbone.npz")
    sizes, _ = convert_backbone(state_of(arrays))
    assert sizes.options["depths"] == arrays["hyper/depths"].tolist()
    assert sizes.options["num_heads"] == arrays["hyper/num_heads"].tolist()
    backbone = build_backbone(state_of(arrays))
    with torch.no_grad():
        assert_relative(backbone(arrays["in/image"]), arrays["out/feature_map"])
    windows = [stage.blocks[0].attn.window_size[0] for stage in backbone.network.layers]
    assert windows == arrays["hyper/window_size"].tolist()
    pretrained = [stage.blocks[0].attn.pretrained_window_size[0] for stage in backbone.network.layers]
    assert pretrained == arrays["hyper/pretrained_window_size"].tolist()


def test_windows_are_shifted_in_the_first_two_stages_only() -> None:
    """The reference has no stage there with a second block, which is the one that is shifted."""
    backbone = build_backbone(make_backbone_weights(depths=(2, 2, 2, 2)))
    shifts = [[block.shift_size[0] for block in stage.blocks] for stage in backbone.network.layers]
    assert shifts == [[0, 8], [0, 8], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("size", "width", "depths", "heads", "parameters"),
    [
        ("base", 128, (2, 2, 18, 2), (4, 8, 16, 32), 86.9e6),
        ("large", 192, (2, 2, 18, 2), (6, 12, 24, 48), 195.2e6),
        ("huge", 256, (2, 2, 42, 2), (8, 16, 32, 64), 655e6),
    ],
)
def test_published_sizes_are_those_of_the_configs(
    size: str, width: int, depths: tuple, heads: tuple, parameters: float
) -> None:
    """So a converted backbone can start or be the backbone of a run."""
    official = {"patch_embed.proj.weight": torch.zeros(width, 3, 4, 4)}
    for stage, (depth, number) in enumerate(zip(depths, heads, strict=True)):
        for i in range(depth):
            official[f"layers.{stage}.blocks.{i}.attn.logit_scale"] = torch.zeros(number, 1, 1)
    sizes = _read_sizes(OfficialPart(official), 256)
    classifier = load_run("classifier", CONFIGS / f"classifier_coco_{size}.yaml", [])
    heatmap = load_run("heatmap", CONFIGS / f"heatmap_coco_{size}.yaml", [])
    assert sizes == replace(classifier.backbone, image_size=tuple(classifier.backbone.image_size))
    assert sizes == replace(heatmap.backbone, image_size=tuple(heatmap.backbone.image_size), drop_path=0.0)
    with torch.device("meta"):
        backbone = Backbone(sizes)
    assert backbone.channels == 8 * width
    assert sum(p.numel() for p in backbone.parameters()) == pytest.approx(parameters, rel=0.02)


def test_a_whole_classifier_survives_conversion_and_its_folder(tmp_path: Path) -> None:
    official = make_classifier_weights()
    classifier = convert_classifier(official, crop_size=SIDE)
    assert classifier.config.backbone.image_size == (SIDE, SIDE)
    assert classifier.tokenizer.space.padding == 1.12
    classifier.save_pretrained(tmp_path / "model")
    loaded = PoseClassifier.from_pretrained(tmp_path / "model")
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, output = classifier(images), loaded(images)
        features = build_backbone(official, SIDE)(images)
        logits = classifier.head(features.flatten(2).transpose(1, 2))
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(output.keypoints, expected.keypoints)
    torch.testing.assert_close(output.logits, logits)
    # Every official number is somewhere in the model; the count of the tokenizer's updates and units are ours.
    taken = sum(t.numel() for t in official.values())
    assert sum(t.numel() for t in classifier.state_dict().values()) == taken + 1


def test_a_guided_classifier_keeps_its_guide_and_labels_alike_after_loading(tmp_path: Path) -> None:
    official = make_classifier_weights(guided=True)
    classifier = convert_classifier(official, crop_size=SIDE)
    classifier.save_pretrained(tmp_path / "model")
    tokenizer = PoseClassifier.from_pretrained(tmp_path / "model").tokenizer
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, SIDE, SIDE, generator=generator)
    keypoints = torch.rand(2, 17, 2, generator=generator) * SIDE
    # The published rule: the cell int(x / 32 + 0.5) of the second backbone's map.
    feature_map = build_backbone(official, SIDE, "extra_backbone.")(images)
    expected = features_at_joints(feature_map, keypoints, 32)
    features = tokenizer.guide(images, keypoints / (SIDE / 2) - 1)
    torch.testing.assert_close(features, expected)
    crop = torch.tensor([[0.0, 0.0, SIDE, SIDE]]).expand(2, -1) / 1.12
    indices = tokenizer.encode(keypoints, bbox=crop, features=features)
    assert torch.equal(indices, classifier.tokenizer.encode(keypoints, bbox=crop, features=features))
    with pytest.raises(ValueError, match="needs image features"):
        tokenizer.encode(keypoints, bbox=crop)
    with pytest.raises(ValueError, match="reads 7 image features, but extra_backbone gives 32"):
        convert_classifier({**official, **make_tokenizer_weights(guidance=7)}, crop_size=SIDE)


@pytest.mark.parametrize("kernel", [2, 4])
def test_heatmap_models_compute_the_published_layers(tmp_path: Path, kernel: int) -> None:
    official = {**make_backbone_weights(), **make_heatmap_head_weights(kernel=kernel)}
    model = convert_heatmap_model(official, crop_size=SIDE)
    model.save_pretrained(tmp_path / "model")
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    head = {name.removeprefix("keypoint_head."): t for name, t in official.items()}
    with torch.no_grad():
        x = build_backbone(official, SIDE)(images)
        for i in range(3):
            x = F.conv_transpose2d(x, head[f"deconv_layers.{3 * i}.weight"], stride=2, padding=kernel // 2 - 1)
            norm = [head[f"deconv_layers.{3 * i + 1}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
            x = F.batch_norm(x, *norm).relu()
        expected = F.conv2d(x, head["final_layer.weight"], head["final_layer.bias"])
        torch.testing.assert_close(HeatmapModel.from_pretrained(tmp_path / "model")(images), expected)
    # Column c, row r of the published heatmaps means the pixel (4 c, 4 r) of the crop; scores have no bound.
    heatmaps = torch.zeros(1, 17, 16, 16)
    heatmaps[:, :, 3, 10] = 3.0
    keypoints, scores = model.decode(heatmaps)
    assert float(scores.max()) == 3.0
    torch.testing.assert_close((keypoints + 1) * SIDE / 2, torch.tensor([40.0, 12.0]).expand(1, 17, 2))
    torch.testing.assert_close(model.cells.to_cells(keypoints), torch.tensor([10.0, 3.0]).expand(1, 17, 2))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("backbone.norm3.bias", None, "backbone.norm3.bias is missing"),
        ("backbone.layers.2.endnorm.weight", torch.ones(1), "endnorm.weight is unexpected"),
        ("backbone.layers.0.blocks.900000000.norm1.bias", torch.ones(1), "counts layers.0.block"),
        ("keypoint_head.extra.weight", torch.ones(1), "keypoint_head.extra.weight is unexpected"),
        ("keypoint_head.conv_head.0.1.bn2.running_var", None, "conv_head.0.1.bn2.running_var is missing"),
        ("keypoint_head.cls_pred_layer.bias", torch.full((16,), torch.inf), "cls_pred_layer.bias holds NaN"),
        ("keypoint_head.cls_pred_layer.weight", torch.ones(9, 7), r"has shape \(9, 7\), expected \(16, 7\)"),
        ("keypoint_head.mixer_trans.ff.0.weight", torch.ones(42, 45), "reads 9 positions, but a crop of 64 pixels has"),
        (f"{PREFIX}token_mlp.bias", None, "token_mlp.bias is missing"),
        (f"{PREFIX}codebook", None, "lacks keypoint_head.tokenizer.codebook"),
        (f"{PREFIX}extra.weight", torch.ones(1), "extra.weight is unexpected"),
        (f"{PREFIX}start_embed.weight", torch.ones(12, 3), r"\(12, 3\), expected \(12, 2\)"),
        (f"{PREFIX}codebook", torch.full((16, 8), torch.nan), "codebook holds NaN"),
    ],
)
def test_wrong_weights_are_named(name: str, tensor: torch.Tensor | None, message: str) -> None:
    official = {**make_classifier_weights(), name: tensor}
    with pytest.raises(ValueError, match=message):
        convert_classifier({n: t for n, t in official.items() if t is not None}, crop_size=SIDE)


def test_stored_tables_are_compared() -> None:
    official = make_backbone_weights()
    attention = "backbone.layers.2.blocks.0.attn"
    own = build_backbone(official).network.layers[2].blocks[0].attn
    official["backbone.layers.0.blocks.1.attn_mask"] = torch.zeros(16, 256, 256)
    for name in ("relative_coords_table", "relative_position_index"):
        table = getattr(own, name)
        for stored in (table, table.half() if table.is_floating_point() else table):
            convert_backbone({**official, f"{attention}.{name}": stored})
        for wrong, size in ((table * 2, 256), (table, SIDE)):
            with pytest.raises(ValueError, match=f"{name} is not that of the windows that a crop of {size} pixels has"):
                convert_backbone({**official, f"{attention}.{name}": wrong}, size)


def test_files_say_what_they_are() -> None:
    whole = make_classifier_weights()
    assert kind_of(whole) == "classifier"
    assert kind_of(make_tokenizer_weights()) == "tokenizer"
    assert kind_of({**make_backbone_weights(), **make_heatmap_head_weights()}) == "heatmap"
    with pytest.raises(ValueError, match=r"no official model in this checkpoint.* of backbone"):
        kind_of(make_backbone_weights())


def test_the_tool_converts_a_whole_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = make_classifier_weights(joints=14, guided=True)
    torch.save({"meta": {}, "state_dict": {f"module.{n}": t for n, t in official.items()}}, tmp_path / "whole.pth")
    arguments = [str(tmp_path / "whole.pth"), str(tmp_path / "model"), "--skeleton", "crowdpose14"]
    assert cli.main(["convert", *arguments]) == 1
    assert "give the side of the square crop" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
    assert cli.main(["convert", *arguments, "--crop-size", str(SIDE)]) == 0
    said = capsys.readouterr().out
    assert "left: nothing\n" in said
    assert "guided" in said
    loaded = PoseClassifier.from_pretrained(tmp_path / "model")
    expected = convert_classifier(official, get_skeleton("crowdpose14"), crop_size=SIDE)
    # Counts and sums of the codebook serve training only and are not saved.
    kept = {name: t for name, t in loaded.state_dict().items() if name.rpartition(".")[2] not in TRAINING_BUFFERS}
    assert all(torch.equal(t, expected.state_dict()[name]) for name, t in kept.items())
    assert cli.main(["convert", *arguments, "--crop-size", str(SIDE), "--tokenizer-only", "--force"]) == 0
    assert "tensors of keypoint_head" in capsys.readouterr().out
    assert PoseTokenizer.from_pretrained(tmp_path / "model").guide is not None


def test_the_tool_converts_a_heatmap_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = {**make_backbone_weights(), **make_heatmap_head_weights(joints=14)}
    official["backbone.layers.0.blocks.1.attn_mask"] = torch.zeros(16, 256, 256)
    torch.save(official, tmp_path / "heatmap.pth")
    arguments = [str(tmp_path / "heatmap.pth"), str(tmp_path / "model"), "--crop-size", str(SIDE)]
    assert cli.main(["convert", *arguments]) == 1
    assert "14 joints, but skeleton coco17 has 17" in capsys.readouterr().err
    assert cli.main(["convert", *arguments, "--skeleton", "crowdpose14"]) == 0
    said = capsys.readouterr().out
    assert "3 deconvolutions of 6 channels (2 x 2), crowdpose14; left: 1 tensors of tables that follow" in said
    assert HeatmapModel.from_pretrained(tmp_path / "model").config.space.padding == 1.25
