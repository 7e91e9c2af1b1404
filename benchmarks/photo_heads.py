"""Tokens, coordinates and heatmaps read off one frozen trunk: same photos, same crops, same processor time.

  python benchmarks/photo_heads.py coco_photos lsp --trunk backbones/thunder --features features/mine \\
      --runs runs/heads --out docs/results/photos.md "data.sets=[...]"

The features of the training crops must be stored already (`pct train classifier photos features=...` stores them); what
follows the options is given to that config. For each seed it trains the token head by the package's own recipe, and a
head that gives coordinates: the same queries over the same features, smooth-L1 instead of tokens, as many steps as
take the same processor time. The heatmaps are those of the trunk itself (MoveNet), which nobody trained here. Both are
ranked by the mean height of the heatmaps, which suits them better than the usual mean of the joints above 0.2. All are
measured on the val2017 photos of the first folder (COCO's evaluator, annotated boxes, flip test) and on the test
persons of the second (PCK at 0.2 of the torso). Then come the way from file to result in detected boxes, its time on
one thread, and a report with pictures (best, typical, worst, most hidden) and the reliability of the confidence in a
folder beside the page. Runs that are finished are not trained again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from markdown_page import render_markdown
from measure import describe_machine
from photo_path import SCORES, measure_path, path_table
from torch import Tensor, nn
from tqdm import tqdm

from pct import PoseTokenizer
from pct.evaluation.metrics import expected_calibration_error
from pct.evaluation.photos.evaluate import measure_forms
from pct.evaluation.photos.files import run_photo_evaluation
from pct.evaluation.photos.predictions import (
    EXPECTED,
    LIKELY,
    TOP,
    ModelPoses,
    NotedPersons,
    PersonTable,
    PredictionOptions,
    predict_persons,
)
from pct.evaluation.report import Table
from pct.files.output import write_atomically
from pct.layers.losses import keypoint_loss
from pct.photos.backbone import Backbone, load_backbone
from pct.photos.classifier import PoseClassifier
from pct.photos.config import HeadSizes
from pct.photos.heads.tokens import PlaceReader, grid_positions
from pct.photos.movenet import heatmap_heights
from pct.photos.persons import CocoPersons
from pct.photos.predict import merge_views, restore_poses
from pct.pose_space import PoseSpace
from pct.training.kinds import load_run
from pct.training.loop import train
from pct.training.photos.batches import evaluation_batches
from pct.training.photos.config import ClassifierRun
from pct.training.photos.crops import PhotoBatch
from pct.training.photos.features import FeatureBatches, StoredFeatures
from pct.training.photos.recipe import PhotoSetting, train_classifier
from pct.training.photos.steps import TokenStep
from pct.training.run_config import TrainingRun

Rows = dict[str, dict[str, Any]]

CONFIG = Path(__file__).parents[1] / "configs" / "classifier_photos.yaml"
FLIP = PredictionOptions(flip=True)
# Steps that are timed to find out how many of the one head take as long as those of the other.
TIMED = 30


class CoordinateHead(PlaceReader):
    """What :class:`~pct.photos.heads.tokens.AnchoredTokenHead` is up to its pose, without the tokens.

    Maps features (B, 84, 17, 5) of MoveNet to joints (B, 17, 2) in model units.
    """

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__(channels, grid, HeadSizes())
        self.register_buffer("positions", grid_positions(grid, self.position_channels), persistent=False)

    positions: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """Return the joints (B, 17, 2)."""
        rows = features.flatten(2).transpose(1, 2)
        return self.read_pose(torch.cat([rows, self.positions.expand(len(rows), -1, -1)], dim=-1))[0]


class CoordinateStep:
    """Smooth-L1 of the joints, at the scale of the tokens' config."""

    def __init__(self, run: ClassifierRun) -> None:
        self.beta = run.loss.beta

    def __call__(self, model: nn.Module, batch: PhotoBatch) -> dict[str, Tensor]:
        """Run the head on a batch."""
        loss = keypoint_loss(model(batch.features), batch.keypoints, batch.visible, self.beta)
        return {"loss": loss}


class SeenTrunk(nn.Module):
    """A trunk that looks at every batch of crops once, however often it is asked."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk, self.seen = trunk, dict[int, Tensor]()

    def forward(self, images: Tensor) -> Tensor:
        """Return the trunk's features."""
        key = hash(images.numpy().tobytes())
        if key not in self.seen:
            self.seen[key] = self.trunk(images)
        return self.seen[key]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("trunk"), name)


@dataclass(frozen=True)
class TestSet:
    """Persons to measure on.

    Attributes:
        persons: The persons.
        table: Their labels.
        boxes: What their crops were cut with (N, 4), grown to the input's aspect.
        features: What the trunk sees of the crops and of their mirror images, two of (N, 84, 17, 5).
    """

    persons: CocoPersons
    table: PersonTable
    boxes: Tensor
    features: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, folder: Path, field: str, value: str, trunk: SeenTrunk, space: PoseSpace, runs: Path) -> TestSet:
        """Take the persons of a folder's photos whose field has a value, crop them, and look at them."""
        persons = CocoPersons(write_part(folder, field, value, runs), folder / "images")
        noted, boxes, features = NotedPersons(persons), [], []
        batches = evaluation_batches(noted, space, trunk.image_size, FLIP.batch_size)
        for batch in tqdm(batches, desc=f"crops of {folder.name}"):
            with torch.inference_mode():
                features.append(trunk(torch.cat([batch.images, batch.images.flip(-1)])).chunk(2))
            boxes.append(batch.bbox)
        views = tuple(torch.cat(view) for view in zip(*features, strict=True))
        return cls(persons, noted.table(space), torch.cat(boxes), views)

    def measure(self, poses: ModelPoses, space: PoseSpace) -> dict[str, Any]:
        """Return the evaluation's numbers of poses of all persons in order, and the error of their confidence."""
        numbers = measure_forms(poses, self.table, space)
        reached, known = self.table.similarity(poses.keypoints, space)
        error = expected_calibration_error(poses.confidence[known], reached[known])
        hits = {} if poses.token_hits is None else {"hits": poses.token_hits.float().mean(dim=(0, 1)).tolist()}
        return {**numbers, **hits, "ece": error["ece"]}

    def read_off(self, read: Callable[[Tensor], Tensor], space: PoseSpace) -> Tensor:
        """Return poses (N, K, 2) in image pixels: the mean of what ``read`` finds in crops and mirror images."""
        with torch.inference_mode():
            plain, other = (torch.cat([read(part) for part in view.split(256)]) for view in self.features)
        other = other[:, torch.from_numpy(self.persons.skeleton.flip_index)] * torch.tensor([-1.0, 1.0])
        return restore_poses((plain + other)[None] / 2, self.boxes, space)[0]

    def heights(self) -> Tensor:
        """Return how high the trunk's heatmaps are at each joint (N, K), in [0, 1]; the mean over both views."""
        return merge_views(heatmap_heights(torch.cat(self.features)), len(self.boxes), self.persons.skeleton)


def write_part(folder: Path, field: str, value: str, runs: Path) -> Path:
    """Write the annotations of the photos whose field has a value, and return the file."""
    coco = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    coco["images"] = [image for image in coco["images"] if image.get(field) == value]
    ids = {image["id"] for image in coco["images"]}
    coco["annotations"] = [person for person in coco["annotations"] if person["image_id"] in ids]
    path = runs / f"{folder.name}_{value}.json"
    write_atomically(path, json.dumps(coco).encode())
    return path


def train_coordinates(run: ClassifierRun, stored: StoredFeatures, weights: Any, steps: int, folder: Path) -> nn.Module:
    """Train the head that gives coordinates, unless it is there."""
    torch.manual_seed(run.seed)
    head = CoordinateHead(stored.features.shape[1], tuple(stored.features.shape[2:]))
    path = folder / "head.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        batches = FeatureBatches(stored, run.batch_size, run.seed, weights)
        settings = TrainingRun(steps, val_every=0, precision=run.precision, seed=run.seed, optim=run.optim)
        bar = _bar("coordinates")
        train(
            head,
            batches,
            CoordinateStep(run),
            settings,
            folder,
            progress=bar,
        )
        torch.save(head.state_dict(), path)
    head.load_state_dict(torch.load(path, weights_only=True))
    return head.eval()


def _bar(name: str) -> Any:
    return lambda steps, start: tqdm(steps, initial=start, total=start + len(steps), desc=name)


def processor_time(step: Any, model: nn.Module, batches: FeatureBatches) -> float:
    """Return seconds of the processor for a training step, without the optimiser, which both heads have alike."""
    parts = [batches[i] for i in range(4)]
    step(model, parts[0])["loss"].backward()
    start = time.process_time()
    for number in range(TIMED):
        step(model, parts[number % len(parts)])["loss"].backward()
    return (time.process_time() - start) / TIMED


def measure_seed(run: ClassifierRun, runs: Path, trunk: SeenTrunk, tests: Mapping[str, TestSet]) -> Rows:
    """Train both heads of one seed, and return the numbers of each row by test set."""
    setting = PhotoSetting(run)
    space = setting.tokenizer.space
    folder = runs / f"tokens_s{run.seed}"
    if not (folder / "model").exists():
        folder.mkdir(parents=True, exist_ok=True)
        train_classifier(run, folder, _bar("tokens"))
    model = PoseClassifier.from_pretrained(folder / "model")
    model.backbone = trunk  # the same weights, and every crop is looked at once only
    stored = StoredFeatures(Path(run.features), {"copies": run.feature_copies, "image_size": list(trunk.image_size)})
    batches = FeatureBatches(stored, run.batch_size, run.seed, setting.train.weights)
    fresh = CoordinateHead(stored.features.shape[1], tuple(stored.features.shape[2:]))
    ratio = processor_time(TokenStep(setting.tokenizer, run.loss), model.requires_grad_(True), batches)
    ratio /= processor_time(CoordinateStep(run), fresh, batches)
    head = train_coordinates(
        run, stored, setting.train.weights, round(run.steps * ratio), runs / f"coordinates_s{run.seed}"
    )
    rows: Rows = {name: {} for name in ("tokens", "coordinates, constant score", "coordinates, heatmaps' heights")}
    for name, test in tests.items():
        found = predict_persons(model.eval(), NotedPersons(test.persons), FLIP)
        rows["tokens"][name] = test.measure(found, space)
        poses = {"coordinates": test.read_off(head, space)}
        scores = (torch.ones_like(found.confidence), test.heights())
        for row, score in zip(list(rows)[1:], scores, strict=True):
            rows[row][name] = test.measure(ModelPoses(poses, score, score.mean(dim=1)), space)
    return rows


def measure_heatmaps(tests: Mapping[str, TestSet], space: PoseSpace) -> dict[str, Any]:
    """Return the numbers of the highest tops of the trunk's own heatmaps, by test set."""
    numbers = {}
    for name, test in tests.items():
        poses, heights = test.read_off(lambda rows: rows[:, :2, :, 0].transpose(1, 2), space), test.heights()
        numbers[name] = test.measure(ModelPoses({TOP: poses}, heights, heights.mean(dim=1)), space)
    return numbers


def table(seeds: Sequence[Rows], heatmaps: Mapping[str, Any]) -> Table:
    """Return a row a head: mean over the seeds, and the least and the largest."""

    def cell(row: str, *path: str, factor: float = 100) -> str:
        values = [_pick(rows[row], *path) * factor for rows in seeds]
        ends = f" ({min(values):.1f}–{max(values):.1f})" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{ends}"

    def cells(row: str, form: str) -> list[str]:
        places = [("coco", "ap"), ("coco", "ap50"), ("coco", "ap75"), ("occluded", "ap")]
        return [cell(row, "coco", "poses", form, *place) for place in places]

    rows = [
        ["tokens: the expected pose", *cells("tokens", EXPECTED), cell("tokens", "lsp", "pck_torso", "mean")],
        ["tokens: the most likely ids", *cells("tokens", LIKELY), ""],
    ]
    for row in list(seeds[0])[1:]:
        rows.append([row, *cells(row, "coordinates"), cell(row, "lsp", "pck_torso", "mean")])
    seeds = [{"heatmaps": dict(heatmaps)}]
    rows.append(["the trunk's own heatmaps", *cells("heatmaps", TOP), cell("heatmaps", "lsp", "pck_torso", "mean")])
    return Table(["read off the same trunk", "AP", "AP50", "AP75", "AP of hidden joints", "LSP, PCK@0.2"], rows)


def tokens_table(seeds: Sequence[Rows]) -> Table:
    """Return how often tokens are right, and how far the confidence is from what is reached; means over the seeds."""
    rows = []
    for test in ("coco", "lsp"):
        found = [rows["tokens"][test] for rows in seeds]
        hits = [f"{100 * statistics.mean(each['hits'][k] for each in found):.0f} %" for k in (0, 1)]
        rows.append([test.upper(), *hits, f"{statistics.mean(each['ece'] for each in found):.3f}"])
    return Table(["tokens", "right", "among the five likeliest", "calibration error"], rows)


def _pick(values: Mapping[str, Any], *path: str) -> float:
    for key in path:
        values = values[key]
    return float(values)  # type: ignore[arg-type]


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is not trained yet, measure all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("coco", type=Path, help="folder with annotations.json (with coco_split) and images/")
    parser.add_argument("lsp", type=Path, help="the same of Leeds Sports Pose (with lsp_split)")
    parser.add_argument("--trunk", required=True, help="what pct convert movenet wrote")
    parser.add_argument("--features", required=True, help="features of the training crops")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the trained heads")
    parser.add_argument(
        "--out", type=Path, required=True, help="page to write: .md; the numbers lie beside it as .json"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1 (default: %(default)s)")
    args, changes = parser.parse_known_args(argv)
    torch.set_num_threads(1)
    args.runs.mkdir(parents=True, exist_ok=True)
    changes += [f"backbone_from={args.trunk}", f"features={args.features}"]
    runs = [load_run("classifier", CONFIG, [*changes, f"seed={seed}"]) for seed in range(args.seeds)]
    space = PoseTokenizer.from_pretrained(runs[0].tokenizer).space
    sizes, state = load_backbone(args.trunk)
    backbone = Backbone(sizes)
    backbone.load_state_dict(state)
    trunk = SeenTrunk(backbone.eval())
    tests = {
        "coco": TestSet.of(args.coco, "coco_split", "val2017", trunk, space, args.runs),
        "lsp": TestSet.of(args.lsp, "lsp_split", "test", trunk, space, args.runs),
    }
    heatmaps = measure_heatmaps(tests, space)
    seeds = [measure_seed(run, args.runs, trunk, tests) for run in runs]
    numbers = {"seeds": dict(enumerate(seeds)), "heatmaps": heatmaps}
    write_atomically(args.out.with_suffix(".json"), json.dumps(numbers, indent=1).encode())
    persons = " and ".join(f"{len(test.persons):,}" for test in tests.values())
    steps = f"{runs[0].steps} steps of {runs[0].batch_size}"
    machine = describe_machine(torch.device("cpu"))
    about = f"{persons} persons; {args.seeds} seeds, {steps}; {machine['processor']}, one thread, {machine['date']}."
    first = args.runs / "tokens_s0" / "model"
    path = {str(score): measure_path(args.coco, str(first), score) for score in SCORES}
    tables = [table(seeds, heatmaps), tokens_table(seeds), "From file to result, seed 0:", path_table(path), about]
    text = render_markdown(tables, args.out.parent) + "\n"
    write_atomically(args.out, text.encode())
    print(text)
    labels, model = write_part(args.coco, "coco_split", "val2017", args.runs), PoseClassifier.from_pretrained(first)
    pictures = args.out.with_suffix("")
    page = run_photo_evaluation({"tokens": model}, labels, args.coco / "images", pictures, force=True, progress=True)[1]
    print(f"pictures and reliability: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
