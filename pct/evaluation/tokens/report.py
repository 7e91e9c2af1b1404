"""The report on a tokenizer: its sections, in words, tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pct.drawing import plots
from pct.drawing.panels import PosePanel
from pct.drawing.poses2d import BASELINE, COLOURED, TARGET, PoseLayer
from pct.evaluation.blocks import (
    AP,
    POSE_LEGEND,
    SPACE,
    choose_examples,
    columns,
    error_columns,
    example_figures,
    first_of_scenes,
    group_table,
    joint_table,
    make_cards,
    make_table,
    pose_figure,
    under,
)
from pct.evaluation.report import Figure, Report, Section, Table
from pct.evaluation.tokens.completion import hide_joints, hide_part, ridge_ratio
from pct.evaluation.tokens.evaluate import TokenizerEvaluation

Numbers = Mapping[str, Any]
_EXAMPLES = {"typical": "Typical reconstructions.", "worst": "The poses with the largest mean error."}
# How many poses a picture shows, and of how many joints they are completed: a pose in space takes two views.
_SHOWN = {"px": 8, "mm": 6}
_HIDDEN = {"px": 4, "mm": 2}
_CARDS = {
    "px": [
        ("AP of the reconstructed poses (COCO's evaluator)", "coco/ap", "{:.1%}"),
        ("median joint error in the crop", "error/median", "{:.2f} px"),
        ("mean object keypoint similarity (OKS)", "mean_oks", "{:.4f}"),
    ],
    "mm": columns("{:.2f} mm", "MPJPE: mpjpe; P-MPJPE: p_mpjpe"),
}
_METHOD = (
    "Poses go through the same `encode` and `decode` that users call, and come back from the tokens alone. Errors are "
    "distances of labelled joints. In images they are pixels of a crop around the person, and PCK counts joints whose "
    "error is within that share of the box's longer side; AP and AR are computed by pycocotools with one prediction a "
    "person, the annotated boxes, and the same score for all, which is stricter than ranking by a score. In space each "
    "pose is turned and tilted as one random camera sees it and taken from its root; P-MPJPE is after the best "
    "rotation, scale and shift of each pose, N-MPJPE after the best scale. All numbers are in `metrics.json` beside "
    "this page."
)
_COMPLETION = (
    "Some of the labelled joints are hidden from the model, which fills them in: mean error on these joints, and in "
    "brackets the median, in {unit}. Random joints of each pose are hidden, or all from the hips down; persons with "
    "fewer than four joints left take no part."
)
_BASELINES = (
    " The baselines were fitted to {num_baseline_poses:,} training poses: the mean position of each joint, and ridge "
    "regression of the hidden joints on the known ones, fitted anew for every pattern of labelled joints."
)
_CODEBOOK = (
    "All tokens together use {usage:.1%} of the ids with a perplexity of {perplexity:,.1f}, {entropy_bits:.2f} bits a "
    "token. With the frequencies of each token a pose takes {bits_per_pose:.1f} bits, {most_bits_per_pose:.0f} as "
    "integers; of few poses no token can show more than log2 of their number."
)
_WORTH = (
    "Beside the tokenizer stand plainer ways to write the same poses as integers. Plain bins round every coordinate, "
    "and say of an unknown joint only that it is unknown."
)
_RATE = (
    "Error is the mean distance at labelled joints. Bits are those of a pose with all joints, as plain integers and by "
    "the entropy of each token. Ids kept: when the joints get Gaussian noise, and in brackets how far the decoded pose "
    "moves."
)
_LIKENESS = (
    "Recall: how many of the ten nearest of {num_poses:,} whole poses are among the ten with the most equal ids, or "
    "the nearest vectors of ids; chance is {chance:.3f}. "
)
_LOCALITY = (
    "On {num_poses:,} of the best labelled poses: how many joints move by more than {threshold:g} {unit} when one id "
    "becomes another pose's; how far joints, and the one that moves most, go in {unit} when one id becomes any other; "
    "how many sequences of ids from many poses decode to a possible person, with limbs no longer (in space: nor "
    "shorter) and no more uneven than nearly all true ones. Of the real poses {real_plausible:.1%} pass."
)
_MEANING = [
    *columns("{:.2f}", "recall by ids: by_ids; by vectors: by_vectors"),
    *columns("{:.1f}", "joints moved: moved_joints; wrong id, mean: wrong_mean; worst joint: wrong_worst"),
    *columns("{:.1%}", "persons by mixed ids: plausible"),
]


def tokenizer_report(evaluation: TokenizerEvaluation) -> Report:
    """Return the report on what was measured, its pictures drawn."""
    numbers = evaluation.numbers
    result, book, unit = (numbers[key] for key in ("reconstruction", "codebook", "unit"))
    flat = unit == "px"
    where = f"persons of {result['num_images']:,} images" if flat else f"poses of {result['num_clips']:,} clips"
    ratio = ridge_ratio(numbers["completion"]["rows"], str(_HIDDEN[unit]))
    return Report(
        f"How well a {'' if flat else '3D '}pose survives as tokens",
        [
            *make_cards(result, _CARDS[unit]),
            (f"{book['use']['usage']:.1%}", f"of the {book['codebook_size']:,} ids used"),
            (f"{book['bits_per_pose']:.0f} bits", f"entropy of a pose, of {book['most_bits_per_pose']:.0f} stored"),
            *([] if ratio is None else [(f"{ratio:.2f} ×", f"error on {_HIDDEN[unit]} hidden joints against ridge")]),
        ],
        [
            Section("Reconstruction", [*_result_tables(result), *_draw_examples(evaluation)]),
            worth_section(numbers["worth"], unit),
            _completion(evaluation),
            _codebook(evaluation),
            Section("Joint by joint", [joint_table(result["joints"], unit)]),
            Section("How it was measured", [_METHOD]),
        ],
        numbers,
        f"{result['num_poses']:,} {where}",
    )


def _result_tables(result: Numbers) -> list[Table]:
    rows = {"decoded poses": result}
    if "mpjpe" in result:
        kinds = {**result["kinds"], "mean of the kinds": result["action_mean"]}
        groups = [group_table("kind of action", kinds), group_table("subject", result["subjects"])]
        return [make_table(rows, SPACE), *groups]
    shares = [(f"PCK@{alpha}", f"pck/{alpha}", "{:.1%}") for alpha in result["pck"]]
    errors = [*error_columns("px"), ("mean OKS", "mean_oks", "{:.4f}"), *shares]
    return [make_table(rows, under("coco", AP)), make_table(rows, errors)]


def _draw_examples(found: TokenizerEvaluation) -> list[Figure]:
    """Draw typical and the worst poses, each of another scene, under what became of them."""
    error, poses, unit, space = found.error, found.poses, found.codec.unit, found.codec.space

    def draw(row: int) -> PosePanel:
        layers = (_truth(found, row), PoseLayer(found.keypoints[row], poses.visible[row], COLOURED))
        return PosePanel(layers, f"error {error[row]:.1f} {unit}\n{found.label(row)}")

    examples = choose_examples(error, _SHOWN[unit], found.scenes)
    return example_figures(examples, draw, poses.skeleton, _EXAMPLES, space.crop_size)


def worth_section(worth: Numbers, unit: str, more: str = "") -> Section:
    """Return the section on what the tokens are worth, in report units, with ``more`` on what they are beside."""
    like, locality = worth["likeness"], worth["locality"]
    words = "" if like is None else _LIKENESS.format(**like)
    words += _LOCALITY.format(**locality, unit=unit)
    coders = {row["coder"]: dict(row) for row in locality["coders"]}
    for name, row in coders.items() if like else ():
        row |= {"by_ids": like["by_ids"][name], "by_vectors": like["by_vectors"][name]}
    meaning = make_table(coders, _MEANING, caption="Like poses, and other ids")
    return Section("What the tokens are worth", [_WORTH + more, _RATE, *_worth_tables(worth, unit), words, meaning])


def _worth_tables(worth: Numbers, unit: str) -> list[Table]:
    """Return errors and bits of whole sequences, errors of prefixes, and what noise does."""
    points: dict[str, dict[int, Any]] = {coder: {} for coder in worth["coders"]}
    kept: dict[str, dict[str, str]] = {coder: {} for coder in worth["coders"]}
    for point in worth["rate"]:
        points[point["coder"]][point["tokens"]] = point
    for row in worth["stability"]:
        kept[row["coder"]][f"noise {row['noise']:g} {unit}"] = f"{row['kept']:.1%} ({row['moved']:.1f} {unit})"
    whole = {coder: known[max(known)] for coder, known in points.items()}
    exact = [("tokens", "tokens", "{}"), (f"error {unit}", "error", "{:.2f}")]
    bits = columns("{:.0f}", "bits as integers: plain_bits; bits by entropy: entropy_bits")
    tables = [make_table(whole, [*exact, *bits], caption="Error, bits")]
    prefixes = {
        coder: {str(m): p["error"] for m, p in known.items()} for coder, known in points.items() if len(known) > 1
    }
    if prefixes:
        lengths = sorted({m for coder in prefixes for m in points[coder]})
        every = [(str(m), str(m), "{:.2f}") for m in lengths]
        tables.append(make_table(prefixes, every, f"tokens; error in {unit}", "Errors of prefixes"))
    noises = next(iter(kept.values()))
    return [*tables, make_table(kept, [(noise, noise, "{}") for noise in noises], caption="Ids kept")]


def _completion(found: TokenizerEvaluation) -> Section:
    completion, unit = found.numbers["completion"], found.numbers["unit"]
    if not (rows := completion["rows"]):
        return Section("Completion", ["No pose has enough labelled joints to hide some of them."])
    words = _COMPLETION.format(unit=unit) + (_BASELINES.format(**completion) if found.ridge else "")
    caption = f"Joints that were hidden, hollow, are where the model put them. {POSE_LEGEND} Violet: ridge regression."
    panels = completion_panels(found)
    space = found.codec.space
    shown = [pose_figure(panels, found.poses.skeleton, caption, "completions", space.crop_size)] if panels else []
    return Section("Completion", [words, completion_table(rows), *shown])


def completion_table(rows: Sequence[Numbers]) -> Table:
    """Return the errors on hidden joints by method, and the tokenizer's over that of the ridge regression."""
    methods, shown = list(rows[0]["errors"]), {}
    for row in rows:
        errors = {name: f"{e['mean']:.2f} ({e['median']:.2f})" for name, e in row["errors"].items()}
        joints = row["errors"][methods[0]]["count"]
        shown[row["hidden"]] = {**row, **errors, "joints": joints, "ratio": ridge_ratio(rows, row["hidden"])}
    every = [*columns("{:,}", "poses: num_poses; joints: joints"), *((name, name, "{}") for name in methods)]
    if not {"tokenizer", "ridge"} <= set(methods):
        return make_table(shown, every, "hidden")
    return make_table(shown, [*every, ("tokenizer / ridge", "ratio", "{:.2f}")], "hidden", highlight=len(every) + 1)


def completion_panels(found: TokenizerEvaluation) -> list[PosePanel]:
    """Hide joints of random poses, of those with the most labels, or the lower body; fill them in."""
    codec, visible, seed = found.codec, found.poses.visible, found.numbers["provenance"]["seed"]
    labelled, number = visible.sum(dim=1), _SHOWN[codec.unit]
    best = (labelled == labelled.max()).nonzero().flatten()
    order = best[torch.randperm(len(best), generator=torch.Generator().manual_seed(seed))]
    rows = first_of_scenes(order, number, found.scenes)
    hideable = codec.hideable(visible[rows])
    some = hide_joints(hideable, _HIDDEN[codec.unit], seed)
    lower = hide_part(hideable, [joint for joint in codec.tokenizer.skeleton.lower_body if joint != codec.root])
    hidden = [(some, lower)[place >= number // 2][place] for place in range(len(rows))]
    return [_completion_panel(found, row, joints) for row, joints in zip(rows, hidden, strict=True) if joints.any()]


def _completion_panel(found: TokenizerEvaluation, row: int, hidden: Tensor) -> PosePanel:
    """Lay the completion of hidden joints (K,) over the baseline's, if there is one, and the true pose."""
    target, known = found.target[row], found.poses.visible[row] & ~hidden
    given = torch.where(known[:, None], target, torch.nan)[None]
    fills = {"ridge": (found.ridge, BASELINE), "tokenizer": (found.codec.complete, COLOURED)}
    layers, errors = [_truth(found, row)], []
    for name, (fill, style) in fills.items():
        if fill is not None:
            filled = fill(given, known[None], hidden[None])[0]
            layers.append(PoseLayer(filled, known if name == "tokenizer" else None, style))
            errors.append(f"{name} {float((filled - target)[hidden].norm(dim=-1).mean()):.1f} {found.codec.unit}")
    return PosePanel(tuple(layers), f"{int(hidden.sum())} joints hidden\nerror: {', '.join(errors)}")


def _codebook(found: TokenizerEvaluation) -> Section:
    book, worth, unit = (found.numbers[key] for key in ("codebook", "worth", "unit"))
    uses = [use["perplexity"] for use in book["positions"]]
    words = _CODEBOOK.format(**book, **book["use"])
    anatomy = worth["locality"]["coders"][0]["anatomy"]
    figures = [
        Figure.of(
            plots.plot_codebook_use(book["counts"], uses),
            "Left: how often each id occurs, most frequent first; dashed: all alike. Right: how many ids a token uses.",
            "codebook_use",
        ),
        Figure.of(
            plots.plot_token_anatomy(anatomy, found.poses.skeleton.keypoint_names, unit),
            f"How far each joint moves, in {unit}, when one token becomes another and the rest stay: what it means.",
            "token_anatomy",
        ),
    ]
    return Section("Codebook and tokens", [words, *figures])


def _truth(found: TokenizerEvaluation, row: int) -> PoseLayer:
    return PoseLayer(found.target[row], found.poses.visible[row], TARGET, draw_unknown=False)
