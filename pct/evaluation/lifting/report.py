"""The report on a lifter: its errors as the literature measures them, by action and joint, and lifted poses."""

from __future__ import annotations

from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer, PosePanel
from pct.evaluation.lifting.evaluate import LiftingEvaluation
from pct.evaluation.metrics import choose_examples
from pct.evaluation.metrics3d import mpjpe
from pct.evaluation.provenance import provenance_rows
from pct.evaluation.report import (
    POSE_LEGEND,
    SPACE_NAMES,
    SPACE_WORDS,
    Figure,
    Report,
    Section,
    Table,
    format_number,
    joint_table,
    pose_figure,
    space_cells,
)

_POSES = 4


def lifting_report(found: LiftingEvaluation) -> Report:
    """Return the report on what was measured, its pictures drawn."""
    numbers, about = found.numbers, found.numbers["provenance"]
    errors = ["a detector's errors on the 2D joints"] if numbers["noise"] else []
    errors += [f"{numbers['missing']} joints missing in each pose"] if numbers["missing"] else []
    errors += ["mean with the mirrored pose"] if numbers["flip"] else []
    cells, likely = space_cells(numbers), numbers["likely_mpjpe"]
    words = f"{SPACE_WORDS} Both are over {len(numbers['pck_joints'])} joints."
    if likely is not None:
        words += f" What the most likely tokens decode to has an MPJPE of {likely:.1f} mm."
    actions = [[name, format_number(value, 1)] for name, value in numbers["per_action"].items()]
    return Report(
        "2D poses lifted to 3D",
        f"{about['model']}. Measured on {numbers['poses']:,} poses of `{about['data']}`, "
        f"{', '.join(errors) or 'true 2D joints'}, {about['date'][:10]}.",
        list(zip(cells[:3], ("MPJPE", "median over the poses", "P-MPJPE"), strict=True)),
        about["notes"],
        [
            Section("Accuracy", [words, Table([*SPACE_NAMES.values()], [cells])]),
            Section("Poses", _draw_poses(found)),
            Section("By action", [Table(["action", "MPJPE mm"], actions)]),
            Section("Joint by joint", [joint_table(numbers["joints"], "mm")]),
        ],
        provenance_rows(
            about,
            f"{about['data']}: {numbers['poses']:,} poses",
            {"Model": f"fingerprint {about['fingerprint']}; {about['model']}"},
        ),
        numbers,
    )


def _draw_poses(found: LiftingEvaluation) -> list[Figure]:
    errors = mpjpe(found.keypoints, found.target)
    figures = []
    for kind, rows in choose_examples(errors, _POSES).items():
        panels = [
            PosePanel(
                (
                    PoseLayer(found.target[row], None, TARGET),
                    PoseLayer(found.keypoints[row], found.visible[row], COLOURED),
                ),
                f"MPJPE {float(errors[row]):.0f} mm",
            )
            for row in rows.tolist()
        ]
        figures.append(pose_figure(panels, found.skeleton, f"Poses with {kind} MPJPE. {POSE_LEGEND}", kind))
    return figures
