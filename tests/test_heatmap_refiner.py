"""Fine features and a second look: what they are given, what they may change, and that all of it is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_photo_steps import make_batch
from tiny_photo_models import BACKBONE, HEAD, make_classifier, make_coco_tokenizer

from pct.layers.backbone import Backbone
from pct.layers.heatmap_head import HeatmapHead
from pct.layers.heatmap_refiner import HeatmapRefiner
from pct.models.classifier import ClassifierConfig, PoseClassifier
from pct.models.heatmap import HeatmapConfig, HeatmapModel
from pct.models.photo_config import BackboneSizes, HeadSizes, HeatmapSizes
from pct.photo_predict import predict_tokens
from pct.training.photo_config import TokenLoss
from pct.training.photo_steps import TokenStep

REGNET = BackboneSizes("regnetx_002", (32, 32), stage=3)
SKIPS = HeatmapSizes(2, 8, skips=True)
TWICE = replace(HEAD, heatmap=SKIPS, refine_blocks=1, refine_width=8, foresee_similarity=True)


def make_refiner() -> HeatmapRefiner:
    torch.manual_seed(0)
    refiner = HeatmapRefiner(3, 4, 5, width=8, num_blocks=1, kernel=5).eval()
    # At first the blocks add nothing, and what is added to the heatmaps is tiny.
    torch.nn.init.ones_(refiner.blocks[0].layers[-1].weight)
    torch.nn.init.normal_(refiner.last.weight)
    return refiner


def test_earlier_features_are_those_of_a_backbone_cut_there() -> None:
    torch.manual_seed(0)
    backbone, images = Backbone("regnetx_002", (64, 64), stage=3).eval(), torch.randn(2, 3, 64, 64)
    assert backbone.finer == {2: 32, 4: 24, 8: 56}
    features, finer = backbone.pyramid(images, [8, 4])
    torch.testing.assert_close(features, backbone(images))
    for stage, found in ((2, finer[0]), (1, finer[1])):
        cut = Backbone("regnetx_002", (64, 64), stage=stage).eval()
        cut.load_state_dict({k: v for k, v in backbone.state_dict().items() if k in cut.state_dict()})
        torch.testing.assert_close(found, cut(images))


def test_a_joint_s_heatmap_is_mended_by_another_joint_s() -> None:
    refiner, coarse, fine = make_refiner(), torch.randn(1, 4, 6, 6), torch.randn(1, 5, 12, 12)
    maps = torch.zeros(1, 3, 12, 12)
    moved = maps.clone()
    moved[0, 0, 2, 2] = 1.0
    before, after = (refiner(m, coarse, fine)[0] for m in (maps, moved))
    changed = (after - before)[0, 1].abs()
    assert changed[2, 2] > 1e-3
    assert changed[5, 5] > 1e-4, "the second look sees several cells around"


def test_at_first_the_second_look_changes_almost_nothing() -> None:
    torch.manual_seed(0)
    refiner = HeatmapRefiner(3, 4, 5, width=8, num_blocks=1, kernel=5).eval()
    maps = torch.rand(2, 3, 12, 10)
    mended, fine = refiner(maps, torch.randn(2, 4, 6, 5), torch.randn(2, 5, 12, 10))
    assert fine.shape == (2, 5, 12, 10)
    torch.testing.assert_close(mended, maps, atol=0.05, rtol=0)


def test_finer_features_reach_the_heatmaps() -> None:
    torch.manual_seed(0)
    head = HeatmapHead(6, 3, 2, 8, skips=(0, 4)).eval()
    torch.nn.init.normal_(head.last.weight)
    features, finer = torch.randn(1, 6, 4, 4), torch.randn(1, 4, 16, 16)
    other = finer.clone()
    other[..., 3, 5] += 5
    changed = (head(features, [other]) - head(features, [finer])).abs().amax(dim=(0, 1))
    assert changed[3, 5] > 1e-3
    changed[3, 5] = 0
    assert changed.max() == 0
    with pytest.raises(ValueError, match="1 skips got 0 maps"):
        head(features)


def test_the_baseline_takes_skips_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = HeatmapModel(HeatmapConfig(REGNET, SKIPS))
    images = torch.randn(2, 3, 32, 32)
    model(images).square().sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    model.eval().save_pretrained(tmp_path / "model")
    torch.testing.assert_close(HeatmapModel.from_pretrained(tmp_path / "model")(images), model(images))


def test_both_looks_are_taught_and_every_weight_is_trained() -> None:
    model, batch = make_classifier(0, REGNET, TWICE).train(), make_batch()
    losses = TokenStep(model.tokenizer, TokenLoss(), model.cells)(model, batch)
    assert {"heatmap_loss", "first_heatmap_loss", "foreseen_loss"} <= set(losses.parts)
    losses.loss.backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name, p in model.named_parameters() if name in trained and p.grad is None]


def test_tokens_kept_apart_leave_the_second_look_alone() -> None:
    model = make_classifier(0, REGNET, TWICE).train()
    model.keep_tokens_apart()
    output = model(torch.randn(2, 3, 32, 32))
    (output.logits.square().sum() + output.keypoints.square().sum() + output.similarity.square().sum()).backward()
    reached = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None}
    assert not reached & {"maps", "refiner", "network"}
    assert {"fine_evidence", "similarity"} <= reached


def test_a_model_that_looks_twice_comes_back_from_its_folder(tmp_path: Path) -> None:
    model, images = make_classifier(0, REGNET, TWICE), torch.randn(2, 3, 32, 32)
    model.save_pretrained(tmp_path / "model")
    loaded, output = PoseClassifier.from_pretrained(tmp_path / "model"), model(images)
    again = loaded(images)
    for name in ("logits", "heatmaps", "first_heatmaps", "similarity"):
        torch.testing.assert_close(getattr(again, name), getattr(output, name))


def test_the_head_learns_which_joints_it_finds() -> None:
    """Blank crops have random poses, bright ones the same pose: the head foresees that it finds these."""
    model, batch = make_classifier(0, REGNET, TWICE), make_batch(8)
    model.train()
    bright = torch.arange(8) % 2 == 0
    step = TokenStep(model.tokenizer, TokenLoss(foreseen_weight=5.0), model.cells)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    fixed = (torch.rand(1, 17, 2, generator=generator) * 2 - 1) * 0.7
    for _ in range(60):
        random = (torch.rand(8, 17, 2, generator=generator) * 2 - 1) * 0.9
        noise = torch.randint(40, (8, 3, 32, 32), generator=generator)
        pixels = (noise + 200 * bright[:, None, None, None]).to(torch.uint8)
        known = replace(
            batch,
            pixels=pixels,
            keypoints=torch.where(bright[:, None, None], fixed, random),
            visibility=torch.full((8, 17), 2),
        )
        loss = step(model, known).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # In training mode: batch norms of so few steps have no running statistics to speak of.
    foreseen = model(known.images).similarity.sigmoid().mean(dim=1)
    assert foreseen[bright].min() > foreseen[~bright].max() + 0.05


@pytest.mark.parametrize("flip", [False, True])
def test_confidence_rests_on_what_the_head_foresees(flip: bool) -> None:
    model, images = make_classifier(0, REGNET, TWICE), torch.randn(3, 3, 32, 32)
    found = predict_tokens(model, images, flip=flip, num_samples=2)
    views = [model.read_both_views(images).similarity] if flip else [model(images).similarity]
    foreseen = views[0].sigmoid()
    if flip:
        flip_index = torch.from_numpy(model.tokenizer.skeleton.flip_index)
        foreseen = (foreseen[:3] + foreseen[3:][:, flip_index]) / 2
    torch.testing.assert_close(found.unclear, (1 / foreseen - 1).detach(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"refine_blocks": -1}, "refine_blocks must be at least 0"),
        ({"refine_blocks": 1, "refine_kernel": 4}, "refine_kernel must be odd, got 4"),
        ({"refine_blocks": 1, "kind": "query"}, "needs heatmaps to look at again"),
        ({"refine_width": 0}, "refine_width must be at least 1"),
    ],
)
def test_wrong_sizes_are_refused(sizes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        HeadSizes(**sizes)


def test_a_backbone_without_finer_features_is_named() -> None:
    vit = BackboneSizes("vit_tiny_patch16_224", (32, 32), options={"depth": 1})
    with pytest.raises(ValueError, match="vit_tiny_patch16_224 has no features finer"):
        PoseClassifier(ClassifierConfig(vit, replace(HEAD, heatmap=SKIPS)), make_coco_tokenizer())
    assert BACKBONE.build().finer == {4: 8}
