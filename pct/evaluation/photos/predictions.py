"""Run a model of photos over persons: poses in pixels or millimetres, confidence, and the persons' labels beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pct.evaluation.metrics import joint_scale, joint_similarity
from pct.photos.classifier import PoseClassifier
from pct.photos.heatmap import HeatmapModel
from pct.photos.person_views import rows_of
from pct.photos.persons import PersonPhoto, PersonSource
from pct.photos.predict import predict_heatmaps, predict_tokens, restore_poses
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import Skeleton
from pct.training.photos.batches import evaluation_batches
from pct.training.photos.crops import PhotoBatch
from pct.training.photos.token_targets import photo_labels

PhotoModel = PoseClassifier | HeatmapModel
# The forms of a classifier's poses, of which the first is what people get, and that of heatmaps.
EXPECTED, LIKELY, SAMPLED, ORACLE = "expected pose", "most likely tokens", "one sample", "true tokens"
TOP = "top of the heatmap"


@dataclass(frozen=True)
class PredictionOptions:
    """How predictions are made.

    Attributes:
        flip: Average with the mirrored crops.
        num_samples: Poses sampled for each person, whose spread makes the confidence.
        seed: Of the samples.
        batch_size: Persons at a time; it changes speed, and which poses are sampled.
    """

    flip: bool = True
    num_samples: int = 16
    seed: int = 0
    batch_size: int = 64


@dataclass(frozen=True)
class PersonTable:
    """The N true persons of an evaluation.

    Attributes:
        labels: Their joints (N, K, D) as models give them, in image pixels or in millimetres from the root, where all
            are known; boxes, areas and images.
        visibility: COCO's labels of the joints (N, K): 0 not labelled, 1 labelled but hidden, 2 labelled and seen. Of
            3D poses 0 is a joint outside the photo.
        rows: Their numbers in the source (N,), int64.
    """

    labels: Poses
    visibility: Tensor
    rows: Tensor

    @property
    def occluded(self) -> Tensor:
        """True where a joint is labelled but hidden (N, K)."""
        return self.visibility == 1

    def similarity(self, keypoints: Tensor, space: PoseSpace) -> tuple[Tensor, Tensor]:
        """Return the keypoint similarity of each joint of found poses (N, K), and where the truth is known (N, K).

        Args:
            keypoints: The poses (N, K, D) in image pixels, or in millimetres from the root.
            space: Of the model that found them.
        """
        labels = self.labels
        scale = joint_scale(space.report_space, labels.skeleton, labels.area)
        return joint_similarity(keypoints, labels.keypoints, scale), labels.visible


@dataclass(frozen=True)
class ModelPoses:
    """What one model makes of N persons; coordinates in image pixels, or in millimetres from the root.

    Attributes:
        poses: Joints (N, K, D) by the form of the poses; the first is the one that people get.
        confidence: Of the joints of that one (N, K), in [0, 1].
        scores: What the poses are ranked by (N,).
        spread: Mean squared distance of the samples from the expected pose over the squared scale of the joint (N, K).
        heights: How high the backbone's own heatmaps are at each joint (N, K); None if it has none.
        token_hits: Whether the true token is the likeliest, and among the five likeliest (N, M, 2).

    ``spread`` and ``token_hits`` are None where there are no tokens.
    """

    poses: Mapping[str, Tensor]
    confidence: Tensor
    scores: Tensor
    spread: Tensor | None = None
    token_hits: Tensor | None = None
    heights: Tensor | None = None

    @property
    def keypoints(self) -> Tensor:
        """The poses that people get (N, K, D)."""
        return next(iter(self.poses.values()))


class NotedPersons:
    """Persons of a source whose labels are noted as they are read, so that no photo is read twice for them.

    Attributes:
        notes: Number in the source and labels of each person that was read, in this order; the photo is left out.
    """

    def __init__(self, source: PersonSource, limit: int | None = None) -> None:
        self._source, self._length = source, len(source) if limit is None else min(limit, len(source))
        self.notes: list[tuple[int, PersonPhoto]] = []

    @property
    def skeleton(self) -> Skeleton:
        """The source's."""
        return self._source.skeleton

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> PersonPhoto:
        person = self._source[index]
        self.notes.append((index, replace(person, image=np.zeros((0, 0, 3), np.uint8))))
        return person

    def table(self, space: PoseSpace) -> PersonTable:
        """Return the labels of all persons that were read, as models of a space give them.

        Raises:
            ValueError: If they are to be 3D and not known of all persons, or a joint is none of Human3.6M's.
        """
        persons = [person for _, person in self.notes]

        def stack(name: str, dtype: type) -> Tensor:
            return torch.from_numpy(np.array([getattr(person, name) for person in persons], dtype))

        visibility = stack("visibility", np.int64)
        if space.kind == "root3d":
            if any(person.keypoints3d is None for person in persons):
                raise ValueError("there are persons without keypoints3d; models of 3D poses are measured on such only")
            joints = stack("keypoints3d", np.float32)[:, rows_of(self.skeleton)].double()
            keypoints = (joints - joints[:, space.root : space.root + 1]).float()
            visible = torch.ones(visibility.shape, dtype=torch.bool)
        else:
            keypoints, visible = stack("keypoints", np.float32), visibility > 0
        columns = {"bbox": np.float32, "area": np.float64, "image_id": np.int64}
        bbox, area, image_ids = (stack(name, dtype) for name, dtype in columns.items())
        poses = Poses(self.skeleton, keypoints, visible, bbox=bbox, area=area, image_ids=image_ids)
        return PersonTable(poses, visibility, torch.tensor([row for row, _ in self.notes]))


def predict_persons(
    model: PhotoModel,
    persons: NotedPersons,
    options: PredictionOptions,
    report: Callable[[str], None] | None = None,
    bar: str = "",
) -> ModelPoses:
    """Predict the poses of all persons whose photo can be read.

    Args:
        model: In evaluation mode, on any device.
        persons: Read here for the first time; their ``notes`` afterwards tell whose poses these are. Models of 3D poses
            take persons with 3D joints (:class:`~pct.photos.person_views.Persons3D`).
        options: Flip test, samples and batches.
        report: Called once for each photo that cannot be read; by default a warning.
        bar: Name of a progress bar; none is shown without.

    Raises:
        ValueError: If the persons' joints are not the model's, or no photo can be read.
    """
    check_model(model, persons.skeleton)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(options.seed)
    parts: list[ModelPoses] = []
    batches = evaluation_batches(persons, model.space.crop_space, model.image_size, options.batch_size, report)
    shown = tqdm(total=len(persons), desc=bar, unit="person", disable=not bar)
    for batch in (batch.to(device) for batch in batches):
        boxes = np.array([person.bbox for _, person in persons.notes[-len(batch) :]], np.float32)
        if isinstance(model, PoseClassifier):
            parts.append(_token_poses(model, batch, torch.from_numpy(boxes).to(device), options, generator))
        else:
            parts.append(_heatmap_poses(model, batch, options.flip))
        shown.update(len(batch))
    shown.close()
    if not parts:
        raise ValueError("there is no person whose photo can be read, so there is nothing to evaluate")
    return _join(parts)


def check_model(model: PhotoModel, skeleton: Skeleton, kind: str | None = None) -> None:
    """Raise a ValueError unless a model finds the joints of a skeleton, in a space of a kind if one is given."""
    if model.skeleton.keypoint_names != skeleton.keypoint_names:
        raise ValueError(f"the persons are of skeleton {skeleton.name}; the model's is {model.skeleton.name}")
    if kind is not None and model.space.kind != kind:
        raise ValueError(f"only models of {kind} poses are measured here; this one's are {model.space.kind}")


def _token_poses(
    model: PoseClassifier, batch: PhotoBatch, boxes: Tensor, options: PredictionOptions, generator: torch.Generator
) -> ModelPoses:
    tokenizer = model.tokenizer
    # What users have is a box: the segment's area would be a label.
    found = predict_tokens(model, batch.images, options.flip, options.num_samples, generator, boxes)
    labels = photo_labels(tokenizer, batch).indices
    top = found.probs.topk(min(5, found.probs.shape[-1]), dim=-1).indices == labels[..., None]
    forms = {
        EXPECTED: found.keypoints,
        LIKELY: found.likely_keypoints,
        SAMPLED: found.samples[0],
        ORACLE: tokenizer.decode(labels),
    }
    poses = restore_poses(torch.stack(list(forms.values())), batch.bbox, tokenizer.space).cpu()
    return ModelPoses(
        poses=dict(zip(forms, poses, strict=True)),
        confidence=found.confidence.cpu(),
        scores=found.pose_scores.cpu(),
        spread=found.spread.cpu(),
        heights=None if found.heights is None else found.heights.cpu(),
        token_hits=torch.stack([top[..., 0], top.any(dim=-1)], dim=-1).cpu(),
    )


def _heatmap_poses(model: HeatmapModel, batch: PhotoBatch, flip: bool) -> ModelPoses:
    found = predict_heatmaps(model, batch.images, flip)
    poses = {TOP: model.space.restore(found.keypoints, batch.bbox).cpu()}
    return ModelPoses(poses, found.confidence.clamp(0.0, 1.0).cpu(), found.pose_scores.cpu())


def _join(parts: list[ModelPoses]) -> ModelPoses:
    """Put the poses of batches one after the other."""
    poses = {form: torch.cat([part.poses[form] for part in parts]) for form in parts[0].poses}
    names = [name for name, value in vars(parts[0]).items() if isinstance(value, Tensor)]
    return ModelPoses(poses, **{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
