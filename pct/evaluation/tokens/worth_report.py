"""The section of a report on what tokens are worth: its tables, pictures and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pct.drawing import plots
from pct.evaluation.report import Block, Details, Figure, Section, Table, format_number, format_percent
from pct.evaluation.tokens.worth import SCALES

Worth = Mapping[str, Any]
_INTRO = (
    "Tokens are made to be used: predicted, compared, searched. Then it counts how exact they are for their number, "
    "whether they stay when the pose hardly changes, whether like poses have like ids, and what a wrong id does. "
    "Beside the tokenizer stand plainer ways to write the same poses as integers. Plain bins round every coordinate by "
    "itself, and say of an unknown joint only that it is unknown."
)
_FITTED = (
    " The KLT rounds the principal components of the training poses, all with one step; residual k-means takes the "
    "nearest of {centres:,} centres of whole poses, then of what is left, and so on. Both were fitted to {fitted:,} "
    "training poses, with joints that are not labelled filled in by a Gaussian."
)
_RATE = (
    "Error is the mean distance at labelled joints. Bits are those of a pose with all joints: as plain integers, and "
    "by the entropy of each token over the test poses, of which one token cannot show more than log2 of their number."
)
_MODEL = (
    " A small model that predicts each id from those before it, trained on the ids of {sequences:,} training poses, "
    "shows how much the tokens say of each other."
)
_STABILITY = (
    "Ids that stay when the known joints get Gaussian noise or when {more}, and in brackets how far the decoded pose "
    "moves in the mean, after the change is undone."
)
_ZEROS = " Components that are nearly always zero stay zero, which flatters the KLT."
_LIKENESS = (
    "Recall is of the ten nearest of {poses:,} whole poses, by mean distance of the joints: how many are among the ten "
    "with the most equal ids, or with the nearest vectors of ids, for {queries:,} poses; chance is {chance}."
)
_LOCALITY = (
    "On {poses:,} of the best labelled poses: how many joints move by more than {threshold:g} {unit} when one id is "
    "replaced by another one that another pose has there; how far joints move, and the one that moves most, when one "
    "id becomes any other; and how many sequences, each id from another pose, decode to a possible person: limbs no "
    "longer{shorter} than nearly all true ones, left and right as alike as in nearly all true ones. Of the real test "
    "poses {real} pass."
)


def worth_section(worth: Worth, unit: str) -> Section:
    """Return the section on what the tokens are worth, in report units."""
    intro, rates, changes = _INTRO, _RATE, _STABILITY
    if worth["num_fitted"]:
        intro += _FITTED.format(centres=worth["num_centres"], fitted=worth["num_fitted"])
        rates += _MODEL.format(sequences=worth["num_sequences"])
        changes += _ZEROS
    else:
        intro += " No training poses were given, so there is nothing to compare with that is fitted to poses."
    locality = worth["locality"]
    more = "the box is off" if unit == "px" else "the person turns about the camera's vertical"
    blocks: list[Block] = [intro, rate_figure(worth, unit), rates, rate_table(worth, unit)]
    prefixes = prefix_table(worth, unit)
    blocks += [Details("Errors of prefixes", [prefixes])] if prefixes.rows else []
    blocks += [stability_figure(worth, unit), changes.format(more=more), stability_table(worth, unit)]
    if worth["likeness"] is not None:
        like = worth["likeness"]
        chance = format_number(like["chance"], 3)
        blocks.append(_LIKENESS.format(poses=like["num_poses"], queries=like["num_queries"], chance=chance))
    blocks.append(
        _LOCALITY.format(
            poses=locality["num_poses"],
            threshold=locality["threshold"],
            unit=unit,
            shorter=" or shorter, by more than a fifth," if unit == "mm" else "",
            real=format_percent(locality["real_plausible"]),
        )
    )
    return Section("What the tokens are worth", [*blocks, meaning_table(worth, unit)])


def rate_table(worth: Worth, unit: str) -> Table:
    """Return errors and bits of whole sequences."""
    rows = [
        [
            p["coder"],
            str(p["tokens"]),
            format_number(p["error"]),
            *(_bits(b) for b in (p["plain_bits"], p["entropy_bits"], p["model_bits"])),
        ]
        for p in _whole(worth["rate"])
    ]
    header = ["", "tokens", f"error {unit}", "bits as integers", "bits by entropy", "bits by a model"]
    return Table(header, rows, caption="Error and bits")


def prefix_table(worth: Worth, unit: str) -> Table:
    """Return the error of each coder by number of tokens."""
    errors = {
        (p["coder"], p["tokens"]): format_number(p["error"]) for p in worth["rate"] if p["coder"] in worth["coders"]
    }
    lengths = sorted({length for _, length in errors})
    ordered = [coder for coder in worth["coders"] if sum(name == coder for name, _ in errors) > 1]
    rows = [[coder, *(errors.get((coder, length), "") for length in lengths)] for coder in ordered]
    return Table([f"tokens; error in {unit}", *map(str, lengths)], rows)


def stability_table(worth: Worth, unit: str) -> Table:
    """Return what small changes of the poses do."""
    changes = list(dict.fromkeys(row["change"] for row in worth["stability"]))
    cells = {
        (row["coder"], row["change"]): f"{format_percent(row['kept'])} ({format_number(row['moved'], 1)} {unit})"
        for row in worth["stability"]
    }
    rows = [[coder, *(cells[coder, change] for change in changes)] for coder in worth["coders"]]
    return Table(["", *changes], rows, caption="Ids kept")


def meaning_table(worth: Worth, unit: str) -> Table:
    """Return likeness and locality of each coder."""
    like, rows = worth["likeness"], []
    for row in worth["locality"]["coders"]:
        found = [] if like is None else [like["by_ids"][row["coder"]], like["by_vectors"][row["coder"]]]
        moved = [row["moved_joints"], row["wrong_mean"], row["wrong_worst"]]
        cells = [*map(format_number, found), *(format_number(value, 1) for value in moved)]
        rows.append([row["coder"], *cells, format_percent(row["plausible"])])
    header = [] if like is None else ["recall by ids", "recall by vectors"]
    moves = ["joints moved", f"wrong id, mean {unit}", f"worst joint {unit}", "persons by mixed ids"]
    return Table(["", *header, *moves], rows, caption="Like poses, and other ids")


def rate_figure(worth: Worth, unit: str) -> Figure:
    """Draw the error against the number of tokens, and of bits."""
    by_tokens: dict[str, list[tuple[float, float]]] = {}
    by_bits: dict[str, list[tuple[float, float]]] = {}
    whole = _whole(worth["rate"])
    for point in worth["rate"]:
        # Bins of all widths are one curve, and the KLT with all steps: of whole sequences, in bits.
        family = _family(point["coder"])
        if point["coder"] in worth["coders"]:
            by_tokens.setdefault(family, []).append((point["tokens"], point["error"]))
        if family == point["coder"] or point in whole:
            by_bits.setdefault(family, []).append((point["entropy_bits"], point["error"]))
    picture = plots.plot_curves(
        {"tokens of a pose": by_tokens, "bits of a pose, by entropy": {n: sorted(c) for n, c in by_bits.items()}},
        f"mean error ({unit})",
        log=True,
    )
    caption = (
        "Mean error of labelled joints by the number of tokens that are decoded, left, and by the bits that they take, "
        "right; lower is better. Bins of all widths need all of their tokens: on the left they lie above each other."
    )
    return Figure.of(picture, caption, "error_by_tokens")


def stability_figure(worth: Worth, unit: str) -> Figure:
    """Draw the share of ids that are kept against the noise on the joints."""
    sizes = {f"noise {size:g} {unit}": size for size in SCALES[unit].noise}
    curves: dict[str, list[tuple[float, float]]] = {coder: [(0.0, 100.0)] for coder in worth["coders"]}
    for row in worth["stability"]:
        if row["change"] in sizes:
            curves[row["coder"]].append((sizes[row["change"]], 100 * row["kept"]))
    panels = {f"standard deviation of the noise ({unit})": curves}
    picture = plots.plot_curves(panels, "ids kept (%)", family=_family)
    caption = "Ids that stay the same when the joints get Gaussian noise; higher is better."
    if unit == "px":
        caption += " At hips, knees and wrists annotators differ by more than the largest noise here."
    return Figure.of(picture, caption, "ids_kept")


def _whole(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the point of each coder that has all of its tokens, the most exact of a family first."""
    whole = list({point["coder"]: point for point in points}.values())
    families = [_family(point["coder"]) for point in whole]
    return sorted(whole, key=lambda point: (families.index(_family(point["coder"])), point["error"]))


def _family(coder: str) -> str:
    """Return what coders that differ in one number have in common: it gives their curves one colour."""
    return next((name for name in ("bins", "KLT") if coder.startswith(name)), coder)


def _bits(value: float | None) -> str:
    return format_number(value, 0)
