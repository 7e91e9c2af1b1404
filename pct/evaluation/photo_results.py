"""The results of evaluating models that read photos, as plain values that a report and a JSON file are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from pct.data.persons3d import rows_of
from pct.evaluation.metrics import CocoAP, ErrorSummary, PersonLabels
from pct.evaluation.photo_metrics import CalibrationTable
from pct.evaluation.results import JointResult, Provenance
from pct.models.photo_config import Calibration
from pct.skeleton import Skeleton

# The form of a classifier's poses that its numbers are about where nothing else is said, and that of heatmaps.
EXPECTED, LIKELY, SAMPLED, ORACLE = "expected pose", "most likely tokens", "one sample", "true tokens"
TOP = "top of the heatmap"


@dataclass(frozen=True)
class PersonTable:
    """The N true persons of an evaluation.

    Attributes:
        labels: As COCO's evaluator takes them.
        visibility: COCO's labels of the joints (N, K): 0 not labelled, 1 labelled but hidden, 2 labelled and seen.
        rows: Their numbers in the source (N,), int64.
        annotation_ids: (N,), int64.
        keypoints3d: Human3.6M's joints (N, 17, 3) in camera millimetres; None where they are not known of all.
    """

    labels: PersonLabels
    visibility: Tensor
    rows: Tensor
    annotation_ids: Tensor
    keypoints3d: Tensor | None = None

    def bodies(self, skeleton: Skeleton, root: int) -> Tensor:
        """Return the joints of a skeleton (N, K, 3) in camera axes, in millimetres from joint ``root``.

        Raises:
            ValueError: If they are not known of all persons, or a joint of ``skeleton`` is none of Human3.6M's.
        """
        if self.keypoints3d is None:
            raise ValueError("there are persons without keypoints3d; models of 3D poses are measured on such only")
        joints = self.keypoints3d[:, rows_of(skeleton)].double()
        return (joints - joints[:, root : root + 1]).float()

    @property
    def occluded(self) -> Tensor:
        """True where a joint is labelled but hidden (N, K)."""
        return self.visibility == 1


@dataclass(frozen=True)
class ModelPoses:
    """What one model makes of N persons; coordinates in image pixels, or in millimetres from the root.

    Attributes:
        poses: Joints (N, K, D) by the form of the poses; the first is the one that people get.
        confidence: Of the joints of that one (N, K), in [0, 1].
        score_threshold: Joints with less confidence do not count in the score of the pose.
        unclear: How far the joints' heatmaps are below the height of sure ones (N, K); None of heatmap models.
        spread: Mean squared distance of the samples from the expected pose over the squared scale of the joint (N, K);
            None where there are no tokens.
        samples: Sampled poses (S, N, K, D); None where there are no tokens.
        token_hits: Whether the true token is the likeliest, and among the five likeliest (N, M, 2); None where there
            are no tokens.
    """

    poses: Mapping[str, Tensor]
    confidence: Tensor
    score_threshold: float = 0.0
    spread: Tensor | None = None
    unclear: Tensor | None = None
    samples: Tensor | None = None
    token_hits: Tensor | None = None

    @property
    def keypoints(self) -> Tensor:
        """The poses that people get (N, K, D)."""
        return next(iter(self.poses.values()))


@dataclass(frozen=True)
class PoseScores:
    """How good one form of a model's poses is, in the annotated boxes.

    Attributes:
        coco: COCO's AP and AR.
        occluded: The same over the occluded joints only: no other joint is labelled, persons without one left out.
        mean_oks: Mean similarity, in [0, 1].
        error: Distances of the labelled joints, in pixels of the crop.
        seen_error: Of the joints that are seen.
        occluded_error: Of the joints that are hidden.
    """

    coco: CocoAP
    occluded: CocoAP
    mean_oks: float
    error: ErrorSummary
    seen_error: ErrorSummary
    occluded_error: ErrorSummary


@dataclass(frozen=True)
class PartScores:
    """COCO's AP over the joints of one body part only, and their errors in pixels of the crop."""

    ap: float | None
    error: ErrorSummary
    occluded_error: ErrorSummary


@dataclass(frozen=True)
class TokenAccuracy:
    """Share of the tokens, of the photos as they are, that are the true pose's: likeliest, and among the five."""

    top1: float
    top5: float


@dataclass(frozen=True)
class ModelResult:
    """Everything that was measured of one model.

    Attributes:
        model: Its sizes in a sentence.
        kind: ``tokens`` or ``heatmaps``.
        fingerprint: Of sizes and weights.
        poses: By form; the first is the one that people get.
        parts: By body part, of the first form.
        joints: Errors of each joint, of the first form.
        calibration: Of the joints' confidence.
        fitted: The constants behind a classifier's confidence; None for heatmaps.
        tokens: Accuracy of the tokens; None for heatmaps.
        detected: AP with the detector's boxes, box scores and OKS-NMS; None without such boxes.
        pckh: MPII's PCKh@0.5 by joint, and ``mean`` over all but pelvis and thorax; None for other data.
        seconds: Time of its predictions.
    """

    model: str
    kind: str
    fingerprint: str
    poses: dict[str, PoseScores]
    parts: dict[str, PartScores]
    joints: list[JointResult]
    calibration: CalibrationTable
    fitted: Calibration | None
    tokens: TokenAccuracy | None
    detected: CocoAP | None
    pckh: dict[str, float | None] | None
    seconds: float

    @property
    def main(self) -> PoseScores:
        """Scores of the poses that people get."""
        return next(iter(self.poses.values()))


@dataclass(frozen=True)
class PhotoEvaluation:
    """Everything that was measured of some models on the same persons.

    Attributes:
        provenance: With what, where and when.
        skeleton: Whose joints the poses have.
        crop_size: Side of the crop whose pixels errors are in.
        num_persons: Number of persons.
        num_images: Number of photos.
        num_joints: Number of labelled joints.
        num_occluded: Number of those that are hidden.
        flip: Whether the poses are means over the photo and its mirror image.
        num_detections: Number of detected boxes; None without.
        models: By name, in the order of the report.
    """

    provenance: Provenance
    skeleton: Skeleton
    crop_size: int
    num_persons: int
    num_images: int
    num_joints: int
    num_occluded: int
    flip: bool
    num_detections: int | None
    models: dict[str, ModelResult]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values."""
        return {**asdict(self), "skeleton": self.skeleton.name}
