"""Random weights in the layout of the official PCT checkpoints, and the reference vectors, for tests of converters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pct import PoseTokenizer
from pct.photos.backbone import Backbone
from pct.photos.guide import features_at_joints
from pct.published.swin import convert_backbone
from pct.published.tokenizer import PREFIX, convert_tokenizer

STRIDE = 32


def assert_relative(ours: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """Every number within ``tolerance`` of the largest expected one."""
    assert ours.shape == expected.shape
    error = float((ours - expected).abs().max() / expected.abs().max())
    assert error < tolerance, f"relative error {error:.2e}"


def build_backbone(official: dict[str, Tensor], crop_size: int = 256, prefix: str = "backbone.") -> Backbone:
    sizes, state = convert_backbone(official, crop_size, prefix)
    backbone = Backbone(sizes)
    backbone.load_state_dict(state)
    return backbone.eval()


def read_arrays(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def state_of(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights among reference vectors, under their official names."""
    return {n.removeprefix("state/"): t for n, t in arrays.items() if n.startswith("state/")}


class Reference:
    """One file of reference vectors of tokenizer and classification head as tensors."""

    def __init__(self, path: Path) -> None:
        self.arrays = read_arrays(path)
        self.state = state_of(self.arrays)
        self.crop_size = int(self["hyper/image_size"])
        joints = self["in/joints"]
        self.keypoints, self.visible = joints[..., :2], joints[..., 2] > 0
        self.features = None
        if float(self["hyper/guide_ratio"]) > 0:
            self.features = features_at_joints(self["in/feature_map"], self.keypoints, STRIDE)

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def build(self, units: str) -> PoseTokenizer:
        return convert_tokenizer(self.state, units=units, crop_size=self.crop_size)


class Shapes(dict[str, tuple[int, ...]]):
    """Official names with shapes."""

    def linear(self, name: str, rows: int, columns: int) -> None:
        self[f"{name}.weight"], self[f"{name}.bias"] = (rows, columns), (rows,)

    def norm(self, name: str, size: int) -> None:
        self[f"{name}.weight"], self[f"{name}.bias"] = (size,), (size,)

    def batch_norm(self, name: str, size: int) -> None:
        self.norm(name, size)
        self[f"{name}.running_mean"], self[f"{name}.running_var"] = (size,), (size,)
        self[f"{name}.num_batches_tracked"] = ()

    def mixer(self, name: str, tokens: int, width: int, token_hidden: int, channel_hidden: int) -> None:
        self.norm(f"{name}.layernorm1", width)
        self.linear(f"{name}.MLP_token.ff.0", token_hidden, tokens)
        self.linear(f"{name}.MLP_token.ff.3", tokens, token_hidden)
        self.norm(f"{name}.layernorm2", width)
        self.linear(f"{name}.MLP_channel.ff.0", channel_hidden, width)
        self.linear(f"{name}.MLP_channel.ff.3", width, channel_hidden)

    def random(self, prefix: str, seed: int = 0) -> dict[str, Tensor]:
        """Fill them with small random numbers, variances positive, under names that start with ``prefix``."""
        generator = torch.Generator().manual_seed(seed)
        state = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in self.items()}
        for name in state:
            if name.endswith("running_var"):
                state[name] = state[name].abs() + 0.5
            if name.endswith("num_batches_tracked"):
                state[name] = torch.tensor(7)
        return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def make_tokenizer_weights(
    joints: int = 17, guidance: int = 0, width: int = 12, blocks: int = 2, decoder_blocks: int = 1
) -> dict[str, Tensor]:
    """A tokenizer of 6 tokens and 16 entries."""
    tokens, entries, dim, decoder, token_hidden, channel_hidden = 6, 16, 8, 10, 5, 14
    shapes = Shapes(
        invisible_token=(1, 1, width), codebook=(entries, dim), ema_cluster_size=(entries,), ema_w=(entries, dim)
    )
    shapes.linear("start_embed", width // 2 if guidance else width, 2)
    if guidance:
        shapes.linear("start_img_embed", width // 2, guidance)
    for i in range(blocks):
        shapes.mixer(f"encoder.{i}", joints, width, token_hidden, channel_hidden)
    shapes.norm("encoder_layer_norm", width)
    shapes.linear("token_mlp", tokens, joints)
    shapes.linear("feature_embed", dim, width)
    shapes.linear("decoder_token_mlp", joints, tokens)
    shapes.linear("decoder_start", decoder, dim)
    for i in range(decoder_blocks):
        shapes.mixer(f"decoder.{i}", joints, decoder, token_hidden, channel_hidden)
    shapes.norm("decoder_layer_norm", decoder)
    shapes.linear("recover_embed", 2, decoder)
    state = shapes.random(PREFIX)
    # Pixels come in as hundreds: small first weights keep the features in the range of the codebook.
    state[f"{PREFIX}start_embed.weight"] *= 0.05
    state[f"{PREFIX}ema_cluster_size"] = state[f"{PREFIX}ema_cluster_size"].abs() + 1
    return state


def make_backbone_weights(
    width: int = 4, depths: tuple[int, ...] = (2, 1, 1, 1), heads: tuple[int, ...] = (1, 2, 2, 4), seed: int = 1
) -> dict[str, Tensor]:
    """A Swin Transformer V2; its last features have 8 times ``width`` channels."""
    shapes = Shapes()
    shapes["patch_embed.proj.weight"], shapes["patch_embed.proj.bias"] = (width, 3, 4, 4), (width,)
    shapes.norm("patch_embed.norm", width)
    for stage, (depth, number) in enumerate(zip(depths, heads, strict=True)):
        channels = width * 2**stage
        for i in range(depth):
            block = f"layers.{stage}.blocks.{i}"
            shapes[f"{block}.attn.logit_scale"] = (number, 1, 1)
            shapes[f"{block}.attn.q_bias"], shapes[f"{block}.attn.v_bias"] = (channels,), (channels,)
            shapes.linear(f"{block}.attn.rpe_mlp.0", 512, 2)
            shapes[f"{block}.attn.rpe_mlp.2.weight"] = (number, 512)
            shapes[f"{block}.attn.qkv.weight"] = (3 * channels, channels)
            shapes.linear(f"{block}.attn.proj", channels, channels)
            shapes.norm(f"{block}.norm1", channels)
            shapes.norm(f"{block}.norm2", channels)
            shapes.linear(f"{block}.mlp.fc1", 4 * channels, channels)
            shapes.linear(f"{block}.mlp.fc2", channels, 4 * channels)
        if stage + 1 < len(depths):
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * channels, 4 * channels)
            shapes.norm(f"layers.{stage}.downsample.norm", 2 * channels)
    shapes.norm("norm3", channels)
    return shapes.random("backbone.", seed)


def make_head_weights(
    channels: int = 32, positions: int = 4, tokens: int = 6, entries: int = 16, conv: int = 5, width: int = 7
) -> dict[str, Tensor]:
    """A token head."""
    shapes = Shapes({"conv_trans.0.weight": (conv, channels, 1, 1)})
    shapes.batch_norm("conv_trans.1", conv)
    for i in range(2):
        for j in (1, 2):
            shapes[f"conv_head.0.{i}.conv{j}.weight"] = (conv, conv, 3, 3)
            shapes.batch_norm(f"conv_head.0.{i}.bn{j}", conv)
    shapes.linear("mixer_trans.ff.0", tokens * width, positions * conv)
    shapes.norm("mixer_trans.ff.1", tokens * width)
    for i in range(2):
        shapes.mixer(f"mixer_head.{i}", tokens, width, 3, 9)
    shapes.linear("mixer_norm_layer.ff.0", width, width)
    shapes.norm("mixer_norm_layer.ff.1", width)
    shapes.linear("cls_pred_layer", entries, width)
    return shapes.random("keypoint_head.", seed=2)


def make_heatmap_head_weights(
    channels: int = 32, width: int = 6, joints: int = 17, deconvs: int = 3, kernel: int = 2
) -> dict[str, Tensor]:
    """Deconvolutions and the last convolution of the heatmap models."""
    shapes = Shapes()
    for i in range(deconvs):
        shapes[f"deconv_layers.{3 * i}.weight"] = (channels if i == 0 else width, width, kernel, kernel)
        shapes.batch_norm(f"deconv_layers.{3 * i + 1}", width)
    shapes["final_layer.weight"], shapes["final_layer.bias"] = (joints, width, 1, 1), (joints,)
    return shapes.random("keypoint_head.", seed=3)


def make_classifier_weights(joints: int = 17, guided: bool = False) -> dict[str, Tensor]:
    """A whole classifier for crops of 64 pixels; with image guidance its second backbone too."""
    backbone = make_backbone_weights()
    extra = {f"extra_{n}": t for n, t in make_backbone_weights(seed=4).items()} if guided else {}
    return {**backbone, **extra, **make_head_weights(), **make_tokenizer_weights(joints, 32 if guided else 0)}
