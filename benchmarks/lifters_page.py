"""The page docs/lifters.md and its numbers in lifters.json, from what benchmarks/lifters.py measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pct.files import write_atomically

HEAD_NAMES = {"coordinates": "coordinates", "longer": "coordinates, 3 x the steps", "tokens": "tokens"}
_REASON = """
Coordinates and tokens had equal steps; the column between, one network only, had about the time that tokens take. Why
tokens are ahead at equal steps: a coordinate head is still learning what bodies look like, which the frozen decoder has
known since stage one, trained on the same clips; and the token head has a mixer block of its own. Networks that learn
slowly by themselves gain most, and within a network the lead grows with every missing joint. It is a lead in training:
given the time of the tokens, coordinates come near or pass them, so nothing here shows that tokens are better in the
end. The likeliest integers of these heads decode to far worse poses than the mixture (see docs/experiments.md).
"""
CONDITIONS = ("clean", "noisy", "1 missing", "2 missing", "4 missing")
# Of the papers: what was checked here, MPJPE on Human3.6M with detected (CPN) and with true 2D joints, PCK and AUC
# on MPI-INF-3DHP; `-` where not published.
PUBLISHED = (
    ("`fcn`, Martinez 2017", "4,291,632 (16 joints)", "exactly", "62.9 (hourglass)", "45.5", "-"),
    (
        "`gcn_preagg_decoupled`, Liu 2020",
        "4.22 M (16 joints)",
        "4,218,243; other sharings",
        "52.4",
        "37.8",
        "79.3 / 47.6",
    ),
    ("`stgcn`, Cai 2019, one frame", "3,627,847", "exactly; its refinement is not here", "50.6 (refined)", "-", "-"),
    ("`lcn`, Ci 2019", "4,365,363 active (range 3)", "exactly", "52.7", "36.3", "74.0 / 36.7"),
    ("`hcsf`, `dhcsf`, Zeng 2021", "-", "equals LCN where short = long without fusion", "-", "-", "-"),
    ("`ampose`, Lin 2023", "18.3 M, 312 M multiply-adds", "18.2 to 18.6 M, 312 M", "49.5", "33.7", "87.0 / 55.2"),
    ("`ampose_small`, Lin 2023", "0.67 M (16 joints)", "within 3 %", "51.3 (16 joints)", "34.8 (16 joints)", "-"),
)
_PUBLISHED_HEAD = ("network", "parameters published or counted", "checked", "detected 2D", "true 2D", "PCK / AUC")


def write_page(results: dict[str, Any], out: Path) -> None:
    """Write ``lifters.md`` and ``results/lifters/lifters.json`` into the folder ``out``; both are replaced."""
    numbers = out / "results" / "lifters" / "lifters.json"
    numbers.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(numbers, (json.dumps(results, indent=1) + "\n").encode())
    sections = [_start(results), _errors(results), _aligned(results), _best(results), _cost(results), _sparse(results)]
    write_atomically(out / "lifters.md", ("\n".join([*sections, _published()])).encode())


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

- **Data**: CMU mocap of the data pack, not Human3.6M. Trained on the training clips and on generated bodies, seen by
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


def _errors(results: dict[str, Any]) -> str:
    head = "| network | head | " + " | ".join(f"{c}" for c in CONDITIONS) + " | likeliest tokens, 2 missing |"
    lines = [
        "## Error on test clips",
        "",
        "The columns with missing joints have a detector's errors too.",
        "",
        head,
        "| --- | --- |" + " ---: |" * (len(CONDITIONS) + 1),
    ]
    for row in _trained(results):
        likely = row["likely"]["2 missing"]
        cells = [f"{row['mpjpe'][c]:.1f}" for c in CONDITIONS]
        cells.append("" if likely is None else f"{likely:.1f}")
        lines.append(f"| `{row['network']}` | {HEAD_NAMES[row['head']]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _aligned(results: dict[str, Any]) -> str:
    lines = [
        "## After alignment (P-MPJPE)",
        "",
        "| network | head | " + " | ".join(CONDITIONS) + " |",
        "| --- | --- |" + " ---: |" * len(CONDITIONS),
    ]
    for row in _trained(results):
        cells = [f"{row['p_mpjpe'][c]:.1f}" for c in CONDITIONS]
        lines.append(f"| `{row['network']}` | {HEAD_NAMES[row['head']]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _best(results: dict[str, Any]) -> str:
    lines = ["## Tokens against coordinates", "", "The best network of each kind, by condition:", ""]
    lines += ["| condition | coordinates | coordinates, 3 x the steps | tokens | tokens / coordinates |"]
    lines += ["| --- | --- | --- | --- | ---: |"]
    for condition in CONDITIONS:
        best = {}
        for head in HEAD_NAMES:
            rows = [row for row in _trained(results) if row["head"] == head]
            best[head] = min(rows, key=lambda row: row["mpjpe"][condition]) if rows else None
        a, b = best["coordinates"], best["tokens"]
        if a is None or b is None:
            return ""
        ratio = b["mpjpe"][condition] / a["mpjpe"][condition]
        cells = [
            f"`{row['network']}` {row['mpjpe'][condition]:.1f}" if row else "not trained"
            for row in (a, best["longer"], b)
        ]
        lines.append(f"| {condition} | " + " | ".join(cells) + f" | {ratio:.2f} |")
    return "\n".join(lines) + "\n" + _REASON


def _cost(results: dict[str, Any]) -> str:
    lines = [
        "## Size and speed",
        "",
        "Input of 17 joints with a flag. Multiply-adds are those with a weight, of one pose; training time is that of",
        "the optimiser steps. Trainings ran beside other work on a shared machine; the speeds are side by side.",
        "",
        "| network | head | parameters | multiply-adds | poses / s, batch 1 | poses / s, batch 1,024 | training |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        speed = row["poses_per_second"]
        time = "not trained" if row["seconds"] is None else f"{row['seconds'] / 60:.1f} min"
        size = f"{row['parameters']:,} | {row['multiply_adds'] / 1e6:.2f} M"
        rate = f"{speed['1']:,.0f} | {speed['1024']:,.0f}"
        lines.append(f"| `{row['network']}` | {HEAD_NAMES[row['head']]} | {size} | {rate} | {time} |")
    return "\n".join(lines) + "\n"


def _sparse(results: dict[str, Any]) -> str:
    lines = [
        "## Weights of edges alone against a masked matrix",
        "",
        "LCN was published as one matrix for all pairs of joints that is masked at each step. Here only the weights of",
        "edges are stored; results are equal to 1e-5 (tested).",
        "",
        "| network | batch | edges alone, poses / s | masked, poses / s | ratio |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for line in results["sparse"]:
        lines.append(
            f"| `{line['network']}` | {line['batch']:,} | {line['sparse']:,.0f} | {line['masked']:,.0f} | "
            f"{line['sparse'] / line['masked']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def _published() -> str:
    table = [_PUBLISHED_HEAD, ("---", "---", "---", "---:", "---:", "---:"), *PUBLISHED]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return f"""\
## What the papers report, on other data

On Human3.6M, which is licensed and not here: these numbers cannot be compared with those above, and none of them was
reproduced. What was checked are parameter counts and identities, by tests.

{chr(10).join(lines)}

Differences from the papers: every network regresses the root-relative pose. LCN's published target is 2.5-D and scored
with the true root depth; Cai's refinement also takes it. Neither is here. The authors of HCSF, D-HCSF and AMPose
published no code: these are built from the papers' text.
"""


def _trained(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in results["rows"] if row["mpjpe"] is not None]
