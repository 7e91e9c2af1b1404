"""Evaluate classifiers of photos whose tokens are of 3D poses: errors in millimetres, hidden joints, calibration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pct.data.photos import PersonSource
from pct.evaluation.calibration import reached_similarity
from pct.evaluation.metrics import ErrorSummary
from pct.evaluation.metrics3d import auc3d, joint_errors_3d, mpjpe, n_mpjpe, p_mpjpe, pck3d
from pct.evaluation.photo_evaluate import EvaluatedPoses, describe_model
from pct.evaluation.photo_metrics import CalibrationTable, expected_calibration_error
from pct.evaluation.photo_predictions import NotedPersons, PredictionOptions, check_model, predict_persons
from pct.evaluation.photo_results import ModelPoses, PersonTable, TokenAccuracy
from pct.evaluation.provenance import make_provenance
from pct.evaluation.results import Provenance
from pct.models.checkpoint import fingerprint
from pct.models.classifier import PoseClassifier
from pct.models.photo_config import Calibration
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class BodyScores:
    """How good one form of a model's 3D poses is; see :mod:`pct.evaluation.metrics3d`.

    Attributes:
        mpjpe: Mean error of all joints, the root included, in millimetres; each pose from its own root.
        median: Median over the poses of their mean errors.
        p_mpjpe: After rotation, shift and scale of each pose.
        n_mpjpe: After the scale of each pose.
        pck: Share of the joints nearer than 150 mm.
        auc: Mean of such shares from 0 to 150 mm.
    """

    mpjpe: float
    median: float
    p_mpjpe: float
    n_mpjpe: float
    pck: float
    auc: float


@dataclass(frozen=True)
class BodyJoint:
    """Errors of one joint in millimetres: everywhere, and where it is hidden or outside the photo."""

    name: str
    error: ErrorSummary
    unseen_error: ErrorSummary


@dataclass(frozen=True)
class BodyResult:
    """Everything that was measured of one model.

    Attributes:
        model: Its sizes in a sentence.
        fingerprint: Of sizes and weights.
        poses: By form; the first is the one that people get.
        seen_error: Of the joints that are seen on the photo, without the root, in millimetres.
        hidden_error: Of those that are hidden.
        outside_error: Of those outside the photo.
        joints: Errors of each joint.
        calibration: Of the joints' confidence.
        fitted: The constants behind it.
        tokens: Accuracy of the tokens.
        seconds: Time of its predictions.
    """

    model: str
    fingerprint: str
    poses: dict[str, BodyScores]
    seen_error: ErrorSummary
    hidden_error: ErrorSummary
    outside_error: ErrorSummary
    joints: list[BodyJoint]
    calibration: CalibrationTable
    fitted: Calibration
    tokens: TokenAccuracy
    seconds: float

    @property
    def main(self) -> BodyScores:
        """Scores of the poses that people get."""
        return next(iter(self.poses.values()))


@dataclass(frozen=True)
class BodyEvaluation:
    """Everything that was measured of some models on the same persons.

    Attributes:
        provenance: With what, where and when.
        skeleton: Whose joints the poses have.
        root: The joint that poses are relative to.
        num_persons: Number of persons.
        num_images: Number of photos.
        flip: Whether the poses are means over the photo and its mirror image.
        models: By name, in the order of the report.
    """

    provenance: Provenance
    skeleton: Skeleton
    root: int
    num_persons: int
    num_images: int
    flip: bool
    models: dict[str, BodyResult]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values."""
        return {**asdict(self), "skeleton": self.skeleton.name}


def evaluate_bodies(
    models: Mapping[str, PoseClassifier],
    source: PersonSource,
    options: PredictionOptions | None = None,
    *,
    limit: int | None = None,
    data: str = "",
    notes: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[BodyEvaluation, EvaluatedPoses]:
    """Measure models on the same persons, in the annotated boxes.

    Args:
        models: By the name that the report calls them; in evaluation mode.
        source: The persons, with 3D joints (:class:`~pct.data.persons3d.Persons3D`).
        options: Flip test, samples, batches.
        limit: At most so many persons, the first ones.
        data: Name of the data, for the report.
        notes: Sentences on the data, for the report.
        progress: Called with the name of a stage, how much of it was just done, and its length.
        report: Called once for each photo that cannot be read; by default a warning.

    Returns:
        The numbers, and the poses that they were measured on, in millimetres from the root.

    Raises:
        ValueError: If there are no models or persons, their joints differ, or the models' poses are 2D.
    """
    options = options or PredictionOptions()
    if not models:
        raise ValueError("there is no model to evaluate")
    for model in models.values():
        check_model(model, source.skeleton, "root3d")
    start = time.perf_counter()
    results, poses, table = {}, {}, None
    for name, model in models.items():
        begin, persons = time.perf_counter(), NotedPersons(source, limit)
        stage = None if progress is None else _Stage(progress, name, len(persons))
        poses[name] = predict_persons(model, persons, options, stage, report)
        seconds = time.perf_counter() - begin
        table = table or persons.table()
        results[name] = _measure(model, poses[name], table, seconds)
    assert table is not None
    first, result = next(iter(models.values())), next(iter(results.values()))
    evaluation = BodyEvaluation(
        provenance=make_provenance(
            result.model,
            result.fingerprint,
            first.tokenizer.device,
            data=data or "persons given in memory",
            seconds=time.perf_counter() - start,
            seed=options.seed,
            notes=notes,
        ),
        skeleton=source.skeleton,
        root=first.tokenizer.space.root,
        num_persons=len(table.rows),
        num_images=len(torch.unique(table.labels.image_ids)),
        flip=options.flip,
        models=results,
    )
    return evaluation, EvaluatedPoses(table, poses)


def _measure(model: PoseClassifier, found: ModelPoses, table: PersonTable, seconds: float) -> BodyResult:
    skeleton, root = model.tokenizer.skeleton, model.tokenizer.space.root
    truth = table.bodies(skeleton, root)
    errors = joint_errors_3d(found.keypoints, truth, root=root)
    similarity, known = reached_similarity(found.keypoints, table, model)
    others = torch.arange(errors.shape[1]) != root
    assert found.token_hits is not None
    top1, top5 = found.token_hits.float().mean(dim=(0, 1)).tolist()
    return BodyResult(
        model=describe_model(model),
        fingerprint=fingerprint(model.config.to_dict(), model.state_dict()),
        poses={form: _score(keypoints, truth, root) for form, keypoints in found.poses.items()},
        seen_error=ErrorSummary.of(errors[(table.visibility == 2) & others]),
        hidden_error=ErrorSummary.of(errors[(table.visibility == 1) & others]),
        outside_error=ErrorSummary.of(errors[(table.visibility == 0) & others]),
        joints=[
            BodyJoint(name, ErrorSummary.of(error), ErrorSummary.of(error[visibility != 2]))
            for name, error, visibility in zip(skeleton.keypoint_names, errors.T, table.visibility.T, strict=True)
        ],
        calibration=expected_calibration_error(found.confidence[known], similarity[known]),
        fitted=model.config.calibration,
        tokens=TokenAccuracy(top1, top5),
        seconds=round(seconds, 2),
    )


def _score(keypoints: Tensor, truth: Tensor, root: int) -> BodyScores:
    errors = mpjpe(keypoints, truth, root=root)
    return BodyScores(
        mpjpe=float(errors.mean()),
        median=float(errors.median()),
        p_mpjpe=float(p_mpjpe(keypoints, truth).mean()),
        n_mpjpe=float(n_mpjpe(keypoints, truth, root=root).mean()),
        pck=pck3d(keypoints, truth, root=root),
        auc=auc3d(keypoints, truth, root=root),
    )


@dataclass(frozen=True)
class _Stage:
    """Tells of the progress of one model."""

    progress: Callable[[str, int, int], None]
    name: str
    total: int

    def __call__(self, done: int) -> None:
        self.progress(self.name, done, self.total)
