"""Model folders to ONNX files, with a ``model.json`` that says what goes in and out."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct import checkpoint
from pct.checkpoint import CheckpointError
from pct.export.graphs import DecoderGraph, EncoderGraph, EstimatorGraph
from pct.files.output import OutputError, write_atomically
from pct.packages import missing_package
from pct.photos.classifier import PoseClassifier
from pct.tokenizer import PoseTokenizer
from pct.tokens.codec import check_unguided, describe_model

ENCODER_FILE, DECODER_FILE, ESTIMATOR_FILE, SHEET_FILE = "encoder.onnx", "decoder.onnx", "estimator.onnx", "model.json"
_TOKENIZER = "pose_tokenizer"
# Of the example that a graph is traced with; any other number of rows than 1 would do.
_ROWS = 2


@dataclass(frozen=True)
class Graph:
    """One ONNX file.

    Attributes:
        network: What it computes.
        inputs: Names and examples of what goes in; the first axis is the batch.
        outputs: Names of what comes out.
    """

    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]


def export_onnx(name: str | Path, folder: str | Path, num_tokens: int | None = None, force: bool = False) -> list[Path]:
    """Write the networks of a model as ONNX files, for runtimes without Python or torch.

    ``encoder.onnx`` maps ``keypoints`` (B, K, D), ``visible`` (B, K) and ``bbox`` (B, 4) to ``indices`` (B, M);
    ``decoder.onnx`` maps ``indices`` and ``bbox`` to ``keypoints``, both in image pixels. Of 3D models they are
    millimetres, and ``root`` (B, 3) stands for the box. A classifier's folder gets ``estimator.onnx`` too: ``pixels``
    (B, 3, H, W), uint8 RGB crops, and ``bbox`` to ``logits`` (B, M, V), ``keypoints`` and ``indices``. ``model.json``
    has skeleton, pose space, layout, fingerprint, and names, types and shapes of inputs and outputs.

    The encoder is float64 inside, so that its ids are :meth:`pct.PoseTokenizer.encode`'s; runtimes of GPUs that have
    no float64 leave it to the CPU.

    Args:
        name: Model folder, shipped model or hf:user/model: a tokenizer or a classifier.
        folder: Where to; made if it does not exist.
        num_tokens: How many first ids encoder and decoder have, for models whose tokens are ordered; all by default.
        force: Whether files there are replaced.

    Returns:
        The files written.

    Raises:
        CheckpointError: If there is no such model, or it is of another kind.
        FileExistsError: If the folder holds an export and ``force`` is not set.
        ValueError: If the tokenizer needs image features, or does not decode so few tokens.
        ModuleNotFoundError: If the packages of the extra ``onnx`` are missing.
    """
    folder = _check_folder(Path(folder), force)
    kind = checkpoint.model_kind(name)
    if kind not in (_TOKENIZER, PoseClassifier.kind):
        raise CheckpointError(f"{name} is a {kind}; tokenizers and classifiers of photos are what can be exported")
    model = PoseClassifier.from_pretrained(name) if kind == PoseClassifier.kind else None
    tokenizer = PoseTokenizer.from_pretrained(name) if model is None else model.tokenizer
    check_unguided(tokenizer)
    length = describe_model(tokenizer).with_prefix(num_tokens).tokens_per_pose
    graphs = _graphs(tokenizer, length, model)
    sheet = _describe(str(name), kind, tokenizer, graphs)
    models = {file: to_onnx(graph, {"pct": json.dumps(sheet)}) for file, graph in graphs.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in models.items():
        write_atomically(folder / file, data)
    write_atomically(folder / SHEET_FILE, (json.dumps(sheet, indent=2) + "\n").encode())
    return [folder / file for file in (*models, SHEET_FILE)]


def to_onnx(graph: Graph, metadata: dict[str, str]) -> bytes:
    """Return a graph as the content of an ONNX file whose first axes are named ``batch``."""
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            graph.network.eval(),
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            dynamic_shapes=tuple({0: batch} for _ in graph.inputs),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(metadata)
    return program.model_proto.SerializeToString()


def _graphs(tokenizer: PoseTokenizer, length: int, model: PoseClassifier | None) -> dict[str, Graph]:
    """Return by file the graphs of a tokenizer, and of its classifier if there is one."""
    joints, space = tokenizer.skeleton.num_keypoints, tokenizer.space
    place = {space.reference_name: space.standard_reference().expand(_ROWS, -1).clone()}
    poses = {"keypoints": torch.rand(_ROWS, joints, space.num_dims), "visible": torch.ones(_ROWS, joints).bool()}
    indices = torch.zeros(_ROWS, length, dtype=torch.int64)
    graphs = {
        ENCODER_FILE: Graph(EncoderGraph(tokenizer, length), poses | place, ["indices"]),
        DECODER_FILE: Graph(DecoderGraph(tokenizer), {"indices": indices, **place}, ["keypoints"]),
    }
    if model is not None:
        pixels = torch.zeros(_ROWS, 3, *model.image_size, dtype=torch.uint8)
        bbox = space.crop_space.standard_reference().expand(_ROWS, -1).clone()
        outputs = ["logits", "keypoints", "indices"]
        graphs[ESTIMATOR_FILE] = Graph(EstimatorGraph(model), {"pixels": pixels, "bbox": bbox}, outputs)
    return graphs


def _describe(name: str, kind: str, tokenizer: PoseTokenizer, graphs: dict[str, Graph]) -> dict[str, Any]:
    """Return what ``model.json`` says."""
    metadata, files = describe_model(tokenizer, name), {}
    for file, graph in graphs.items():
        with torch.no_grad():
            found = graph.network(*graph.inputs.values())
        outputs = dict(zip(graph.outputs, found if isinstance(found, tuple) else (found,), strict=True))
        files[file] = {
            side: [
                {"name": n, "type": str(t.dtype).removeprefix("torch."), "shape": ["batch", *t.shape[1:]]}
                for n, t in tensors.items()
            ]
            for side, tensors in (("inputs", graph.inputs), ("outputs", outputs))
        }
    return {
        "kind": kind,
        **json.loads(metadata.to_json()),
        "layout": tokenizer.config.layout,
        "unit": "millimetres" if metadata.is_3d else "image pixels",
        "files": files,
    }


def _check_folder(folder: Path, force: bool) -> Path:
    """Check, before any work, that a folder may be filled and that torch's exporter is all there."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output {folder} is a file; an export is a folder")
    held = [file for file in (ENCODER_FILE, DECODER_FILE, ESTIMATOR_FILE, SHEET_FILE) if (folder / file).exists()]
    if held and not force:
        raise FileExistsError(f"{folder} already holds {held[0]}; give --force (force=True) to replace the export")
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(missing_package(package), name=package)
    return folder


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch's exporter says of itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
