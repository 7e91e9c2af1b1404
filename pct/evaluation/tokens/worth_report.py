"""The section of a report on what tokens are worth: its tables and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pct.evaluation.blocks import columns, make_table
from pct.evaluation.report import Section, Table

_INTRO = (
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


def worth_section(worth: Mapping[str, Any], unit: str, more: str = "") -> Section:
    """Return the section on what the tokens are worth, in report units, with ``more`` on what they are beside."""
    like, locality = worth["likeness"], worth["locality"]
    words = "" if like is None else _LIKENESS.format(**like)
    words += _LOCALITY.format(**locality, unit=unit)
    coders = {row["coder"]: dict(row) for row in locality["coders"]}
    for name, row in coders.items() if like else ():
        row |= {"by_ids": like["by_ids"][name], "by_vectors": like["by_vectors"][name]}
    meaning = make_table(coders, _MEANING, caption="Like poses, and other ids")
    return Section("What the tokens are worth", [_INTRO + more, _RATE, *_tables(worth, unit), words, meaning])


def _tables(worth: Mapping[str, Any], unit: str) -> list[Table]:
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
