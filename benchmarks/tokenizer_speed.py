"""Speed and memory of the tokenizer beside the published formula: ``python benchmarks/tokenizer_speed.py [--quick]``.

Encode, decode, training step and peak memory, for batches of 1 to 65,536 poses, of three contestants side by side:

- plain: the published formula at the paper's sizes, written plainly (``plain_tokenizer.py``);
- paper: our tokenizer with the same weights, through its public calls, which also check and normalise the poses;
- default: the model that ships with the package, or the one of ``--model``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from contestants import Contestant, Work, build, memory_task, poses, quantizer_tasks, task
from measure import describe_machine, free_memory, peak_memory, time_side_by_side
from plain_tokenizer import PlainTokenizer
from tqdm import tqdm

from pct import PoseTokenizer

BATCHES = {"encode": (1, 16, 256, 4096, 65536), "decode": (1, 16, 256, 4096, 65536), "training": (1, 16, 256, 1024)}
QUICK_BATCHES = {"encode": (1, 256, 1024), "decode": (1, 256, 1024), "training": (1, 32)}
# Peak megabytes a pose, from this benchmark's own memory table: what does not fit is left out.
PLAIN_MB = {"encode": 0.6, "decode": 0.6, "training": 5.0}
OURS_MB = {"encode": 0.0, "decode": 0.0, "training": 5.0}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="coco17", help="default model: shipped name, folder, or a run's YAML config")
    parser.add_argument("--out", default="runs/benchmark", help="folder for speed.md and speed.json")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (peak memory is measured on the cpu only)")
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch (default: as it chooses)")
    parser.add_argument("--quick", action="store_true", help="small batches and few rounds, about a minute")
    args = parser.parse_args(argv)
    try:
        result = measure(args)
        folder = Path(args.out)
        folder.mkdir(parents=True, exist_ok=True)
        text = to_markdown(result)
        (folder / "speed.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        (folder / "speed.md").write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"tokenizer_speed: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return everything that was measured, as plain values."""
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    models = {who: build(who, args.model).to(device) for who in ("plain", "paper", "default")}
    plain, paper = models["plain"], models["paper"]
    assert isinstance(plain, PlainTokenizer)
    assert isinstance(paper, PoseTokenizer)
    machine = {**describe_machine(device), "default": args.model, **compare(plain, paper)}
    batches = QUICK_BATCHES if args.quick else BATCHES
    budget, rounds = (2.0, 3) if args.quick else (40.0, 7)
    rows = []
    with tqdm(desc="timing", unit="turn") as bar:
        for what, sizes in [*batches.items(), ("quantizer", batches["training"])]:
            for batch in sizes:
                bar.set_postfix_str(f"{what}, batch {batch}")
                tasks = (
                    quantizer_tasks(plain, batch)
                    if what == "quantizer"
                    else {who: task(what, m, batch) for who, m in models.items() if fits(what, who, batch)}
                )
                seconds = time_side_by_side(tasks, budget, rounds, bar.update)
                rows += [{"what": what, "batch": batch, "who": who, "seconds": s} for who, s in seconds.items()]
    memory = measure_memory(models, batches) if device.type == "cpu" else []
    return {"machine": machine, "time": rows, "memory": memory}


def compare(plain: PlainTokenizer, paper: PoseTokenizer) -> dict[str, float]:
    """Check that plain and folded compute the same, and return how equal they are."""
    keypoints, visible, bbox = (x.to(paper.device) for x in poses(1024))
    with torch.no_grad():
        indices = plain.encode(paper.space.normalise(keypoints, bbox), visible)
        equal = float((paper.encode(keypoints, visible, bbox) == indices).double().mean())
        error = float((paper.decode(indices) - plain.decode(indices)).abs().max())
    if equal < 0.999 or error > 1e-5:
        raise ValueError(f"plain and folded disagree: {equal:.4%} equal tokens, decoded poses differ by {error:.1e}")
    return {"equal_tokens": equal, "decoded_difference": error}


def fits(what: str, who: str, batch: int) -> bool:
    """Whether the work fits into half of the free memory."""
    return batch * (PLAIN_MB if who == "plain" else OURS_MB)[what] < free_memory() / 2


def measure_memory(models: Mapping[str, Contestant], batches: Mapping[Work, Sequence[int]]) -> list[dict[str, Any]]:
    """Return peak memory above the weights in MB, input and output included, each in a fresh process."""
    rows = []
    jobs = [(what, batch, who) for what, sizes in batches.items() for batch in sizes for who in models]
    with TemporaryDirectory() as folder:
        for who in ("paper", "default"):
            models[who].save_pretrained(f"{folder}/{who}")
        for what, batch, who in tqdm(jobs, desc="peak memory", unit="process"):
            if fits(what, who, batch):
                weights = f"{folder}/{'default' if who == 'default' else 'paper'}"
                mb = peak_memory(memory_task, what, who, weights, batch)
                rows.append({"what": what, "batch": batch, "who": who, "mb": mb})
    return rows


def to_markdown(result: dict[str, Any]) -> str:
    """Return the tables of the README."""
    m = result["machine"]
    lines = [
        f"{m['processor']}, {m['cores']} cores, {m['threads']} threads, load {m['load_average'][0]} before the run, "
        f"PyTorch {m['torch']}, {m['date']}; default model: {m['default']}.",
        f"Plain and folded agree: {m['equal_tokens']:.4%} equal tokens, poses within {m['decoded_difference']:.0e}.",
        "",
    ]
    for what in dict.fromkeys(row["what"] for row in result["time"]):
        rows = {(r["batch"], r["who"]): r["batch"] / r["seconds"] for r in result["time"] if r["what"] == what}
        title = {"training": "training step", "quantizer": "quantizer training step"}.get(what, what)
        lines += _table(f"{title}, poses/s", rows, ratios=True)
    memory = {}
    for row in result["memory"]:
        if row["mb"] is not None:
            memory.setdefault(row["what"], {})[row["batch"], row["who"]] = row["mb"]
    for what, rows in memory.items():
        lines += _table(f"{what}, peak MB above the weights", rows, ratios=False)
    return "\n".join(lines)


def _table(title: str, rows: dict[tuple[int, str], float], ratios: bool) -> list[str]:
    """Return one table; ratios are against the plain formula, at its largest batch where it does not fit."""
    names = list(dict.fromkeys(who for _, who in rows))
    names.sort(key=lambda who: who != "plain")
    lines = [f"| {title}: batch | {' | '.join(names)} |", "| ---: |" + " ---: |" * len(names)]
    plain, star = None, ""
    for batch in sorted({b for b, _ in rows}):
        star = "" if (batch, "plain") in rows else "*"
        plain = rows.get((batch, "plain"), plain)
        cells = []
        for who in names:
            value = rows.get((batch, who))
            cell = "does not fit" if value is None else f"{value:,.0f}"
            if ratios and value is not None and plain and who != "plain":
                cell += f" ({value / plain:.1f} x{star})"
            cells.append(cell)
        lines.append(f"| {batch:,} | {' | '.join(cells)} |")
    if star and ratios:
        lines += ["", "\\* against the plain formula at its largest batch."]
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(main())
