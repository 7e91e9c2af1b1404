"""Speed of predicting poses on photos: ``python benchmarks/predict_speed.py [--batches 1] [--threads 1]``.

With random weights, which take as long as trained ones:

- what head and decoder cost beside the backbone alone, for Swin-B at 256 x 256: our head and the published
  one;
- what the whole path (reading, crops, model, samples, image pixels) costs beside the bare model on the same crops.

What is compared takes turns, so that whatever else the machine does hits all alike; medians are given.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from measure import describe_machine, time_side_by_side
from PIL import Image
from tqdm import tqdm

from pct import PoseTokenizer
from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import BackboneSizes, HeadSizes
from pct.photos.crop import normalise_pixels, plain_crop
from pct.photos.estimator import PoseEstimator

SWIN_B = ("swinv2_base_window12to16_192to256", "swin_base_patch4_window7_224")
HEADS = {
    "ours": HeadSizes(),
    "published": HeadSizes("published", width=64, num_blocks=4, conv_channels=256, token_hidden=64, channel_hidden=256),
}
SMALL = BackboneSizes("swin_pico", (128, 128))
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# Persons on each photo of the whole path, and the photos' height and width.
PERSONS, PHOTO_SIZE = 4, (480, 640)
# Batches of the whole path one after the other: while one is in the model, the next photo is read.
BATCHES = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="*", default=list(SWIN_B), help="of timm, timed at 256 x 256")
    parser.add_argument("--paths", nargs="*", help="backbones of the whole path (default: swin_pico and the first one)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="persons at a time (default: 1 32)")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for each comparison (default: 60)")
    parser.add_argument("--rounds", type=int, default=9, help="most turns of each (default: 9)")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor's time, for a machine under load"
    )
    parser.add_argument("--threads", type=int, default=0, help="threads of PyTorch (default: as it chooses)")
    parser.add_argument("--out", help="also write the numbers to this JSON file")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    tokenizer = PoseTokenizer.from_pretrained()
    machine = describe_machine(torch.device("cpu"))
    heads, paths = [], []
    with tqdm(desc="timing", unit="turn") as bar:

        def measure(tasks: dict[str, Callable[[], object]]) -> dict[str, float]:
            return time_side_by_side(tasks, args.budget, args.rounds, bar.update, CLOCKS[args.clock])

        for name in args.backbones:
            for batch in args.batches:
                heads.append({"name": name, "batch": batch, **measure(head_tasks(name, tokenizer, batch))})
        for name in [SMALL.name, *args.backbones[:1]] if args.paths is None else args.paths:
            sizes = SMALL if name == SMALL.name else BackboneSizes(name, (256, 256))
            model = build(sizes, HEADS["ours"], tokenizer)
            for batch in args.batches:
                with TemporaryDirectory() as folder:
                    tasks = path_tasks(model, batch, Path(folder))
                    paths.append({"name": sizes.name, "batch": batch, **measure(tasks)})
    machine["clock"] = args.clock
    print(to_markdown(machine, heads, paths))
    if args.out:
        result = {"machine": machine, "heads": heads, "paths": paths}
        Path(args.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def build(sizes: BackboneSizes, head: HeadSizes, tokenizer: PoseTokenizer) -> PoseClassifier:
    """Return a classifier with random weights."""
    torch.manual_seed(0)
    return PoseClassifier(ClassifierConfig(sizes, head), tokenizer).eval()


@torch.inference_mode()
def head_tasks(name: str, tokenizer: PoseTokenizer, batch: int) -> dict[str, Callable[[], object]]:
    """Return the backbone alone, and all that follows it, for both heads."""
    models = {who: build(BackboneSizes(name, (256, 256)), head, tokenizer) for who, head in HEADS.items()}
    images = torch.randn(batch, 3, 256, 256)
    backbone = models["ours"].backbone
    tasks = {"backbone": torch.inference_mode()(lambda: backbone(images))}
    for who, model in models.items():
        given = backbone(images)
        model.backbone.forward = lambda images, given=given: given  # type: ignore[method-assign]
        tasks[who] = torch.inference_mode()(lambda model=model: model(images))
    return tasks


def path_tasks(model: PoseClassifier, batch: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Return the bare model on crops, and the whole path from arrays and from JPEG files, for ``batch`` persons.

    Each does as much :data:`BATCHES` times.
    """
    rng = np.random.default_rng(0)
    height, width = PHOTO_SIZE
    photos, files, boxes_of, crops = [], [], [], []
    for start in range(0, batch, PERSONS):
        small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        photo = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
        boxes = np.column_stack([rng.uniform(0, 300, (PERSONS, 2)), rng.uniform(60, 250, (PERSONS, 2))])
        boxes = boxes[: batch - start]
        path = folder / f"{start}.jpg"
        Image.fromarray(photo).save(path, quality=90)
        photos.append(photo)
        files.append(path)
        boxes_of.append(boxes)
        crops += [plain_crop(box, model.tokenizer.space, model.config.backbone.image_size).warp(photo) for box in boxes]
    estimator = PoseEstimator(model, batch_size=batch)
    images = normalise_pixels(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous())
    return {
        "bare": torch.inference_mode()(lambda: [model(images) for _ in range(BATCHES)]),
        "arrays": lambda: estimator(photos * BATCHES, boxes_of * BATCHES),
        "files": lambda: estimator(files * BATCHES, boxes_of * BATCHES),
    }


def to_markdown(machine: dict[str, Any], heads: list[dict[str, Any]], paths: list[dict[str, Any]]) -> str:
    """Return both tables."""
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, load "
        f"{machine['load_average'][0]} before the run, PyTorch {machine['torch']}, {machine['date']}, "
        f"{machine['clock']} time.",
        "",
        "| 256 x 256: head + decoder, ms: backbone, batch | backbone, ms | " + " | ".join(HEADS) + " |",
        "| :--- |" + " ---: |" * (1 + len(HEADS)),
    ]
    for row in heads:
        cells = [f"{1e3 * row[who]:,.1f} ({row[who] / row['backbone']:.1%})" for who in HEADS]
        lines.append(f"| {row['name']}, {row['batch']} | {1e3 * row['backbone']:,.1f} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| whole path, {PERSONS} persons on a photo of {PHOTO_SIZE[1]} x {PHOTO_SIZE[0]}: backbone, batch | "
        "bare model, ms | from arrays, ms | from JPEG files, ms |",
        "| :--- | ---: | ---: | ---: |",
    ]
    for row in paths:
        cells = [f"{1e3 * row[who] / BATCHES:,.1f} ({row[who] / row['bare']:.2f} x)" for who in ("arrays", "files")]
        lines.append(f"| {row['name']}, {row['batch']} | {1e3 * row['bare'] / BATCHES:,.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
