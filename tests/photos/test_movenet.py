"""MoveNet as a backbone: a file of the published layout gives the features of its own graph, computed here apart."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_tfjs import write_tfjs

from pct.photos.backbone import IMAGE_MEAN, IMAGE_STD, Backbone, load_backbone, save_backbone
from pct.photos.movenet import _at_tops, heatmap_heights
from pct.published.movenet import convert_movenet
from pct.published.tfjs import read_tfjs

ROOT = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"
HEADS = [("kpt_heatmap_0", 4, 5, 17), ("kpt_regress_0", 5, 6, 34), ("kpt_offset_0", 6, 7, 34), ("center_0", 3, 4, 1)]
# Channels, stride and expansion of the blocks of MobileNetV2 at width 1.0.
CHANNELS = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
STRIDES = [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]


def make_weights() -> dict[str, np.ndarray]:
    """Return random weights under the published names and in TensorFlow's order of dimensions."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}

    def layer(weight: str, bias: str, shape: tuple[int, ...], outputs: int) -> None:
        fan_in = math.prod(shape[:3]) if shape[-1] > 1 else math.prod(shape[:2])
        weights[ROOT + weight] = (rng.standard_normal(shape) * math.sqrt(2 / fan_in)).astype(np.float16)
        weights[ROOT + bias] = (rng.standard_normal(outputs) * 0.1).astype(np.float16)

    def normed(name: str, kind: str, shape: tuple[int, ...], outputs: int) -> None:
        layer(f"model/{name}/{kind}_weights", f"model/{name}/{kind}_bn_offset", shape, outputs)

    normed("Conv1", "Conv2D", (3, 3, 3, 32), 32)
    before = 32
    for number, channels in enumerate(CHANNELS):
        name, width = (f"block_{number}", 6 * before) if number else ("expanded_conv", before)
        if number:
            normed(f"{name}_expand", "Conv2D", (1, 1, before, width), width)
        normed(f"{name}_depthwise", "depthwise", (3, 3, width, 1), width)
        normed(f"{name}_project", "Conv2D", (1, 1, width, channels), channels)
        before = channels
    normed("Conv_1", "Conv2D", (1, 1, 320, 1280), 1280)

    def conv(name: str, inputs: int, outputs: int) -> None:
        layer(f"{name}/Conv2D/ReadVariableOp", f"{name}/BiasAdd/ReadVariableOp", (1, 1, inputs, outputs), outputs)

    def spatial(name: str, channels: int) -> None:
        weights[f"{ROOT}{name}/ReadVariableOp"] = rng.standard_normal((3, 3, channels, 1)).astype(np.float16) / 3

    for name, inputs, outputs in [("", 1280, 64), ("_1", 64, 64), ("_2", 32, 32), ("_3", 24, 24)]:
        conv(f"conv2d{name}", inputs, outputs)
    for name, inputs, outputs in [("", 64, 32), ("_1", 32, 24), ("_2", 24, 24)]:
        inner = f"separable_conv2d{name}/separable_conv2d"
        spatial(inner, inputs)
        layer(f"{inner}_weights", f"{inner}_bn_offset", (1, 1, inputs, outputs), outputs)
    for name, first, last, outputs in HEADS:
        inner = f"../{name}/separable_conv2d_{first}"
        spatial(f"{inner}/separable_conv2d", 24)
        pointwise = f"{inner}/separable_conv2d/ReadVariableOp_1"
        layer(pointwise, f"{inner}/BiasAdd/ReadVariableOp", (1, 1, 24, 96), 96)
        conv(f"../{name}/conv2d_{last}", 96, outputs)
    weights["ConstantFolding/StatefulPartitionedCall/truediv_2_recip"] = rng.random((48, 48, 1)).astype(np.float16)
    start = ROOT.split("/")[0]
    return {name.replace(f"{ROOT}../", f"{start}/"): values for name, values in weights.items()}


def published_maps(weights: dict[str, np.ndarray], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute what the published graph computes, with convolutions alone; TensorFlow pads the far side first.

    Returns the finest and the coarsest map of the pyramid.
    """

    def conv(x: torch.Tensor, weight: str, bias: str | None, stride: int = 1) -> torch.Tensor:
        w = torch.from_numpy(weights[ROOT + weight].astype(np.float32))
        depthwise = w.shape[-1] == 1 and w.shape[2] == x.shape[1]
        w = w.permute(2, 3, 0, 1) if depthwise else w.permute(3, 2, 0, 1)
        pad = w.shape[-1] - stride if w.shape[-1] > 1 else 0
        x = F.pad(x, (pad // 2, pad - pad // 2, pad // 2, pad - pad // 2))
        b = None if bias is None else torch.from_numpy(weights[ROOT + bias].astype(np.float32))
        return F.conv2d(x, w, b, stride, groups=x.shape[1] if depthwise else 1)

    def normed(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        return conv(x, f"model/{name}_weights", f"model/{name}_bn_offset", stride)

    x = normed(x, "Conv1/Conv2D", 2).clamp(0, 6)
    maps = []
    for number, stride in enumerate(STRIDES):
        name, y = (f"block_{number}", x) if number else ("expanded_conv", x)
        if number:
            y = normed(y, f"{name}_expand/Conv2D").clamp(0, 6)
        y = normed(y, f"{name}_depthwise/depthwise", stride).clamp(0, 6)
        y = normed(y, f"{name}_project/Conv2D")
        x = x + y if x.shape == y.shape and number else y
        if number in (2, 5, 9):
            maps.append(x)
    x = normed(x, "Conv_1/Conv2D").clamp(0, 6)
    x = conv(x, "conv2d/Conv2D/ReadVariableOp", "conv2d/BiasAdd/ReadVariableOp")
    levels = []
    for number in range(3):
        lateral = f"conv2d_{number + 1}"
        x = F.interpolate(x, scale_factor=2, mode="bilinear") + conv(
            maps[2 - number], f"{lateral}/Conv2D/ReadVariableOp", f"{lateral}/BiasAdd/ReadVariableOp"
        )
        name = f"separable_conv2d{f'_{number}' if number else ''}/separable_conv2d"
        x = conv(conv(x, f"{name}/ReadVariableOp", None), f"{name}_weights", f"{name}_bn_offset").relu()
        levels.append(x)
    return levels[2], levels[0]


def test_the_converted_backbone_has_the_maps_of_the_published_graph(tmp_path) -> None:
    weights = make_weights()
    sizes, backbone = convert_movenet(write_tfjs(tmp_path / "movenet-lightning.json", weights))
    assert (sizes.name, sizes.image_size, backbone.grid, backbone.channels) == (
        "movenet_lightning",
        (192, 192),
        (17, 5),
        84,
    )
    pixels = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    images = (pixels - torch.tensor(IMAGE_MEAN)[:, None, None]) / torch.tensor(IMAGE_STD)[:, None, None]
    with torch.inference_mode():
        expected = published_maps(weights, pixels * 2 - 1)
        for found, wanted in zip(backbone.network.pyramid(pixels * 2 - 1), expected, strict=True):
            assert wanted.abs().max() > 0.1
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
        found = backbone(images)
    assert found.shape == (1, 84, 17, 5)
    head = backbone.network.heads["offsets"]
    name = "StatefulPartitionedCall/kpt_offset_0/separable_conv2d_6/separable_conv2d/ReadVariableOp_1"
    torch.testing.assert_close(head[0].pointwise.weight[:, :, 0, 0], torch.from_numpy(weights[name][0, 0].T).float())
    center = torch.from_numpy(weights["ConstantFolding/StatefulPartitionedCall/truediv_2_recip"][..., 0]).float()
    torch.testing.assert_close(backbone.network.center_weight, center)

    save_backbone(tmp_path / "model", sizes, backbone)
    saved_sizes, state = load_backbone(tmp_path / "model")
    assert saved_sizes == sizes
    again = Backbone(saved_sizes)
    again.load_state_dict(state)
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(images), found)


def test_other_files_are_refused_by_what_is_wrong(tmp_path) -> None:
    weights = make_weights()
    other = write_tfjs(tmp_path / "other.json", {"conv/weights": np.zeros((3, 3), np.float16)})
    with pytest.raises(ValueError, match="not a single-pose MoveNet"):
        convert_movenet(other)
    short = write_tfjs(tmp_path / "short.json", weights)
    short.with_suffix(".bin").write_bytes(short.with_suffix(".bin").read_bytes()[:-10])
    with pytest.raises(ValueError, match="the weights end before"):
        read_tfjs(short)
    name = f"{ROOT}model/block_3_expand/Conv2D_weights"
    wrong = write_tfjs(tmp_path / "wrong.json", {**weights, name: weights[name][..., :5]})
    with pytest.raises(ValueError, match=r"block_3_expand/Conv2D_weights is \(5, 24, 1, 1\)"):
        convert_movenet(wrong)
    name = f"{ROOT}conv2d/BiasAdd/ReadVariableOp"
    wrong = write_tfjs(tmp_path / "wrong.json", {**weights, name: weights[name].reshape(1, 1, 1, -1)})
    with pytest.raises(ValueError, match=r"conv2d/BiasAdd/ReadVariableOp is .*; this is another network"):
        convert_movenet(wrong)
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(ValueError, match="not a TensorFlow"):
        read_tfjs(tmp_path / "no.json")
    outside = json.loads(short.read_text())
    outside["weightsManifest"][0]["paths"] = ["../short.bin"]
    short.write_text(json.dumps(outside))
    with pytest.raises(ValueError, match="must lie beside"):
        read_tfjs(short)


def test_tops_are_told_best_first_with_their_places_and_what_lies_there() -> None:
    size, joint = 16, 3
    maps = {name: torch.full((1, count, size, size), -8.0) for name, count in (("heatmaps", 17), ("centers", 1))}
    maps |= {name: torch.zeros(1, 34, size, size) for name in ("regression", "offsets")}
    maps["centers"][0, 0, 8, 8] = 5.0
    maps["regression"][0, 2 * joint, 8, 8], maps["regression"][0, 2 * joint + 1, 8, 8] = -3.0, 2.0  # y 5, x 10
    maps["heatmaps"][0, joint, 5, 12] = 3.0  # two cells from where it is expected
    maps["heatmaps"][0, joint, 15, 0] = 4.0  # higher, but far away
    maps["offsets"][0, 2 * joint, 5, 12], maps["offsets"][0, 2 * joint + 1, 5, 12] = 0.25, -0.5
    fine, coarse = torch.rand(1, 24, size, size), torch.rand(1, 32, size // 4, size // 4)
    features = _at_tops(maps, fine, coarse, torch.ones(size, size))
    assert float(heatmap_heights(features)[0, joint]) == pytest.approx(1 / (1 + math.exp(-3)))
    rows = features[0, :, joint]  # (84, 5)
    torch.testing.assert_close(rows[:2, 0], torch.tensor([11.5 / 8 - 1, 5.25 / 8 - 1]))
    torch.testing.assert_close(rows[:2, 1], torch.tensor([-1.0, 15 / 8 - 1]))
    torch.testing.assert_close(rows[:2, 4], torch.tensor([10 / 8 - 1, 5 / 8 - 1]))
    assert float(rows[2, 0]) == pytest.approx(3 / 4)
    assert float(rows[3, 0]) == pytest.approx(4 / (1 + math.exp(-3)) / (2 + 1.8), rel=1e-5)
    torch.testing.assert_close(rows[4:28, 0], fine[0, :, 5, 12])
    torch.testing.assert_close(rows[4:28, 4], fine[0, :, 5, 10])
    torch.testing.assert_close(rows[60, 0], torch.sin(torch.tensor(math.pi / 2 * (11.5 / 8 - 1))))
