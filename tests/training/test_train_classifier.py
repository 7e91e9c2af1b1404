"""`pct train classifier` and `pct train heatmap` as a user calls them: runs, files, phases, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import tiny_runs
import torch
from tiny_batches import make_batch
from tiny_photo_models import make_coco_tokenizer, make_guided_tokenizer
from tiny_runs import error_of, losses

from pct.people.scene import GeneratedPersons
from pct.people.write import write_people
from pct.photos.classifier import PoseClassifier
from pct.photos.heatmap import HeatmapModel
from pct.skeleton import COCO17, Skeleton
from pct.tokenizer import PoseTokenizer
from pct.training.kinds import load_run
from pct.training.photos.batches import evaluation_batches
from pct.training.photos.config import PhotoRun, TokenLoss
from pct.training.photos.crops import PhotoBatch
from pct.training.photos.data import open_persons
from pct.training.photos.steps import TokenStep
from pct.training.run_files import load_checkpoint

ROOT = Path(__file__).parents[2]
GENERATED = ("data.train=generated", "data.train_images=", "data.val=", "data.val_images=")
PRETRAIN = ("pretrain.steps=4", "pretrain.heatmap.width=8", "pretrain.heatmap.num_deconvs=1")


@pytest.fixture
def config(write_config: Callable[[str], Path]) -> Path:
    """The config of a tiny classifier; that of the heatmap model is ``heatmap.yaml`` beside it."""
    write_config("heatmap")
    return write_config("classifier")


def train(config: Path, *arguments: str, out: str = "run") -> int:
    """Train a classifier with the tool, in this process."""
    return tiny_runs.train("classifier", config, *arguments, out=out)


def train_heatmaps(config: Path, *arguments: str, out: str = "run") -> int:
    """Train a heatmap model with the tool, in this process."""
    return tiny_runs.train("heatmap", config.parent / "heatmap.yaml", *arguments, out=out)


def both_models(config: Path) -> tuple[PoseClassifier, HeatmapModel]:
    """The models of the runs ``tokens`` and ``heatmaps``."""
    tokens, heatmaps = (config.parent / out / "model" for out in ("tokens", "heatmaps"))
    return PoseClassifier.from_pretrained(tokens), HeatmapModel.from_pretrained(heatmaps)


def val_batch(config: Path) -> PhotoBatch:
    run = load_run("classifier", config, [])
    tokenizer = PoseTokenizer.from_pretrained(run.tokenizer)
    return next(evaluation_batches(open_persons(run.data, tokenizer)[1].source, tokenizer.space, (32, 32), 6))


def test_the_saved_model_predicts_what_the_last_validation_measured(config: Path) -> None:
    assert train(config) == 0
    model, batch = PoseClassifier.from_pretrained(config.parent / "run" / "model"), val_batch(config)
    with torch.no_grad():
        # The sharpness is fitted after the last validation.
        keypoints = model.decode(model(batch.images).logits, sharpness=1.0)
    error = (keypoints - batch.keypoints).norm(dim=-1)[batch.visible].mean() * model.tokenizer.space.report_scale
    assert float(error) == pytest.approx(losses(config.parent / "run")[-1]["val_mean_error_px"], rel=1e-5)


def test_worker_processes_change_nothing(config: Path) -> None:
    assert train(config, "workers=2", "steps=3", out="two") == train(config, "steps=3", out="none") == 0
    assert losses(config.parent / "two") == losses(config.parent / "none")
    two, none = (config.parent / out / "model/model.safetensors" for out in ("two", "none"))
    assert two.read_bytes() == none.read_bytes()


def test_pretraining_has_a_folder_and_its_backbone_is_taken(config: Path) -> None:
    assert train(config, *PRETRAIN, "freeze_backbone=true") == 0
    first = load_checkpoint(config.parent / "run" / "pretrain")
    assert first is not None
    assert first["step"] == 4
    assert losses(config.parent / "run" / "pretrain")[-1].keys() >= {"loss", "val_mean_error_px"}
    model = PoseClassifier.from_pretrained(config.parent / "run" / "model")
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, first["model"][f"backbone.{name}"]), name
    assert train(config, "freeze_backbone=true", out="without") == 0
    untrained = PoseClassifier.from_pretrained(config.parent / "without" / "model")
    assert not torch.equal(*(next(m.backbone.parameters()) for m in (model, untrained))), "pre-training did nothing"


@pytest.mark.parametrize("source", ["classifier", "heatmap"])
def test_a_backbone_is_taken_from_another_model(config: Path, source: str) -> None:
    kind = PoseClassifier if source == "classifier" else HeatmapModel
    assert (train if source == "classifier" else train_heatmaps)(config, "seed=5", out="first") == 0
    folder = config.parent / "first" / "model"
    taken = kind.from_pretrained(folder).backbone.state_dict()
    frozen = (f"backbone_from={folder}", "freeze_backbone=true")
    assert train(config, *frozen, out="tokens") == train_heatmaps(config, *frozen, out="heatmaps") == 0
    for other in both_models(config):
        for name, value in other.backbone.state_dict().items():
            assert torch.equal(value, taken[name]), name


def test_a_frozen_backbone_with_batch_norms_keeps_their_statistics(config: Path) -> None:
    for path in (config, config.parent / "heatmap.yaml"):
        path.write_text("\n".join(line for line in path.read_text().splitlines() if "options" not in line))
    settings = ("backbone.name=resnet10t", "freeze_backbone=true", "steps=2")
    assert train(config, *settings, out="tokens") == train_heatmaps(config, *settings, out="heatmaps") == 0
    for model in both_models(config):
        statistics = [b for name, b in model.backbone.named_buffers() if name.endswith("running_mean")]
        assert statistics
        assert not any(s.any() for s in statistics)


@pytest.mark.parametrize(
    ("changes", "both"),
    [
        (("backbone.name=swinv2_pico",), ("swin_pico", "swinv2_pico")),
        (("backbone.options.embed_dim=16",), ("'embed_dim': 8", "'embed_dim': 16")),
    ],
)
def test_another_backbone_is_refused_and_both_are_named(
    config: Path, capsys: pytest.CaptureFixture[str], changes: tuple[str, ...], both: tuple[str, str]
) -> None:
    assert train_heatmaps(config, "steps=1", out="first") == 0
    capsys.readouterr()
    assert train(config, f"backbone_from={config.parent / 'first' / 'model'}", *changes) == 1
    error = error_of(capsys)
    for words in (*both, str(config.parent / "first")):
        assert words in error


def test_a_broken_model_to_take_the_backbone_from_is_explained(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(config, "steps=1", out="first") == 0
    capsys.readouterr()
    path = config.parent / "first" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert train(config, f"backbone_from={config.parent / 'first' / 'model'}") == 1
    assert "model.safetensors: truncated" in error_of(capsys)
    tokenizer = load_run("classifier", config, []).tokenizer
    assert train(config, f"backbone_from={tokenizer}", out="other") == 1
    assert "is a pose_tokenizer; a backbone is taken from a pose_backbone, pose_classifier or" in error_of(capsys)


def test_layer_decay_slows_the_first_layers(config: Path) -> None:
    """At its first step Adam moves all weights by the learning rate, whatever their gradients."""
    moved = {}
    assert train(config, "steps=1", "freeze_backbone=true", out="before") == 0
    before = PoseClassifier.from_pretrained(config.parent / "before" / "model").backbone.state_dict()
    for decay in (1.0, 0.5):
        settings = (f"layer_decay={decay}", "optim.weight_decay=0", "optim.warmup_steps=0")
        assert train(config, "steps=1", *settings, out=f"{decay}") == 0
        after = PoseClassifier.from_pretrained(config.parent / f"{decay}" / "model").backbone.state_dict()
        moved[decay] = {name: float((after[name] - before[name]).abs().median()) for name in before}
    first = next(name for name in before if name.endswith("patch_embed.proj.weight"))
    assert moved[1.0][first] == pytest.approx(1e-3, rel=0.05)
    assert 0 < moved[0.5][first] < 0.3 * moved[1.0][first]
    assert moved[0.5][first] < moved[0.5]["network.layers.0.blocks.0.mlp.fc1.weight"]
    assert max(moved[0.5].values()) == pytest.approx(1e-3, rel=0.05), "the last layer is not slowed"


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("kind", ["classifier", "heatmap"])
def test_a_photo_that_cannot_be_read_is_reported_and_skipped(
    config: Path, people: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(people / "train", tmp_path / "broken")
    broken = sorted((tmp_path / "broken" / "images").iterdir())[3]
    broken.write_bytes(broken.read_bytes()[:300])
    settings = [f"data.train={tmp_path / 'broken/annotations.json'}", f"data.train_images={tmp_path / 'broken/images'}"]
    assert (train if kind == "classifier" else train_heatmaps)(config, *settings) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "its persons are skipped" in line]
    assert len(said) == 1, "said more than once"
    assert str(broken) in said[0]
    assert losses(config.parent / "run")[-1]["step"] == 6


@pytest.mark.filterwarnings("default::UserWarning")
def test_photos_to_validate_on_that_all_cannot_be_read_are_an_error(
    config: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(people / "val", tmp_path / "broken")
    for photo in (tmp_path / "broken" / "images").iterdir():
        photo.write_bytes(photo.read_bytes()[:300])
    settings = (f"data.val={tmp_path / 'broken' / 'annotations.json'}", f"data.val_images={tmp_path / 'broken/images'}")
    assert train(config, *settings) == 1
    said = capsys.readouterr().err
    assert "its persons are skipped" in said
    assert "none of the photos to validate on can be read" in said


def test_a_tokenizer_of_another_skeleton_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = COCO17.keypoint_names
    other = Skeleton.from_dict({**COCO17.to_dict(), "name": "turned", "keypoint_names": (*names[1:], names[0])})
    make_coco_tokenizer(skeleton=other).save_pretrained(tmp_path / "turned")
    assert train(config, f"tokenizer={tmp_path / 'turned'}") == 1
    assert "turned" in error_of(capsys)
    assert train(config, f"tokenizer={tmp_path / 'turned'}", *GENERATED, out="generated") == 1
    assert "generated people have the joints of coco17, the tokenizer those of turned" in error_of(capsys)


def test_stage_two_trains_over_a_guided_tokenizer_that_has_its_guide_and_its_size(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_guided_tokenizer().save_pretrained(tmp_path / "guided")
    arguments = (f"tokenizer={tmp_path / 'guided'}", "steps=2", "val_every=0")
    assert train(config, *arguments) == 0
    model, batch = PoseClassifier.from_pretrained(tmp_path / "run/model"), make_batch()
    assert model.tokenizer.guide is not None
    assert torch.isfinite(TokenStep(model.tokenizer, TokenLoss())(model, batch)["loss"])
    shutil.rmtree(tmp_path / "run/model/tokenizer/guidance")
    bare = PoseClassifier.from_pretrained(tmp_path / "run/model")
    assert torch.equal(bare(batch.images).keypoints, model(batch.images).keypoints)
    capsys.readouterr()
    assert train(config, *arguments, "backbone.image_size=[64,64]", out="size") == 1
    assert "backbone.image_size is [64, 64]; the labels of tokenizer" in error_of(capsys)
    shutil.rmtree(tmp_path / "guided/guidance")
    assert train(config, *arguments, out="bare") == 1
    assert "needs image features, and its folder has no guidance/ that gives them" in error_of(capsys)


def test_a_run_needs_no_data(config: Path) -> None:
    assert train(config, *GENERATED, "data.num_generated=20", "data.num_val=6", "steps=2") == 0
    assert {"loss", "val_oks"} <= set(losses(config.parent / "run")[-1])


def test_the_configs_that_are_compared_differ_in_head_loss_and_folder_alone() -> None:
    tokens = load_run("classifier", ROOT / "configs" / "classifier_people.yaml", [])
    heatmaps = load_run("heatmap", ROOT / "configs" / "heatmap_people.yaml", [])
    assert tokens.pretrain.steps == 0
    for field in fields(PhotoRun):
        if field.name != "out":
            assert getattr(tokens, field.name) == getattr(heatmaps, field.name), field.name
    assert {f.name for f in fields(tokens)} - {f.name for f in fields(PhotoRun)} == {"head", "loss", "pretrain"}
    assert {f.name for f in fields(heatmaps)} - {f.name for f in fields(PhotoRun)} == {"heatmap", "loss", "conventions"}


# Heatmaps find no poses in space, so there is nothing to compare with.
FLAT = [path for path in sorted((ROOT / "configs").glob("classifier_*.yaml")) if "3d" not in path.stem]


@pytest.mark.parametrize("path", FLAT, ids=lambda path: path.stem)
def test_every_shipped_config_of_a_classifier_has_its_heatmap_model(path: Path) -> None:
    data = [] if "people" in path.stem else ["data.train=a.json", "data.train_images=a"]
    tokens = load_run("classifier", path, data)
    heatmaps = load_run("heatmap", path.parent / path.name.replace("classifier", "heatmap"), data)
    assert tokens.backbone.image_size == heatmaps.backbone.image_size


def test_it_learns_eight_persons_by_heart(config: Path, tmp_path: Path) -> None:
    """With the tokenizer that ships with the package."""
    write_people(tmp_path / "eight", GeneratedPersons(8, 3, image_size=64))
    people = tmp_path / "eight"
    same = [f"data.{name}={people / 'annotations.json'}" for name in ("train", "val")]
    same += [f"data.{name}_images={people / 'images'}" for name in ("train", "val")]
    plain = [f"augment.{name}=0" for name in ("rotation", "scale", "shift", "flip_prob", "half_body_prob")]
    plain += ["augment.colour_prob=0", "augment.grid_prob=0", "augment.outside_margin=9", "val_persons=8"]
    settings = ["steps=240", "batch_size=8", "val_every=0", "log_every=240", "checkpoint_every=240", "optim.lr=0.005"]
    assert train(config, *settings, *plain, *same, "tokenizer=coco17", "head.width=32") == 0
    row = losses(config.parent / "run")[-1]
    assert row["val_mean_error_px"] < 4
    assert row["val_top1"] > 0.8
