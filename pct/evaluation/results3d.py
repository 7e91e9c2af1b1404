"""The results of a 3D tokenizer's evaluation, as plain values that a report and a JSON file are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pct.evaluation.codebook import CodebookStatistics, TokenAnatomy
from pct.evaluation.examples import PoseExamples
from pct.evaluation.metrics import ErrorSummary
from pct.evaluation.results import Completion, Provenance
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class JointError:
    """Errors at one joint in millimetres."""

    name: str
    error: ErrorSummary


@dataclass(frozen=True)
class GroupError:
    """Mean errors of some poses in millimetres.

    Attributes:
        name: What they have in common: a kind of action, a subject, a clip.
        num_poses: Number of poses.
        mpjpe: Mean MPJPE.
        p_mpjpe: Mean MPJPE after the best similarity of each pose.
    """

    name: str
    num_poses: int
    mpjpe: float
    p_mpjpe: float


@dataclass(frozen=True)
class Reconstruction3D:
    """Poses through ``encode`` and ``decode`` with all joints known, in millimetres relative to the root.

    Attributes:
        num_poses: Number of poses.
        num_clips: Number of clips that they are from.
        mpjpe: MPJPE of the poses, all joints with the root, after the predicted root is subtracted.
        p_mpjpe: The same after the best similarity of each pose.
        n_mpjpe: The same after the best scale of each pose.
        action_mean: Unweighted mean over the kinds of actions of the mean MPJPE.
        joints: Distances by joint.
        kinds: By kind of action: what stands before the first comma or dash of its name.
        subjects: By subject.
        clips: By clip, the worst first.
    """

    num_poses: int
    num_clips: int
    mpjpe: ErrorSummary
    p_mpjpe: ErrorSummary
    n_mpjpe: ErrorSummary
    action_mean: float
    joints: list[JointError]
    kinds: list[GroupError]
    subjects: list[GroupError]
    clips: list[GroupError]


@dataclass(frozen=True)
class TokenizerEvaluation3D:
    """Everything that was measured of a 3D tokenizer; ``examples`` are the poses of the pictures."""

    provenance: Provenance
    skeleton: Skeleton
    reconstruction: Reconstruction3D
    completion: Completion
    codebook: CodebookStatistics
    anatomy: TokenAnatomy
    examples: PoseExamples

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain values, errors in millimetres; the poses of the pictures are left out."""
        values: dict[str, Any] = {"skeleton": self.skeleton.name, "unit": "mm"}
        for name in ("provenance", "reconstruction", "completion", "codebook", "anatomy"):
            values[name] = asdict(getattr(self, name))
        return values
