"""Boxes of the persons on a photo: by the detector that ships with the package, or one of torchvision (its room)."""

from __future__ import annotations

import difflib
import http.client
from pathlib import Path
from typing import Protocol
from urllib.error import URLError

import numpy as np
import torch
from torch import nn

from pct.checkpoint import CheckpointError
from pct.photos.detection.nanodet import DETECTOR_SCORE, NanoDet
from pct.published.checkpoint import read_official

DEFAULT_DETECTOR = "nanodet"

# In the list of categories of every detector that torchvision has weights for.
_PERSON = 1


class PersonDetector(Protocol):
    """What finds persons on photos."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the persons on a photo.

        Args:
            image: The photo (H, W, 3), uint8 RGB.

        Returns:
            Boxes (N, 4) as x, y, width, height in image pixels, and their scores (N,), both float32, best first.
        """
        ...


class WholePhoto:
    """Takes the whole photo for one person."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the box of the photo; see :class:`PersonDetector`."""
        height, width = image.shape[:2]
        return np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32)


class TorchvisionDetector:
    """Finds persons by a detector of torchvision.

    Args:
        model: Maps a list of photos (3, H, W), floats in [0, 1], to dicts of ``boxes`` (N, 4) as x1, y1, x2, y2,
            ``labels`` (N,) and ``scores`` (N,), as torchvision's detectors do.
        min_score: Boxes with a lower score are left out.
        device: Of the model.
    """

    def __init__(self, model: nn.Module, min_score: float = 0.5, device: str | torch.device = "cpu") -> None:
        self.model, self.min_score, self.device = model.to(device).eval(), min_score, device

    @torch.no_grad()
    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the persons on a photo; see :class:`PersonDetector`."""
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1).float() / 255
        found = self.model([pixels])[0]
        size = found["boxes"][:, 2:] - found["boxes"][:, :2]
        kept = (found["labels"] == _PERSON) & (found["scores"] >= self.min_score) & (size > 0).all(dim=1)
        boxes = torch.cat([found["boxes"][:, :2], size], dim=1)[kept]
        order = found["scores"][kept].argsort(descending=True, stable=True)
        return boxes[order].cpu().numpy(), found["scores"][kept][order].cpu().numpy()


def load_detector(
    name: str | Path = DEFAULT_DETECTOR,
    weights: str | Path | None = None,
    min_score: float | None = None,
    device: str | torch.device = "cpu",
) -> PersonDetector:
    """Load what finds persons on photos.

    Args:
        name: ``nanodet``, which ships with the package, a folder of such a model, the name of a detector of
            torchvision, such as ``fasterrcnn_mobilenet_v3_large_320_fpn`` or ``fasterrcnn_resnet50_fpn_v2``, or
            ``none``, which takes each whole photo for one person.
        weights: Of torchvision's, as a local file (``.pth`` or ``.safetensors``); by default those that torchvision
            fetches from the network and keeps.
        min_score: Boxes with a lower score are left out; by default 0.3, 0.5 for torchvision's.
        device: Where it runs.

    Raises:
        ValueError: If there is no such detector (the nearest names are given), its weights cannot be fetched, or their
            file is broken or would run code.
        CheckpointError: If a file is missing or of another model.
    """
    if name == "none":
        return WholePhoto()
    if str(name) != DEFAULT_DETECTOR and not Path(name).is_dir():
        model = _load_torchvision(str(name), None if weights is None else Path(weights))
        return TorchvisionDetector(model, 0.5 if min_score is None else min_score, device)
    if weights is not None:
        raise ValueError(f"{weights} are weights of a detector of torchvision; name it with --detector NAME")
    return NanoDet.from_pretrained(name, DETECTOR_SCORE if min_score is None else min_score, device)


def _load_torchvision(name: str, weights: Path | None) -> nn.Module:
    from torchvision.models import detection, get_model, list_models

    known = list_models(module=detection)
    if name not in known:
        near = difflib.get_close_matches(name, [DEFAULT_DETECTOR, *known], n=3, cutoff=0.3)
        raise ValueError(f"there is no detector {name!r}; the nearest names are {', '.join(near or known)}")
    if weights is None:
        try:
            fetched: nn.Module = get_model(name, weights="DEFAULT")
        except (URLError, OSError, http.client.HTTPException) as error:
            raise ValueError(
                f"the weights of detector {name} could not be fetched ({error}); fetch them elsewhere and give "
                "--detector-weights FILE, or give --boxes FILE"
            ) from None
        return fetched
    if not weights.is_file():
        raise CheckpointError(f"{weights}: no such file of weights")
    model: nn.Module = get_model(name, weights=None, weights_backbone=None)
    try:
        model.load_state_dict(read_official(weights))
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{weights}: these are not the weights of {name}: {first}") from None
    return model
