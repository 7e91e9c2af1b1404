"""Token classifier against heatmaps over several seeds: trains nothing, measures finished runs on one test set.

  python benchmarks/stage_two.py people/test --classifiers runs/pct_s0 runs/pct_s1 runs/pct_s2 \\
      --heatmaps runs/heat_s0 runs/heat_s1 runs/heat_s2 --out docs/results/stage_two

The runs are paired in the order given. Each pair is measured by tools/evaluate_photos.py; the table of differences,
their mean and the training time of each run, read from its log, are written as table.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from markdown_page import render_markdown
from measure import training_log

from pct.evaluation.report import Block, Table
from pct.files.output import write_atomically

TOOL = Path(__file__).parents[1] / "tools" / "evaluate_photos.py"
ROWS = (
    ("AP", ("coco", "ap")),
    ("AP of occluded joints", ("occluded", "ap")),
    ("mean OKS", ("mean_oks",)),
)


def main() -> int:
    """Measure all pairs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with annotations.json and images/")
    parser.add_argument("--classifiers", type=Path, nargs="+", required=True, metavar="RUN")
    parser.add_argument("--heatmaps", type=Path, nargs="+", required=True, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for a report a pair, and the table")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if len(options.classifiers) != len(options.heatmaps):
        parser.error("give as many heatmap runs as classifiers")
    pairs = [
        _measure(options, number, *runs)
        for number, runs in enumerate(zip(options.classifiers, options.heatmaps, strict=True))
    ]
    text = render_markdown(_table(pairs), options.out) + "\n"
    write_atomically(options.out / "table.md", text.encode())
    print(text)
    return 0


def _measure(options: argparse.Namespace, number: int, classifier: Path, heatmap: Path) -> dict[str, Any]:
    """Return the numbers of a pair, from its report if that is there already."""
    folder = options.out / f"pair_{number}"
    if not (folder / "metrics.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        models = ["--model", classifier / "model", "--heatmap", heatmap / "model"]
        arguments = ["--images", options.data / "images", *models]
        command = [sys.executable, TOOL, options.data / "annotations.json", *arguments, "--out", folder, "--force"]
        subprocess.run([*map(str, command), "--threads", str(options.threads)], check=True)
    results = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {"results": results, "steps": [_steps(classifier), _steps(heatmap)]}


def _steps(run: Path) -> str:
    """Return steps and minutes of a run, its first phase included, from its log."""
    logs = [run / "pretrain" / "metrics.jsonl", run / "metrics.jsonl"]
    phases = [training_log(log, _batch_size(run)) for log in logs]
    steps, seconds = (sum(values) for values in zip(*phases, strict=True))
    return f"{steps:.0f} in {seconds / 60:.1f} min"


def _batch_size(run: Path) -> int:
    lines = (run / "config.yaml").read_text(encoding="utf-8").splitlines()
    return int(next(line.split(":")[1] for line in lines if line.startswith("batch_size:")))


def _pick(pair: dict[str, Any], model: str, path: tuple[str, ...], form: str) -> float:
    """Return a number of a form of a model's poses, in per cent."""
    value: Any = pair["results"]["models"][model]["poses"][form]
    for key in path:
        value = value[key]
    return 100 * float(value)


def _table(pairs: list[dict[str, Any]]) -> list[Block]:
    """Return what was measured on, and each measure of all pairs with the mean difference."""
    first = pairs[0]["results"]
    about = first["provenance"]
    rows = []
    for name, path in ROWS:
        ours = [_pick(pair, "PCT", path, "expected pose") for pair in pairs]
        theirs = [_pick(pair, "heatmaps", path, "top of the heatmap") for pair in pairs]
        cells = [f"{a:.1f} / {b:.1f} ({a - b:+.1f})" for a, b in zip(ours, theirs, strict=True)]
        rows.append([f"{name}, tokens / heatmaps", *cells, _mean_gap(ours, theirs)])
    soft, hard = (
        [_pick(p, "PCT", ROWS[0][1], form) for p in pairs] for form in ("expected pose", "most likely tokens")
    )
    cells = [f"{a:.1f} ({a - b:+.1f})" for a, b in zip(hard, soft, strict=True)]
    rows.append(["AP of the most likely tokens (against the expected pose)", *cells, _mean_gap(hard, soft)])
    for kind in ("PCT", "heatmaps"):
        errors = [pair["results"]["models"][kind]["calibration"]["ece"] for pair in pairs]
        rows.append([f"calibration error, {kind}", *map("{:.3f}".format, errors), f"{statistics.mean(errors):.3f}"])
    steps = [" / ".join(pair["steps"]) for pair in pairs]
    rows.append(["steps and training time, tokens / heatmaps", *steps, ""])
    sentence = (
        f"{first['num_persons']} persons of {about['data']}, flip test; {about['hardware']}, {about['software']}, "
        f"{about['date'][:10]}."
    )
    return [sentence, Table(["measure", *(f"pair {i}" for i in range(len(pairs))), "mean difference"], rows)]


def _mean_gap(ours: list[float], theirs: list[float]) -> str:
    return f"{statistics.mean(a - b for a, b in zip(ours, theirs, strict=True)):+.1f}"


if __name__ == "__main__":
    sys.exit(main())
