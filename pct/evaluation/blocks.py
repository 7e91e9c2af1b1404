"""What several reports show alike: tables of AP, of errors in space and of joints, and pictures of poses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pct.drawing.panels import PosePanel, pose_gallery
from pct.evaluation.coco_ap import CocoAP
from pct.evaluation.report import Figure, Table
from pct.skeleton import Skeleton

# What a table of COCO's AP shows, by key.
AP_NAMES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_medium": "AP medium",
    "ap_large": "AP large",
    "ar": "AR",
    "ar50": "AR50",
    "ar75": "AR75",
}
# What a table of 3D errors shows, by key, and what that means.
SPACE_NAMES = {
    "mpjpe": "MPJPE",
    "median": "median",
    "p90": "90 % below",
    "p_mpjpe": "P-MPJPE",
    "n_mpjpe": "N-MPJPE",
    "pck": "PCK",
    "auc": "AUC",
}
POSE_LEGEND = (
    "The true pose is the broad grey one; the model's is drawn over it, the person's left side in orange and the right "
    "side in blue. Joints that the model was not given are hollow."
)
_VIEWS = "Each pose is seen from the camera and from its right, over a floor with squares of half a metre."
SPACE_WORDS = (
    "Joints of each pose, true or found, are taken from its own root, and the axes are the camera's. MPJPE is the mean "
    "distance of all joints, the root included; P-MPJPE after the best rotation, shift and scale of each pose, N-MPJPE "
    "after the best scale. PCK counts joints nearer than 150 mm, AUC is its mean from 0 to 150 mm."
)


def ap_table(results: Mapping[str, CocoAP], caption: str) -> Table:
    """Return COCO's AP of several models by name."""
    rows = [[name, *ap_cells(coco)] for name, coco in results.items()]
    return Table(["", *AP_NAMES.values()], rows, highlight=1, caption=caption)


def ap_cells(coco: CocoAP) -> list[str]:
    """Return the cells of a table under ``AP_NAMES``."""
    return [format_percent(coco[key]) for key in AP_NAMES]  # type: ignore[literal-required]


def space_cells(scores: Mapping[str, float]) -> list[str]:
    """Return the cells of a table under ``SPACE_NAMES``, from :func:`pct.evaluation.metrics3d.summarise_3d`."""
    shares = ("pck", "auc")
    return [format_percent(scores[key]) if key in shares else f"{scores[key]:.1f} mm" for key in SPACE_NAMES]


def error_cells(error: Mapping[str, float | None]) -> list[str]:
    """Return mean, median and what 90 % stay below, from :func:`pct.evaluation.metrics.summarise`."""
    return [format_number(error[key]) for key in ("mean", "median", "p90")]


def joint_table(joints: Sequence[Mapping[str, Any]], unit: str, caption: str = "") -> Table:
    """Return the errors of each joint, from :func:`pct.evaluation.metrics.joint_errors`."""
    rows = [
        [joint["name"].replace("_", " "), f"{joint['error']['count']:,}", *error_cells(joint["error"])]
        for joint in joints
    ]
    return Table(["joint", "labelled", f"mean {unit}", f"median {unit}", "90 % below"], rows, caption=caption)


def group_table(what: str, errors: Mapping[str, float]) -> Table:
    """Return mean errors by name, from :func:`pct.evaluation.metrics3d.per_action_mean`."""
    return Table([what, "MPJPE mm"], [[name, format_number(error, 1)] for name, error in errors.items()])


def choose_examples(errors: Tensor, number: int, scenes: Tensor | None = None) -> dict[str, list[int]]:
    """Return rows of poses to show, by their errors (N,): at most ``number`` ``typical``, ``worst`` and ``best`` ones.

    Typical ones have the median error; the other rows come with the most extreme pose first. Where ``scenes`` (N,) are
    given, each pose is of another one: frames of a clip look alike.
    """
    order = errors.argsort(stable=True)
    middle = max(0, len(order) // 2 - number // 2)
    orders = {"typical": order[middle:], "worst": order.flip(0), "best": order}
    return {kind: first_of_scenes(rows, number, scenes) for kind, rows in orders.items()}


def first_of_scenes(order: Tensor, number: int, scenes: Tensor | None = None) -> list[int]:
    """Return the first rows in an order (R,) that are of scenes (N,) not seen before; without scenes the first ones."""
    rows: dict[int, int] = {}
    for row, scene in zip(order.tolist(), (order if scenes is None else scenes[order]).tolist(), strict=True):
        rows.setdefault(scene, row)
    return list(rows.values())[:number]


def pose_figure(
    panels: Sequence[PosePanel], skeleton: Skeleton, caption: str, name: str, crop_size: int = 256
) -> Figure:
    """Draw poses, 2D ones in their crop, 3D ones from two sides."""
    in_space = np.asarray(panels[0].layers[0].keypoints).shape[-1] == 3
    picture = pose_gallery(panels, skeleton, size=270 if in_space else None, crop_size=crop_size)
    return Figure.of(picture, f"{caption} {_VIEWS}" if in_space else caption, name)


def example_figures(
    examples: Mapping[str, Sequence[int]],
    draw: Callable[[int], PosePanel],
    skeleton: Skeleton,
    captions: Mapping[str, str],
    crop_size: int = 256,
) -> list[Figure]:
    """Draw the chosen rows of each kind that has a caption, the model's pose over the true one."""
    return [
        pose_figure([draw(row) for row in examples[kind]], skeleton, f"{words} {POSE_LEGEND}", kind, crop_size)
        for kind, words in captions.items()
    ]


def format_percent(value: float | None) -> str:
    """Return a share in per cent, or a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def format_number(value: float | None, digits: int = 2) -> str:
    """Return a number with some decimals, or a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"
