"""Tiny models of photos that several test files share."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_codec import make_tokenizer

from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import BackboneSizes, HeadSizes, HeatmapSizes
from pct.photos.guide import GuideConfig, ImageGuide
from pct.photos.heatmap import HeatmapConfig, HeatmapModel
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, H36M17
from pct.tokenizer import PoseTokenizer

SWIN = {"patch_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "window_size": 4}
BACKBONE = BackboneSizes("swin_pico", (32, 32), options=SWIN)
HEAD = HeadSizes(width=16, num_heads=2, num_blocks=1)


def make_coco_tokenizer(seed: int = 0, **changes) -> PoseTokenizer:
    """Return an untrained tokenizer of COCO's joints; residual entries lie where random poses do."""
    sizes = {"num_tokens": 6, "codebook_size": 16, "codebook_dim": 2, "encoder_width": 16}
    tokenizer = make_tokenizer(seed, **{"skeleton": COCO17, **sizes, **changes}).train()
    joints, dims = tokenizer.skeleton.num_keypoints, tokenizer.space.num_dims
    if tokenizer.config.layout == "residual":
        poses = torch.rand(64, joints, dims, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        with torch.no_grad():
            tokenizer(poses, torch.ones(64, joints, dtype=torch.bool))
    return tokenizer.eval()


def make_body_tokenizer(seed: int = 0, **changes) -> PoseTokenizer:
    """Return an untrained tokenizer of poses in space, with Human3.6M's 17 joints."""
    return make_coco_tokenizer(seed, **{"skeleton": H36M17, "space": PoseSpace("root3d"), **changes})


def make_guide(seed: int = 0, backbone: BackboneSizes = BACKBONE, **changes) -> ImageGuide:
    torch.manual_seed(seed)
    return ImageGuide(GuideConfig(backbone, **changes))


def make_guided_tokenizer(seed: int = 0) -> PoseTokenizer:
    guide, plain = make_guide(seed), make_coco_tokenizer(seed).config
    torch.manual_seed(seed)
    config = replace(plain, guidance_channels=guide.channels, guidance_from=guide.fingerprint())
    return PoseTokenizer(config, guide).eval()


def make_classifier(
    seed: int = 0, backbone: BackboneSizes = BACKBONE, head: HeadSizes = HEAD, **tokenizer_changes
) -> PoseClassifier:
    """Return an untrained classifier in evaluation mode."""
    tokenizer = make_coco_tokenizer(seed, **tokenizer_changes)
    torch.manual_seed(seed)
    return PoseClassifier(ClassifierConfig(backbone, head), tokenizer).eval()


def make_varied_classifier(seed: int = 0, image_size: tuple[int, int] = (32, 32), **changes) -> PoseClassifier:
    """Return a classifier whose tokens differ from photo to photo; ``changes`` are of the tokenizer."""
    tokenizer = make_coco_tokenizer(seed, **changes)
    backbone, head = replace(BACKBONE, image_size=image_size), replace(HEAD, kind="query")
    model = PoseClassifier(ClassifierConfig(backbone, head), tokenizer)
    with torch.no_grad():
        # As it starts, all photos would get nearly the same tokens.
        for parameter in [*model.backbone.parameters(), *model.head.parameters()]:
            parameter.mul_(2.5)
    return model.eval()


def make_heatmap_model(seed: int = 0, backbone: BackboneSizes = BACKBONE) -> HeatmapModel:
    """Return an untrained heatmap model in evaluation mode."""
    torch.manual_seed(seed)
    return HeatmapModel(HeatmapConfig(backbone, HeatmapSizes(1, 8))).eval()
