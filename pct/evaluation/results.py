"""The results of a tokenizer's evaluation, as plain values that a report and a JSON file are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pct.evaluation.codebook import CodebookStatistics, TokenAnatomy
from pct.evaluation.completion import CompletionRow
from pct.evaluation.examples import PoseExamples
from pct.evaluation.metrics import CocoAP, ErrorSummary
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class Provenance:
    """What was measured, with what, where and when.

    Attributes:
        data: Name of the evaluated data.
        baseline_data: Name of the data the baselines were fitted to; empty without baselines.
        command: The command that did it.
        fingerprint: Of the model.
        model: Its sizes in a sentence.
        hardware: Processor and number of threads, and the device of the model.
        software: Versions.
        date: ISO date and time.
        seconds: Time of the evaluation.
        seed: Of everything random: hidden joints, the baselines' held-out part, replaced tokens.
        notes: What a reader must know of the data.
    """

    data: str
    baseline_data: str
    command: str
    fingerprint: str
    model: str
    hardware: str
    software: str
    date: str
    seconds: float
    seed: int
    notes: list[str]


@dataclass(frozen=True)
class JointResult:
    """Errors at one joint: ``error`` in pixels of the crop, ``sigma`` the joint's OKS constant."""

    name: str
    sigma: float
    error: ErrorSummary


@dataclass(frozen=True)
class Reconstruction:
    """Poses through ``encode`` and ``decode`` with all labelled joints known, in the annotated boxes.

    Attributes:
        num_poses: Number of persons.
        num_images: Number of images.
        coco: COCO's AP and AR.
        mean_oks: Mean similarity, in [0, 1].
        median_oks: Median similarity.
        error: Distances of labelled joints in pixels of the crop.
        pck: Share of joints nearer than ``alpha`` times the longer side of the box, by alpha.
        joints: The same distances by joint.
    """

    num_poses: int
    num_images: int
    coco: CocoAP
    mean_oks: float
    median_oks: float
    error: ErrorSummary
    pck: dict[str, float | None]
    joints: list[JointResult]


@dataclass(frozen=True)
class Completion:
    """Errors on hidden joints, in pixels of the crop, or millimetres for 3D poses.

    Attributes:
        rows: One for each way of hiding.
        num_baseline_poses: Poses that the baselines were fitted to; 0 without baselines.
        ridge_penalty: Lambda of the ridge regression, as a share of the mean variance; None without baselines.
        ridge_prior_weight: Weight of its prior in poses; None without baselines.
    """

    rows: list[CompletionRow]
    num_baseline_poses: int
    ridge_penalty: float | None
    ridge_prior_weight: float | None


@dataclass(frozen=True)
class TokenizerEvaluation:
    """Everything that was measured of a tokenizer; ``examples`` are the poses of the pictures."""

    provenance: Provenance
    skeleton: Skeleton
    crop_size: int
    reconstruction: Reconstruction
    completion: Completion
    codebook: CodebookStatistics
    anatomy: TokenAnatomy
    examples: PoseExamples

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values; the poses of the pictures are left out."""
        values: dict[str, Any] = {"skeleton": self.skeleton.name, "crop_size": self.crop_size}
        for name in ("provenance", "reconstruction", "completion", "codebook", "anatomy"):
            values[name] = asdict(getattr(self, name))
        return values
