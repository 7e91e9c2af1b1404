"""The command line ``pct``: parsing, and errors as one sentence. What the commands do is in ``pct/commands.py``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pct import cli_lift

_DEFAULT_MODEL = "coco17"

_EXAMPLES = """\
examples:
  pct encode person_keypoints_val2017.json -o tokens.parquet    poses to tokens
  pct decode tokens.parquet -o poses.json                       tokens to poses, as a COCO file
  pct info                                                      the default model
  pct info tokens.parquet                                       a token table
  pct text tokens.parquet -o poses.txt                          tokens as lines for a language model
  pct predict photo.jpg --model runs/people/model               poses of persons on photos
  pct lift poses.json -o poses3d.npz --model runs/lifter/model  2D poses to 3D poses
  pct COMMAND --help                                            more on a command
"""

_ENCODE = """\
Turn poses into a token table (Parquet), 34 integers a pose with the shipped model.

FILE is one of
  .json     COCO keypoint annotations; `categories` must name the model's joints
  .npz      keypoints (N, K, 2) in image pixels; visible (N, K), bbox (N, 4) as
            x, y, width, height, area, image_ids, annotation_ids if there are any
  .parquet  columns keypoints; visible, bbox, area, image_id, annotation_id if any
For a 3D model FILE is a .npz: keypoints (N, K, 3) in millimetres, x right, y down,
z away; visible, image_ids, annotation_ids if any; or mocap (joints in clips, y up).
A bad pose is reported, skipped and counted; files of any length need little memory.
"""
_ENCODE_EXAMPLES = """\
examples:
  pct encode person_keypoints_val2017.json -o tokens.parquet
  pct encode poses.npz -o tokens.parquet --model runs/mine --strict
"""

_DECODE = """\
Turn a token table back into poses in image pixels, with the model that made it.

OUT is .json (COCO keypoint annotations, all joints with visibility 2) or .npz; 3D poses,
in millimetres where they stood, become a .npz.
"""

_TEXT = """\
Write a token table as lines of text for language models, or read such lines.

A line is <pose><p711><p12>...</pose>; `pct vocab` lists all the words. Lines know no
boxes: on the way back they come from the table --like, row by row; without it every
pose is put into a square crop at the origin and gets its row number as id.
"""
_TEXT_EXAMPLES = """\
examples:
  pct text tokens.parquet -o poses.txt
  pct text poses.txt -o tokens.parquet --like first_tokens.parquet
  pct vocab > words.txt       one word a line, for tokenizer.add_tokens(...)
"""

_VISUALIZE = """\
Draw the first poses of a file (.json, .npz, .parquet), or of a token table, as one picture.
"""

_PREDICT = """\
Estimate the poses of the persons on photos and videos.

Persons are where --boxes or --detector says; without either each whole photo is one.
OUT gets keypoints.json (COCO results: bbox, keypoints as x, y, confidence, score),
tokens.parquet (their token table; `pct decode --model FOLDER/tokenizer` reads it)
and drawn/ (photos and videos with the poses on them).
Photos that cannot be read and bad boxes are reported, skipped and counted.
"""
_PREDICT_EXAMPLES = """\
examples:
  pct predict photo.jpg --model runs/people/model
  pct predict val2017 --model runs/people/model --boxes detections.json -o results
  pct predict walk.mp4 --model runs/people/model --detector fasterrcnn_resnet50_fpn_v2
"""

_EVALUATE = """\
Measure a model and write a report (JSON and a page with pictures): a 2D model on a COCO
keypoint file, a 3D model on motion capture (.npz), by default on its test clips.
"""
_EVALUATE_EXAMPLES = """\
examples:
  pct evaluate person_keypoints_val2017.json -o report
  pct evaluate val.json -o report --model runs/mine --baseline train.json --limit 5000
  pct evaluate mocap_h36m17.npz -o report --model h36m17
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit status: 0, 1 after an error, 130 after Ctrl-C. Wrong usage exits with 2.
    """
    args = build_parser().parse_args(argv)
    try:
        from pct import commands

        getattr(commands, args.command)(args)
    except KeyboardInterrupt:
        print("pct: interrupted; nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Who reads our output has seen enough; python must not complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("PCT_DEBUG") == "1":
            raise
        print(f"pct: error: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    parser = argparse.ArgumentParser(
        prog="pct",
        description="Pose tokens: human poses as integers and back.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_codec(commands)
    vocab = _add(commands, "vocab", "words of the text form, one a line")
    _model(vocab)

    info = _add(commands, "info", "what a model or a token table is", "Say what a model or a token table is.")
    info.add_argument("name", nargs="?", default=_DEFAULT_MODEL, metavar="MODEL|TABLE", help="default: %(default)s")
    info.add_argument("--json", action="store_true", help="as JSON")

    visualize = _add(commands, "visualize", "picture of poses or tokens", _VISUALIZE)
    _file_and_out(visualize, "poses or a token table", "picture to write: .png")
    visualize.add_argument("--reconstruct", action="store_true", help="poses pale, what their tokens give over them")
    visualize.add_argument(
        "--count", type=_positive, default=24, metavar="N", help="poses drawn (default: %(default)s)"
    )

    _add_predict(commands)
    lift = _add(commands, "lift", "2D poses to 3D poses", cli_lift.DESCRIPTION, cli_lift.EXAMPLES)
    cli_lift.add_arguments(lift)
    _batches(lift)
    _add_evaluate(commands)
    return parser


def _add_codec(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encode = _add(commands, "encode", "poses to tokens", _ENCODE, _ENCODE_EXAMPLES)
    _file_and_out(encode, "poses: .json (COCO), .npz or .parquet", "token table to write: .parquet")
    encode.add_argument("--strict", action="store_true", help="stop at the first bad pose, write nothing")
    _batches(encode)

    decode = _add(
        commands, "decode", "tokens to poses", _DECODE, "example:\n  pct decode tokens.parquet -o poses.json\n"
    )
    _file_and_out(decode, "token table: .parquet", "poses to write: .json (COCO) or .npz")
    _batches(decode)

    text = _add(commands, "text", "tokens to lines of text and back", _TEXT, _TEXT_EXAMPLES)
    _file_and_out(text, "token table (.parquet) or lines (.txt)", "the other of the two")
    text.add_argument("--like", metavar="TABLE", help="token table that boxes and ids come from (lines to table)")


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = _add(commands, "predict", "poses of persons on photos", _PREDICT, _PREDICT_EXAMPLES)
    predict.add_argument("photos", nargs="+", metavar="PHOTO", help="photo, video, or folder of them")
    predict.add_argument("--model", required=True, metavar="FOLDER", help="a classifier of photos, or a hub id")
    predict.add_argument(
        "-o", "--out", default="predictions", metavar="OUT", help="folder of the results (default: %(default)s)"
    )
    boxes = predict.add_mutually_exclusive_group()
    boxes.add_argument("--boxes", metavar="FILE", help="COCO results or annotations with boxes")
    boxes.add_argument("--detector", metavar="NAME", help="a detector of torchvision")
    predict.add_argument(
        "--detector-weights", metavar="FILE", help="its weights; fetched from the network if not given"
    )
    predict.add_argument(
        "--min-score",
        type=_share,
        metavar="X",
        help="least score of a box (default: 0.5; 0 with --boxes)",
    )
    predict.add_argument("--flip", action="store_true", help="flip test: more accurate, twice the time")
    predict.add_argument("--no-draw", dest="draw", action="store_false", help="do not write drawn/")
    predict.add_argument("--video-fps", type=_rate, metavar="N", help="frames a second used (default: all)")
    predict.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: torch's choice)")
    predict.add_argument("--force", action="store_true", help="replace results in OUT")
    _batches(predict, 32)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = _add(commands, "evaluate", "measure a model, write a report", _EVALUATE, _EVALUATE_EXAMPLES)
    _file_and_out(evaluate, "COCO keypoint annotations: .json; mocap: .npz", "folder of the report")
    evaluate.add_argument("--baseline", metavar="FILE", help="training poses, for the baselines of the completion")
    evaluate.add_argument("--split", choices=("test", "all"), help="clips of mocap (default: test)")
    evaluate.add_argument("--limit", type=_positive, metavar="N", help="evaluate N randomly chosen poses")
    evaluate.add_argument("--seed", type=int, default=0, help="of everything random (default: %(default)s)")
    _device(evaluate)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str | None = None,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=description or summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _file_and_out(parser: argparse.ArgumentParser, source: str, out: str) -> None:
    parser.add_argument("file", metavar="FILE", help=source)
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help=out)
    _model(parser)
    parser.add_argument("--force", action="store_true", help="replace OUT if it exists")


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default=_DEFAULT_MODEL,
        metavar="NAME",
        help="a model that ships with pct, a folder, or a hub id (default: %(default)s)",
    )


def _batches(parser: argparse.ArgumentParser, size: int = 4096) -> None:
    parser.add_argument("--batch-size", type=_positive, default=size, metavar="N", help="default: %(default)s")
    _device(parser)
    parser.add_argument("--progress", action="store_true", help="a progress bar also where stderr is no terminal")


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu or cuda, cuda:1, ... (default: %(default)s)")


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= len(text.lstrip("0")) <= 9:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not an integer from 1 to 999999999")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number from 0 to 1")
    return value


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number above 0, up to 1000")
    return value


def _version() -> str:
    from pct import __version__

    return f"pct {__version__}"


def _explain(error: Exception) -> str:
    """Return an error as one line: what people can act on as it is, what is our fault with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        return f'this command needs the package {error.name}; pip install ".[train]" in a checkout of pct brings it'
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, (ValueError, OSError)):
        return text
    return f"unexpected {type(error).__name__}: {text} (PCT_DEBUG=1 shows where)"
