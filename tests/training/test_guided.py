"""Image guidance: which cell a joint's features are of, training, saving, and stage two over a guided tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from tiny_batches import make_batch
from tiny_photo_models import BACKBONE, SWIN, make_classifier, make_coco_tokenizer, make_heatmap_model
from tiny_runs import CrashError, CutAfter

from pct.checkpoint import CheckpointError
from pct.cli import main as cli
from pct.photos.classifier import PoseClassifier
from pct.photos.config import BackboneSizes
from pct.photos.crop import PhotoBatch
from pct.photos.guide import GuideConfig, ImageGuide, features_at_joints
from pct.photos.saved_backbone import SavedBackbone
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer, TokenizerConfig
from pct.tokenizer.codebook import TRAINING_BUFFERS
from pct.training.photos.config import TokenLoss
from pct.training.photos.steps import TokenStep, photo_labels
from pct.training.photos.token_targets import token_labels
from pct.training.run_files import read_metrics
from pct.training.run_folder import prepare_folder
from pct.training.steps import TokenizerStep
from pct.training.tokenizer.augment import AugmentedPoses
from pct.training.tokenizer.config import LossSection, TokenizerRun
from pct.training.tokenizer.guided import GuidedBatch, GuidedBatches, GuidedStep, build_guide, train_guided_tokenizer
from pct.training.tokenizer.guided_config import GuidedRun, load_tokenizer_run

ROOT = Path(__file__).parents[2]
TINY = """\
steps: 6
batch_size: 4
log_every: 2
val_every: 3
checkpoint_every: 2
val_poses: 6
device: cpu
threads: 1
model:
  num_tokens: 6
  codebook_size: 16
  codebook_dim: 2
  encoder_width: 16
  encoder_blocks: 1
  decoder_width: 8
optim: {warmup_steps: 2}
"""
CLASSIFIER = """\
steps: 2
batch_size: 4
val_every: 0
val_persons: 6
device: cpu
threads: 1
workers: 0
data: {num_generated: 8, num_val: 6}
head: {kind: query, width: 16, num_heads: 2, num_blocks: 1}
backbone:
  image_size: [32, 32]
  options: {patch_size: 4, embed_dim: 8, depths: [1, 1], num_heads: [1, 2], window_size: 4}
"""


def make_guide(seed: int = 0, backbone: BackboneSizes = BACKBONE, **changes) -> ImageGuide:
    torch.manual_seed(seed)
    return ImageGuide(GuideConfig(backbone, **changes))


def make_guided_tokenizer(seed: int = 0, guide: ImageGuide | None = None, **changes) -> PoseTokenizer:
    guide = guide or make_guide(seed)
    sizes = {**asdict(make_coco_tokenizer(seed).config), **changes}
    del sizes["skeleton"], sizes["space"]
    config = TokenizerConfig(**sizes)
    torch.manual_seed(seed)
    config = replace(config, guidance_channels=guide.channels, guidance_from=guide.fingerprint())
    return PoseTokenizer(config, guide).eval()


@pytest.fixture(scope="module")
def heatmaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained heatmap model."""
    folder = tmp_path_factory.mktemp("heatmaps") / "model"
    make_heatmap_model(seed=3).save_pretrained(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, heatmaps: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    data = "{num_generated: 12, num_val: 6}"
    path.write_text(TINY + f"guidance: {{model: {heatmaps}, data: {data}, workers: 0}}\n")
    return path


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No curves, which take most of a tiny run's time; as many threads as before."""
    monkeypatch.setattr("pct.drawing.plots.plot_training_curves", lambda *_: None)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run_tool(config: Path, *arguments: str, out: str = "run", kind: str = "tokenizer") -> int:
    return cli.main(["train", kind, str(config), f"out={config.parent / out}", "--quiet", *arguments])


@pytest.mark.parametrize(
    ("size", "space"),
    [
        ((32, 32), PoseSpace()),
        ((32, 64), PoseSpace()),
        ((64, 32), PoseSpace()),
        ((32, 64), PoseSpace(units="pixels", crop_size=100)),
    ],
    ids=["square", "wide", "tall", "pixels"],
)
def test_features_are_those_of_the_cell_that_a_joint_lies_in(size: tuple[int, int], space: PoseSpace) -> None:
    guide = make_guide(backbone=BackboneSizes("swin_pico", size, options=SWIN), bounds=space.bounds)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 17, 2, generator=generator) * torch.tensor([size[1], size[0]])  # 0 at the outer edge
    low, high = space.bounds
    middle = torch.tensor([size[1] / 2, size[0] / 2])
    keypoints = (pixels - middle) / (max(size) / 2) * (high - low) / 2 + (low + high) / 2
    images = torch.randn(2, 3, *size, generator=generator)
    feature_map, stride = guide.backbone(images), guide.backbone.stride
    features = guide(images, keypoints)
    for b in range(2):
        for k in range(17):
            column, row = (int(v // stride) for v in pixels[b, k])
            assert torch.equal(features[b, k], feature_map[b, :, row, column])
    assert len({tuple(cell) for cell in (pixels // stride).long().view(-1, 2).tolist()}) > 6


def test_with_the_published_cells_it_is_the_published_rule() -> None:
    """Coordinates in pixels of the crop, and the cell ``floor(coordinate / stride + 0.5)``."""
    guide = make_guide(bounds=(0.0, 32.0), cell_center=0.0)
    images, pixels = torch.randn(2, 3, 32, 32), torch.rand(2, 17, 2) * 40 - 4
    expected = features_at_joints(guide.backbone(images), pixels, guide.backbone.stride)
    assert torch.equal(guide(images, pixels), expected)
    assert not torch.equal(make_guide(bounds=(0.0, 32.0))(images, pixels), expected)


def test_joints_outside_take_the_edge_and_unknown_ones_may_hold_anything() -> None:
    guide, images = make_guide(), torch.randn(1, 3, 32, 32)
    feature_map = guide.backbone(images)
    features = guide(images, torch.tensor([[[-3.0, -3.0], [3.0, 3.0], [torch.nan, torch.inf]]]))
    assert torch.equal(features[0, 0], feature_map[0, :, 0, 0])
    assert torch.equal(features[0, 1], feature_map[0, :, -1, -1])
    assert torch.isfinite(features).all()


def test_the_guide_stays_frozen_and_in_evaluation_mode() -> None:
    tokenizer = make_guided_tokenizer().train()
    assert tokenizer.training
    assert not any(module.training for module in tokenizer.guide.modules())
    assert not any(p.requires_grad for p in tokenizer.guide.parameters())
    assert not tokenizer.guide(torch.randn(1, 3, 32, 32), torch.zeros(1, 17, 2)).requires_grad


def test_a_guided_tokenizer_is_saved_with_its_guide(tmp_path: Path) -> None:
    tokenizer, batch = make_guided_tokenizer(), make_batch()
    tokenizer.save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "guidance", "model.safetensors"]
    loaded = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert torch.equal(photo_labels(loaded, batch).z, photo_labels(tokenizer, batch).z)
    for name, value in tokenizer.state_dict().items():
        if name.rpartition(".")[2] in TRAINING_BUFFERS:
            continue
        assert torch.equal(loaded.state_dict()[name], value), name


def test_another_guide_is_refused_and_both_are_named(tmp_path: Path) -> None:
    tokenizer, other = make_guided_tokenizer(), make_guide(seed=1)
    tokenizer.save_pretrained(tmp_path / "model")
    other.save_pretrained(tmp_path / "model" / "guidance", force=True)
    with pytest.raises(CheckpointError, match=f"{tokenizer.config.guidance_from}.*{other.fingerprint()}"):
        PoseTokenizer.from_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "guidance" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="truncated"):
        PoseTokenizer.from_pretrained(tmp_path / "model")


def test_decoding_needs_no_guide(tmp_path: Path) -> None:
    tokenizer, batch = make_guided_tokenizer(), make_batch()
    tokenizer.save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "guidance")
    bare = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert bare.guide is None
    assert bare.fingerprint() == tokenizer.fingerprint()
    labels = photo_labels(tokenizer, batch)
    assert torch.equal(bare.decode(labels.indices), tokenizer.decode(labels.indices))
    with pytest.raises(ValueError, match="needs image features"):
        photo_labels(bare, batch)
    features = tokenizer.guide(batch.images, batch.keypoints)
    assert torch.equal(token_labels(bare, batch.keypoints, batch.visible, features).indices, labels.indices)


def test_labels_are_the_tokens_that_encode_gives_with_the_same_features() -> None:
    tokenizer, batch = make_guided_tokenizer(), make_batch()
    features = tokenizer.guide(batch.images, batch.keypoints)
    pixels = tokenizer.space.restore(batch.keypoints, batch.bbox)
    expected = tokenizer.encode(pixels, batch.visible, batch.bbox, features)
    assert (photo_labels(tokenizer, batch).indices == expected).float().mean() > 0.99
    others = tokenizer.encode(pixels, batch.visible, batch.bbox, 3 * features.flip(0))
    assert (others != expected).any(), "the features do not matter"


def test_without_guidance_nothing_changes() -> None:
    model, batch = make_classifier(), make_batch()
    tokenizer = model.tokenizer
    assert tokenizer.guide is None
    assert not any(name.startswith("guide") for name in tokenizer.state_dict())
    plain, labels = token_labels(tokenizer, batch.keypoints, batch.visible), photo_labels(tokenizer, batch)
    assert torch.equal(plain.indices, labels.indices)
    poses = AugmentedPoses(batch.keypoints, batch.visible, batch.visible)
    step = TokenizerStep(LossSection())
    expected = step.losses(tokenizer(poses.keypoints, poses.encoder_visible), poses)
    assert step(tokenizer, poses).loss == expected.loss


def test_training_lowers_the_loss_and_uses_the_photos() -> None:
    tokenizer, batch = make_guided_tokenizer().train(), make_batch()
    poses = AugmentedPoses(batch.keypoints, batch.visible, batch.visible)
    step = GuidedStep(tokenizer.guide, LossSection())
    before = {name: value.clone() for name, value in tokenizer.guide.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in tokenizer.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(60):
        loss = step(tokenizer, GuidedBatch(batch, poses)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert tokenizer.embedding.guidance is not None
    assert tokenizer.embedding.guidance.weight.grad.abs().sum() > 0
    for name, value in tokenizer.guide.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_joints_are_hidden_alike_in_any_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, tokenizer = make_batch(8), make_guided_tokenizer()

    class Photos:
        batch_size, steps_per_epoch = 8, 2

        def __init__(self, rows: slice) -> None:
            self.rows = rows

        def __getitem__(self, _: int) -> PhotoBatch:
            return whole.rows(self.rows)

    augment = TokenizerRun().augment
    batches = GuidedBatches(Photos(slice(0, 8)), tokenizer, augment, 0)
    one = batches[3].poses
    assert (one.visible & ~one.encoder_visible).any()
    assert not torch.equal(batches[4].poses.encoder_visible, one.encoder_visible), "the same joints at every step"
    for rank in range(2):
        monkeypatch.setattr("pct.distributed.rank", lambda rank=rank: rank)
        rows = slice(4 * rank, 4 * rank + 4)
        part = GuidedBatches(Photos(rows), tokenizer, augment, 0)[3].poses
        assert torch.equal(part.encoder_visible, one.encoder_visible[rows])


def test_the_tool_trains_a_guided_tokenizer(config: Path, heatmaps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(config) == 0
    folder = config.parent / "run"
    assert capsys.readouterr().out == f"model:  {folder / 'model'}\ncurves: {folder / 'curves.png'}\n"
    tokenizer = PoseTokenizer.from_pretrained(folder / "model")
    taken = SavedBackbone.of_model(heatmaps).state
    for name, value in tokenizer.guide.backbone.state_dict().items():
        assert torch.equal(value, taken[name]), name
    rows = read_metrics(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 3, 4, 6]
    assert {"loss", "keypoint_loss", "val_mean_error_px", "val_completion_error_px"} <= set(rows[-1])
    assert isinstance(load_tokenizer_run(folder / "config.yaml", []), GuidedRun)


def test_a_guided_run_that_was_cut_goes_on_as_if_it_had_not_been(config: Path) -> None:
    assert run_tool(config, out="whole") == 0
    cut, whole = config.parent / "cut", config.parent / "whole"
    run = load_tokenizer_run(config, [f"out={cut}"])
    assert isinstance(run, GuidedRun)
    with pytest.raises(CrashError):
        train_guided_tokenizer(run, prepare_folder(run, resume=False, force=False), CutAfter(3))
    assert run_tool(config, "--resume", "guidance.workers=1", out="cut") == 0
    first, second = (run / "model" / "model.safetensors" for run in (whole, cut))
    assert first.read_bytes() == second.read_bytes()


def test_stage_two_trains_over_a_guided_tokenizer(tmp_path: Path) -> None:
    make_guided_tokenizer().save_pretrained(tmp_path / "tokenizer")
    path = tmp_path / "classifier.yaml"
    path.write_text(CLASSIFIER + f"tokenizer: {tmp_path / 'tokenizer'}\n")
    assert run_tool(path, kind="classifier") == 0
    model = PoseClassifier.from_pretrained(tmp_path / "run" / "model")
    assert model.tokenizer.guide is not None
    batch = make_batch()
    step = TokenStep(model.tokenizer, TokenLoss())
    assert torch.isfinite(step(model, batch).loss)
    shutil.rmtree(tmp_path / "run" / "model" / "tokenizer" / "guidance")
    bare = PoseClassifier.from_pretrained(tmp_path / "run" / "model")
    assert torch.equal(bare(batch.images).keypoints, model(batch.images).keypoints)


def test_stage_two_says_what_a_guided_tokenizer_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_guided_tokenizer().save_pretrained(tmp_path / "tokenizer")
    path = tmp_path / "classifier.yaml"
    path.write_text(CLASSIFIER + f"tokenizer: {tmp_path / 'tokenizer'}\n")
    assert run_tool(path, "backbone.image_size=[64,64]", kind="classifier", out="size") == 1
    assert "backbone.image_size is [64, 64]; the labels of tokenizer" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "tokenizer" / "guidance")
    assert run_tool(path, kind="classifier") == 1
    assert "needs image features, and its folder has no guidance/ that gives them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["guidance.model="], "guidance.model is ''; it must be the folder of a heatmap model"),
        (["guidance.model=nowhere"], "no model 'nowhere'"),
        (["guidance.model=coco17"], "coco17 is a pose_tokenizer; a backbone is taken from"),
        (["guidance.data.train=people.json"], "guidance.data.train_images is ''"),
        (["guidance.date.train=x"], "unknown key guidance.date; did you mean guidance.data?"),
        (["data.train=people.json"], "it must be left out with guidance"),
        (["data.skeleton=mpii16"], "the tokenizer those of mpii16"),
        (["report=true"], "report is True; it must be false with guidance"),
        (["model.layout=residual"], "model.layout is residual; it must be parallel with guidance"),
        (["space.kind=root3d"], "space.kind is root3d; it must be crop2d with guidance"),
        (["model.guidance_channels=8"], "model.guidance_channels is 8; it must be 0"),
        (["model.encoder_width=7"], "the width must be even; got 7"),
    ],
)
def test_mistakes_are_one_sentence(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_tool(config, *arguments) == 1
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_the_shipped_config_loads_and_the_others_have_no_guidance() -> None:
    run = load_tokenizer_run(ROOT / "configs" / "tokenizer_coco_guided.yaml", [])
    assert isinstance(run, GuidedRun)
    paper = load_tokenizer_run(ROOT / "configs" / "tokenizer_coco_paper.yaml", [])
    assert type(paper) is TokenizerRun
    for name in ("model", "loss", "optim", "steps", "batch_size"):
        assert getattr(run, name) == getattr(paper, name), name


def test_a_backbone_of_any_model_guides(heatmaps: Path, tmp_path: Path) -> None:
    make_classifier(seed=4).save_pretrained(tmp_path / "classifier")
    images, keypoints = torch.randn(1, 3, 32, 32), torch.zeros(1, 17, 2)
    for folder, model in ((tmp_path / "classifier", make_classifier(seed=4)), (heatmaps, make_heatmap_model(seed=3))):
        guide = build_guide(folder, (-1.0, 1.0))
        assert torch.equal(guide(images, keypoints)[0, 0], model.backbone(images)[0, :, 2, 2])
