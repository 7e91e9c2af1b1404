"""NanoDet: the small person detector that ships with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct import checkpoint

KIND = "person_detector"
# Longer side of photos as the network sees them, and the strides of the three maps that boxes are read off.
IMAGE_SIZE, STRIDES = 416, (8, 16, 32)
# A side of a box is the mean of a distribution over this many steps of the stride.
_STEPS = 11
# Of the input, whose channels are blue, green, red.
_MEAN, _STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
# Boxes whose overlap with a better one is larger are the same person.
_SAME = 0.5
# Cells that are looked at, best first.
_CANDIDATES = 300
# Lowest score of a box by default: four of five labelled persons of COCO have a box above it.
DETECTOR_SCORE = 0.3


class NanoDet(nn.Module):
    """NanoDet-g for persons: a CSP backbone, a path aggregation network, one head a stride (RangiLyu, 2021).

    Its layers are read off the published graph; of the 80 classes of its head persons are kept.

    Args:
        min_score: :meth:`detect` leaves boxes with a lower score out.
    """

    def __init__(self, min_score: float = DETECTOR_SCORE) -> None:
        super().__init__()
        self.min_score = min_score
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.stages = nn.ModuleList([CSPStage(32, 32, 1, 1), CSPStage(64, 64, 2, 2), CSPStage(128, 128, 2, 2)])
        self.stages.append(CSPStage(256, 256, 3, 2))
        self.laterals = nn.ModuleList(nn.Conv2d(channels, 128, 1) for channels in (128, 256, 512))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(128, 128, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(128, 1 + 4 * _STEPS, 1))
            for _ in STRIDES
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Find persons.

        Args:
            images: (B, 3, H, W), normalised, channels blue, green, red; sides multiples of 32.

        Returns:
            Boxes (B, N, 4) as x1, y1, x2, y2 in pixels of the input, N cells of all strides, and their scores (B, N).
        """
        x = F.max_pool2d(F.leaky_relu(self.stem(images), 0.1), 3, 2, 1)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        fine, middle, coarse = (lateral(x) for lateral, x in zip(self.laterals, maps[1:], strict=True))
        middle = middle + _scaled(coarse, 2.0)
        fine = fine + _scaled(middle, 2.0)
        middle = middle + _scaled(fine, 0.5)
        coarse = coarse + _scaled(middle, 0.5)
        found = [
            _read_boxes(head(x), stride)
            for head, x, stride in zip(self.heads, (fine, middle, coarse), STRIDES, strict=True)
        ]
        return torch.cat([boxes for boxes, _ in found], dim=1), torch.cat([scores for _, scores in found], dim=1)

    @torch.inference_mode()
    @checkpoint.in_float32()
    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the persons on a photo; see :class:`pct.photos.detection.detector.PersonDetector`."""
        from torchvision.ops import nms

        height, width = image.shape[:2]
        pixels, scale = fit_photo(image)
        device = self.stem.weight.device
        mean, std = torch.tensor(_MEAN, device=device), torch.tensor(_STD, device=device)
        normalised = (torch.from_numpy(pixels).to(device).flip(-1) - mean) / std
        boxes, scores = (x[0].float().cpu() for x in self(normalised.permute(2, 0, 1)[None]))
        scores, chosen = scores.topk(min(_CANDIDATES, len(scores)))
        ends = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = (boxes[chosen] / scale).clamp(min=0).minimum(ends)
        real = (scores >= self.min_score) & (boxes[:, 2:] - boxes[:, :2] >= 1).all(dim=1)
        boxes, scores = boxes[real], scores[real]
        kept = nms(boxes, scores, _SAME)
        return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)[kept].numpy(), scores[kept].numpy()

    def save_pretrained(self, folder: str | Path, card: str | None = None, force: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors`` with weights of 8 bits, which find as many persons.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        checkpoint.save_model(folder, KIND, {"name": "nanodet_g"}, _pack(self.state_dict()), card, force)

    @classmethod
    def from_pretrained(
        cls, name: str | Path = "nanodet", min_score: float = DETECTOR_SCORE, device: str | torch.device = "cpu"
    ) -> NanoDet:
        """Load the detector, in evaluation mode.

        Args:
            name: A model folder or the name of one that ships with the package.
            min_score: Boxes with a lower score are left out.
            device: Where it runs.

        Raises:
            CheckpointError: If there is no such model or its files do not fit together.
        """
        _, state = checkpoint.load_model(name, KIND)
        with checkpoint.explain(name):
            model = cls(min_score)
            model.load_state_dict(_unpack(state))
        # Convolutions are faster so on a CPU.
        return model.eval().to(device).to(memory_format=torch.channels_last)


class CSPStage(nn.Module):
    """A convolution, then blocks of two convolutions whose outputs are both kept (CSPNet, Wang et al., 2019)."""

    def __init__(self, channels: int, width: int, num_blocks: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride, 1)
        self.blocks = nn.ModuleList(TwoConvs(width) for _ in range(num_blocks))
        self.last = nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, 2 * width, h / stride, w / stride)."""
        first = x = F.leaky_relu(self.first(x), 0.1)
        for block in self.blocks:
            x = block(x)
        return torch.cat([F.leaky_relu(self.last(x), 0.1), first], dim=1)


class TwoConvs(nn.Module):
    """Two convolutions of half the channels each, the second of what the first gives; both are kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.outer, self.inner = nn.Conv2d(width, half, 3, 1, 1), nn.Conv2d(half, half, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, h, w) to (B, width, h, w)."""
        early = F.leaky_relu(self.outer(x), 0.1)
        return torch.cat([F.leaky_relu(self.inner(early), 0.1), early], dim=1)


def fit_photo(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale a photo (H, W, 3), uint8, so that its longer side has :data:`IMAGE_SIZE` pixels.

    Returns:
        The photo in the upper left corner of a black picture whose sides are multiples of the largest stride, and the
        factor by which it was scaled.
    """
    import cv2

    height, width = image.shape[:2]
    scale = IMAGE_SIZE / max(height, width)
    small = max(1, round(height * scale)), max(1, round(width * scale))
    padded = np.zeros((*(-(-side // STRIDES[-1]) * STRIDES[-1] for side in small), 3), np.uint8)
    # Of several times as large photos, a bilinear look at single pixels sees a part only.
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    padded[: small[0], : small[1]] = cv2.resize(image, small[::-1], interpolation=how)
    return padded, scale


def _pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round kernels to 8 bits, with a scale for each output channel, and the rest to half precision."""
    packed: dict[str, Tensor] = {}
    for name, values in state.items():
        if values.ndim == 4:
            scale = (values.abs().amax(dim=(1, 2, 3), keepdim=True) / 127).clamp(min=1e-6).half()
            packed[f"{name}.scale"] = scale
            packed[name] = (values / scale.float()).round().clamp(-127, 127).to(torch.int8)
        else:
            packed[name] = values.half()
    return packed


def _unpack(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    scales = {name.removesuffix(".scale"): scale.float() for name, scale in packed.items() if name.endswith(".scale")}
    return {
        name: values.float() * scales.get(name, 1.0) for name, values in packed.items() if not name.endswith(".scale")
    }


def _scaled(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _read_boxes(found: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Turn a head's output (B, 1 + 44, h, w) into boxes (B, h * w, 4) as x1, y1, x2, y2 and scores (B, h * w)."""
    height, width = found.shape[2:]
    scores = found[:, 0].flatten(1).sigmoid()
    steps = torch.arange(_STEPS, dtype=found.dtype, device=found.device)
    sides = found[:, 1:].flatten(2).transpose(1, 2).unflatten(-1, (4, _STEPS)).softmax(dim=-1) @ steps * stride
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    center = torch.stack([x, y], dim=-1).flatten(0, 1).to(found) * stride
    return torch.cat([center - sides[..., :2], center + sides[..., 2:]], dim=-1), scores
