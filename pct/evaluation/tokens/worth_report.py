"""The section of a report on what tokens are worth: its tables and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pct.evaluation.blocks import format_number, format_percent
from pct.evaluation.report import Figure, Section, Table

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
    "shorter) and no more uneven than nearly all true ones. Of the real poses {real} pass."
)


def worth_section(worth: Mapping[str, Any], unit: str, more: str = "") -> Section:
    """Return the section on what the tokens are worth, in report units, with ``more`` on what they are beside."""
    like, locality = worth["likeness"], worth["locality"]
    words = "" if like is None else _LIKENESS.format(**like)
    words += _LOCALITY.format(**locality, unit=unit, real=format_percent(locality["real_plausible"]))
    blocks: list[str | Table | Figure] = [_INTRO + more, _RATE, *_tables(worth, unit), words, _meaning_table(worth)]
    return Section("What the tokens are worth", blocks)


def _tables(worth: Mapping[str, Any], unit: str) -> list[Table]:
    """Return errors and bits of whole sequences, errors of prefixes, and what noise does."""
    points = {(point["coder"], point["tokens"]): point for point in worth["rate"]}
    lengths = {coder: [length for name, length in points if name == coder] for coder in worth["coders"]}
    rows = []
    for coder, known in lengths.items():
        point = points[coder, known[-1]]
        bits = [format_number(point[key], 0) for key in ("plain_bits", "entropy_bits")]
        rows.append([coder, str(known[-1]), format_number(point["error"]), *bits])
    tables = [
        Table(["", "tokens", f"error {unit}", "bits as integers", "bits by entropy"], rows, caption="Error, bits")
    ]
    every = sorted({length for known in lengths.values() if len(known) > 1 for length in known})
    prefixes = [
        [coder, *(format_number(points[coder, length]["error"]) if length in known else "" for length in every)]
        for coder, known in lengths.items()
        if len(known) > 1
    ]
    if prefixes:
        tables.append(Table([f"tokens; error in {unit}", *map(str, every)], prefixes, caption="Errors of prefixes"))
    kept = {coder: [coder] for coder in worth["coders"]}
    for row in worth["stability"]:
        kept[row["coder"]].append(f"{format_percent(row['kept'])} ({row['moved']:.1f} {unit})")
    noise = dict.fromkeys(f"noise {row['noise']:g} {unit}" for row in worth["stability"])
    return [*tables, Table(["", *noise], list(kept.values()), caption="Ids kept")]


def _meaning_table(worth: Mapping[str, Any]) -> Table:
    """Return likeness and locality of each coder."""
    like, rows = worth["likeness"], []
    for row in worth["locality"]["coders"]:
        found = [None, None] if like is None else [like["by_ids"][row["coder"]], like["by_vectors"][row["coder"]]]
        moved = [row["moved_joints"], row["wrong_mean"], row["wrong_worst"]]
        cells = [*map(format_number, found), *(format_number(value, 1) for value in moved)]
        rows.append([row["coder"], *cells, format_percent(row["plausible"])])
    moves = ["joints moved", "wrong id, mean", "worst joint", "persons by mixed ids"]
    return Table(["", "recall by ids", "by vectors", *moves], rows, caption="Like poses, and other ids")
