"""What the sub-commands of ``pct`` do: each checks its output, loads a model, and calls one function of the library."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from pct.codec import DECODE_SUFFIXES, decode_file, encode_file
from pct.data.pose_files import PoseFileError, check_pose_file, count_poses
from pct.describe import as_lines, describe_pretrained, describe_token_file
from pct.files import OutputError, check_output
from pct.models.tokenizer import PoseTokenizer
from pct.token_text import vocabulary
from pct.tokens import TokenReader

# Bad poses that are shown one by one; the summary counts all.
_MOST_REPORTS = 20


def encode(args: Namespace) -> None:
    """Encode a pose file to a token table."""
    source = check_pose_file(args.file)
    check_output(args.out, (".parquet",), args.force)
    tokenizer = _load(args)
    with _progress(args, lambda: count_poses(source)) as progress, _reports() as report:
        summary = encode_file(
            tokenizer,
            source,
            args.out,
            model_name=args.model,
            strict=args.strict,
            force=args.force,
            batch_size=args.batch_size,
            report=report,
            progress=progress,
        )
    for note in summary.notes:
        print(f"pct: note: {source}: {note}", file=sys.stderr)
    print(summary, file=sys.stderr)


def decode(args: Namespace) -> None:
    """Decode a token table to a pose file."""
    check_output(args.out, DECODE_SUFFIXES, args.force)
    with TokenReader(args.file) as reader:
        count = len(reader)
    tokenizer = _load(args)
    with _progress(args, lambda: count) as progress:
        summary = decode_file(
            tokenizer, args.file, args.out, force=args.force, batch_size=args.batch_size, progress=progress
        )
    print(summary, file=sys.stderr)


def text(args: Namespace) -> None:
    """Write a token table as lines of text, or lines as a token table."""
    from pct.text_files import table_to_text, text_to_table

    suffixes = (Path(args.file).suffix.lower(), Path(args.out).suffix.lower())
    if suffixes == (".parquet", ".txt"):
        count = table_to_text(args.file, check_output(args.out, force=args.force), args.force)
    elif suffixes == (".txt", ".parquet"):
        check_output(args.out, force=args.force)
        if not Path(args.file).is_file():
            raise ValueError(f"{args.file}: no such file")
        count = text_to_table(_load(args), args.file, args.out, args.model, args.like, args.force)
    else:
        raise OutputError(f"FILE and OUT must be one .parquet and one .txt; got {args.file} and {args.out}")
    print(f"wrote {count:,} poses to {args.out}", file=sys.stderr)


def vocab(args: Namespace) -> None:
    """Print the words of the text form."""
    print("\n".join(vocabulary(_load(args).config.codebook_size)), flush=True)


def info(args: Namespace) -> None:
    """Print what a model or a token table is."""
    if Path(args.name).suffix.lower() == ".parquet":
        values = describe_token_file(args.name)
    else:
        values = describe_pretrained(args.name)
    print(json.dumps(values, indent=2) if args.json else as_lines(values), flush=True)


def visualize(args: Namespace) -> None:
    """Draw the first poses of a pose file or token table as one picture."""
    from pct.gallery import draw_gallery
    from pct.visualize import write_png

    out = check_output(args.out, (".png",), args.force)
    source = check_pose_file(args.file)
    write_png(draw_gallery(_load(args), source, args.count, args.reconstruct), out, args.force)
    print(f"picture: {out}", file=sys.stderr)


def predict(args: Namespace) -> None:
    """Estimate the poses on photos and videos; write COCO results, a token table and drawn photos."""
    from pct.data.photo_inputs import find_photos
    from pct.estimator import PoseEstimator
    from pct.predict_boxes import choose_boxes
    from pct.predict_files import check_folder, count_frames, predict_files

    inputs = find_photos(args.photos)
    check_folder(args.out, args.force)
    device = _find_device(args)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    estimator = PoseEstimator.from_pretrained(args.model, device, args.flip, args.batch_size)
    with _reports() as report:
        boxes = choose_boxes(
            inputs,
            boxes_file=args.boxes,
            detector=args.detector,
            detector_weights=args.detector_weights,
            min_score=args.min_score,
            device=device,
            report=report,
        )
        if boxes.note:
            print(f"pct: note: {boxes.note}", file=sys.stderr)
        with _progress(args, lambda: count_frames(inputs, args.video_fps), " photos") as progress:
            summary = predict_files(
                estimator,
                inputs,
                args.out,
                image_ids=boxes.image_ids,
                find_boxes=boxes.find,
                model_name=args.model,
                draw=args.draw,
                video_fps=args.video_fps,
                force=args.force,
                report=report,
                progress=progress,
            )
    print(summary, file=sys.stderr)


def lift(args: Namespace) -> None:
    """Lift 2D poses to 3D; write the poses and, where asked for, their token table and a picture."""
    from pct.lift_files import LIFT_SUFFIXES, lift_file
    from pct.lift_inputs import LiftInput
    from pct.models.lifter import Lifter
    from pct.skeleton import get_skeleton
    from pct.tokens import is_token_file

    path = check_pose_file(args.file)
    for out, suffixes in ((args.out, LIFT_SUFFIXES), (args.tokens, (".parquet",)), (args.draw, (".png",))):
        if out is not None:
            check_output(out, suffixes, args.force)
    device = _find_device(args)
    lifter = Lifter.from_pretrained(args.model, device)
    source = LiftInput(
        path,
        lifter.skeleton,
        given=get_skeleton(args.skeleton) if args.skeleton else None,
        tokenizer=PoseTokenizer.from_pretrained(args.tokenizer, device) if is_token_file(path) else None,
        image_size=args.image_size,
    )
    with _progress(args, lambda: count_poses(path)) as progress, _reports() as report:
        summary = lift_file(
            lifter,
            source,
            args.out,
            flip=args.flip,
            tokens_out=args.tokens,
            model_name=args.model,
            picture=args.draw,
            force=args.force,
            batch_size=args.batch_size,
            report=report,
            progress=progress,
        )
    for note in summary.notes:
        print(f"pct: note: {note}", file=sys.stderr)
    print(summary, file=sys.stderr)


def evaluate(args: Namespace) -> None:
    """Measure a 2D model on a COCO file, or a 3D model on motion capture, and write a report."""
    from pct.evaluation.report import check_report_folder, run_evaluation
    from pct.evaluation.report3d import run_evaluation_3d

    suffix = check_pose_file(args.file).suffix.lower()
    if suffix not in (".json", ".npz"):
        raise PoseFileError(
            f"{args.file}: a model is measured on labelled joints in a .json (COCO or MPII layout), a 3D model on "
            "mocap in a .npz"
        )
    check_report_folder(args.out, args.force)
    tokenizer = _load(args)
    is_3d = tokenizer.space.kind == "root3d"
    if is_3d != (suffix == ".npz"):
        right = "a 3D model is measured on mocap in a .npz" if is_3d else "a 2D model on labelled joints in a .json"
        raise PoseFileError(f"{args.file}: the model's poses are {'3D' if is_3d else '2D'}; {right}")
    if args.split and not is_3d:
        raise PoseFileError(f"--split {args.split} chooses clips of mocap; {args.file} is measured whole")
    sizes = (args.limit, args.seed, args.force)
    if is_3d:
        run_evaluation_3d(tokenizer, args.file, args.out, args.baseline, args.split or "test", *sizes, progress=_say)
    else:
        run_evaluation(tokenizer, args.file, args.out, args.baseline, *sizes, progress=_say)
    print(f"report: {args.out}", file=sys.stderr)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _load(args: Namespace) -> PoseTokenizer:
    return PoseTokenizer.from_pretrained(args.model, _find_device(args))


def _find_device(args: Namespace) -> torch.device:
    name = getattr(args, "device", "cpu")
    try:
        device = torch.device(name)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("there is no CUDA device here")
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, NotImplementedError) as error:
        # What torch says after its first sentence are lists of backends.
        raise ValueError(f"device {name!r} cannot be used: {str(error).partition('. ')[0]}") from None
    return device


@contextmanager
def _progress(
    args: Namespace, count: Callable[[], int | None], unit: str = " poses"
) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a progress bar on stderr, if that is a terminal or a bar is asked for."""
    shown = args.progress or sys.stderr.isatty()
    with tqdm(total=count() if shown else None, unit=unit, file=sys.stderr, disable=not shown) as bar:

        def move(done: int) -> None:
            bar.update(done - bar.n)

        yield move


@contextmanager
def _reports() -> Iterator[Callable[[str], None]]:
    """Give a function that prints the first bad poses to stderr; the number of the others follows at the end."""
    count = 0

    def report(sentence: str) -> None:
        nonlocal count
        count += 1
        if count <= _MOST_REPORTS:
            tqdm.write(f"pct: skipped: {sentence}", file=sys.stderr)

    yield report
    if count > _MOST_REPORTS:
        tqdm.write(f"pct: skipped: {count - _MOST_REPORTS:,} more", file=sys.stderr)
