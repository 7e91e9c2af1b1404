"""The page docs/lifters.md and its numbers in lifters.json, from what benchmarks/lifters.py measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_page import render_markdown

from pct.evaluation.report import Block, Table
from pct.files.output import write_atomically

HEAD_NAMES = {"coordinates": "coordinates", "longer": "coordinates, 3 x the steps", "tokens": "tokens"}
_REASON = """
Coordinates and tokens had equal steps; the column between, one network only, had about the time that tokens take. Why
tokens are ahead at equal steps: a coordinate head is still learning what people look like, which the frozen decoder has
known since stage one, trained on the same clips; and the token head has a mixer block of its own. Networks that learn
slowly by themselves gain most, and within a network the lead grows with every missing joint. It is a lead in training:
given the time of the tokens, coordinates come near or pass them, so nothing here shows that tokens are better in the
end. The likeliest integers of these heads decode to far worse poses than the mixture (see docs/experiments.md).
"""
_COST = """\
Input of 17 joints with a flag. Multiply-adds are those with a weight, of one pose; training time is that of the
optimiser steps. Trainings ran beside other work on a shared machine; the speeds are side by side."""
_PAPERS = """\
On Human3.6M, which is licensed and not here: these numbers cannot be compared with those above, and none of them was
reproduced. What was checked are parameter counts and identities, by tests."""
_DIFFERENCES = """\
Differences from the papers: every network regresses the root-relative pose. LCN's published target is 2.5-D and scored
with the true root depth; Cai's refinement also takes it. Neither is here. The authors of HCSF, D-HCSF and AMPose
published no code: these are built from the papers' text."""
CONDITIONS = ("clean", "noisy", "1 missing", "2 missing", "4 missing")
# Of the papers: what was checked here, MPJPE on Human3.6M with detected (CPN) and with true 2D joints, PCK and AUC
# on MPI-INF-3DHP; `-` where not published.
PUBLISHED = (
    (
        "`fcn`, Martinez 2017",
        "4,291,632 (16 joints)",
        "exactly; weights of its PyTorch port convert",
        "62.9 (hourglass)",
        "45.5",
        "-",
    ),
    (
        "`gcn_preagg_decoupled`, Liu 2020",
        "4.22 M (16 joints)",
        "4,218,243; other sharings",
        "52.4",
        "37.8",
        "79.3 / 47.6",
    ),
    (
        "`stgcn`, Cai 2019, one frame",
        "3,627,847",
        "exactly; official weights convert; its refinement is not here",
        "50.6 (refined)",
        "-",
        "-",
    ),
    ("`lcn`, Ci 2019", "4,365,363 active (range 3)", "exactly", "52.7", "36.3", "74.0 / 36.7"),
    (
        "`hcsf`, `dhcsf`, Zeng 2021",
        "-",
        "equals LCN where short = long without fusion; one frame where its kernel sees one",
        "-",
        "-",
        "-",
    ),
    (
        "`ampose`, Lin 2023",
        "18.3 M, 312 M multiply-adds",
        "18.44 M, 312 M; the printed equations",
        "49.5",
        "33.7",
        "87.0 / 55.2",
    ),
    ("`ampose_small`, Lin 2023", "0.67 M (16 joints)", "within 3 %", "51.3 (16 joints)", "34.8 (16 joints)", "-"),
)
_PUBLISHED_HEAD = ("network", "parameters published or counted", "checked", "detected 2D", "true 2D", "PCK / AUC")


def write_page(results: dict[str, Any], out: Path) -> None:
    """Write ``lifters.md`` and ``results/lifters/lifters.json`` into the folder ``out``; both are replaced."""
    numbers = out / "results" / "lifters" / "lifters.json"
    numbers.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(numbers, (json.dumps(results, indent=1) + "\n").encode())
    trained = [row for row in results["rows"] if row["mpjpe"] is not None]
    blocks: list[Block] = [_start(results).strip()]
    for title, parts in (
        ("Error on test clips", ["The columns with missing joints have a detector's errors too.", _errors(trained)]),
        ("After alignment (P-MPJPE)", [_aligned(trained)]),
        ("Tokens against coordinates", _best(trained)),
        ("Size and speed", [_COST, _cost(results["rows"])]),
        ("What the papers report, on other data", [_PAPERS, Table(_PUBLISHED_HEAD, PUBLISHED), _DIFFERENCES]),
    ):
        blocks += [f"## {title}", *parts] if parts else []
    write_atomically(out / "lifters.md", (render_markdown(blocks, out) + "\n").encode())


def _start(results: dict[str, Any]) -> str:
    machine = results["machine"]
    return f"""\
# Lifters: 2D poses to 3D, by coordinates and by tokens

Every network of the family, trained alike on the same clips, each once with its own coordinate head and once with a
token head over the frozen 3D tokenizer `h36m17`. The last of these commands makes this page, trainings included; the
first adds a coordinate head with three times the steps:

```bash
{chr(10).join(results["commands"])}
```

- **Data**: CMU mocap of the data pack, not Human3.6M. Trained on the training clips and on generated poses, seen by
  random cameras; tested on {results["poses"]:,} frames of {results["clips"]} other clips, each seen by one random
  camera. Subjects: {", ".join(results["subjects"])}; cmu06 and cmu07 are trained on nowhere.
- **Budget**: {results["steps"]:,} steps of {results["batch_size"]} poses for each, AdamW with a cosine, the same rates
  for all. That is a small fraction of what the papers train; read the order, not the level. One seed.
- **Input**: joints relative to the person's box, unknown ones as zeros with a flag; no camera, no image size. Trained
  with a detector's errors: jitter, outliers, swapped limbs, and up to 5 missing joints in 40 % of the poses.
- **Tokens**: a linear map from joints to 34 tokens, one mixer block of width 64, logits over 1,024 entries; the pose is
  that of the expected entries under the frozen decoder. Trained by cross-entropy and the error of that pose.
- **Machine**: {machine["processor"]}, {machine["threads"]} thread, torch {machine["torch"]}, {machine["date"]}.

MPJPE in millimetres over all 17 joints, the root included, after subtracting the predicted root. The mean pose of the
test set would have {results["mean_pose"]:.0f} mm; perfect tokens have {results["floor"]:.1f} mm (the floor).
"""


Rows = Sequence[Mapping[str, Any]]


def _errors(trained: Rows) -> Table:
    rows = []
    for row in trained:
        likely = row["likely"]["2 missing"]
        rows.append([*_names(row), *_cells(row["mpjpe"]), "" if likely is None else f"{likely:.1f}"])
    return Table(["network", "head", *CONDITIONS, "likeliest tokens, 2 missing"], rows)


def _aligned(trained: Rows) -> Table:
    return Table(["network", "head", *CONDITIONS], [[*_names(row), *_cells(row["p_mpjpe"])] for row in trained])


def _names(row: Mapping[str, Any]) -> list[str]:
    return [f"`{row['network']}`", HEAD_NAMES[row["head"]]]


def _cells(errors: Mapping[str, float]) -> list[str]:
    return [f"{errors[condition]:.1f}" for condition in CONDITIONS]


def _best(trained: Rows) -> list[Block]:
    """Return the best network of each head by condition; nothing where one was not trained."""
    if not {"coordinates", "tokens"} <= {row["head"] for row in trained}:
        return []
    rows = []
    for condition in CONDITIONS:
        cells, least = [condition], {}
        for head in HEAD_NAMES:
            found = [(row["mpjpe"][condition], row["network"]) for row in trained if row["head"] == head]
            least[head], network = min(found) if found else (None, "")
            cells.append(f"`{network}` {least[head]:.1f}" if found else "not trained")
        rows.append([*cells, f"{least['tokens'] / least['coordinates']:.2f}"])
    header = ["condition", *HEAD_NAMES.values(), "tokens / coordinates"]
    return ["The best network of each kind, by condition:", Table(header, rows), _REASON.strip()]


def _cost(every: Rows) -> Table:
    rows = []
    for row in every:
        speed = [f"{row['poses_per_second'][batch]:,.0f}" for batch in ("1", "1024")]
        time = "not trained" if row["seconds"] is None else f"{row['seconds'] / 60:.1f} min"
        size = [f"{row['parameters']:,}", f"{row['multiply_adds'] / 1e6:.2f} M"]
        rows.append([*_names(row), *size, *speed, time])
    speeds = ["poses / s, batch 1", "poses / s, batch 1,024"]
    return Table(["network", "head", "parameters", "multiply-adds", *speeds, "training"], rows)
