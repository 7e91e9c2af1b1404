"""What several reports show alike: columns of AP, of errors in space and of joints, and pictures of poses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pct.drawing.panels import PosePanel, pose_gallery
from pct.evaluation.report import Figure, Table
from pct.skeleton import Skeleton

# A column of a table: its header, the keys of its number with / between them, and the number's format.
Column = tuple[str, str, str]


def columns(form: str, text: str) -> list[Column]:
    """Return columns of one format from text: ``header: keys`` of each, with semicolons between."""
    pairs = (part.rsplit(": ", 1) for part in text.split("; "))
    return [(header, keys, form) for header, keys in pairs]


AP = columns(
    "{:.1%}",
    "AP: ap; AP50: ap50; AP75: ap75; AP medium: ap_medium; AP large: ap_large; AR: ar; AR50: ar50; AR75: ar75",
)
SPACE = [
    *columns("{:.1f}", "MPJPE mm: mpjpe; median: median; 90 % below: p90; P-MPJPE: p_mpjpe; N-MPJPE: n_mpjpe"),
    *columns("{:.1%}", "PCK: pck; AUC: auc"),
]
SPACE_WORDS = (
    "Joints of each pose, true or found, are taken from its own root, and the axes are the camera's. MPJPE is the mean "
    "distance of all joints, the root included; P-MPJPE after the best rotation, shift and scale of each pose, N-MPJPE "
    "after the best scale. PCK counts joints nearer than 150 mm, AUC is its mean from 0 to 150 mm."
)
POSE_LEGEND = (
    "The true pose is the broad grey one; the model's is drawn over it, the person's left side in orange and the right "
    "side in blue. Joints that the model was not given are hollow."
)
_VIEWS = "Each pose is seen from the camera and from its right, over a floor with squares of half a metre."


def error_columns(unit: str) -> list[Column]:
    """Return columns of what :func:`pct.evaluation.metrics.summarise` gives under ``error``."""
    return columns("{:.2f}", f"mean error {unit}: error/mean; median: error/median; 90 % below: error/p90")


def make_table(
    rows: Mapping[str, Any], columns: Sequence[Column], first: str = "", caption: str = "", highlight: int | None = None
) -> Table:
    """Make a table with a row for each name, from nested dictionaries as deep as the columns' keys go.

    A number that is not there is shown as one that is None. ``first`` is the header of the column of names;
    ``caption`` and ``highlight`` are those of the table.
    """
    cells = [[name, *(show(pick(row, keys), form) for _, keys, form in columns)] for name, row in rows.items()]
    return Table([first, *(header for header, _, _ in columns)], cells, highlight, caption)


def show(value: Any, form: str = "{}") -> str:
    """Return a value in a format of Python's, or a dash for None."""
    return "–" if value is None else form.format(value)


def make_cards(numbers: Mapping[str, Any], columns: Sequence[Column], name: str = "") -> list[tuple[str, str]]:
    """Return a report's cards of numbers: each with its header, in which the name takes the place of braces."""
    return [(show(pick(numbers, keys), form), header.format(name)) for header, keys, form in columns]


def under(key: str, columns: Sequence[Column]) -> list[Column]:
    """Return columns whose numbers lie one dictionary deeper, under a key."""
    return [(header, f"{key}/{keys}", form) for header, keys, form in columns]


def pick(numbers: Any, keys: str) -> Any:
    """Return the number at keys with / between them in nested dictionaries; None where one is not there."""
    for key in keys.split("/") if keys else ():
        numbers = None if numbers is None else numbers.get(key)
    return numbers


def joint_table(joints: Sequence[Mapping[str, Any]], unit: str, caption: str = "") -> Table:
    """Return the errors of each joint, from :func:`pct.evaluation.metrics.joint_errors`."""
    shown = [("labelled", "error/count", "{:,}"), *error_columns(unit)]
    return make_table({joint["name"].replace("_", " "): joint for joint in joints}, shown, "joint", caption)


def group_table(what: str, errors: Mapping[str, float]) -> Table:
    """Return mean errors by name, from :func:`pct.evaluation.metrics3d.per_action_mean`."""
    return make_table(errors, [("MPJPE mm", "", "{:.1f}")], what)


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
