"""Conversion of published lifters: checkpoints of FCN's PyTorch port and of the local-to-global network, one frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pct.files.npz import NpzReader
from pct.lifting.config import LifterConfig
from pct.lifting.lifter import Lifter
from pct.published.checkpoint import Names, OfficialPart
from pct.skeleton import H36M16, H36M17

# What FCN was trained on: 2D joints without neck_nose, 3D joints without the hip.
_JOINTS_2D = [H36M17.keypoint_names.index(name) for name in H36M16.keypoint_names]
_JOINTS_3D = list(range(1, 17))
_FCN_NAMES: Names = {
    r"^blocks\.(\d+)\.0\.0\.": r"linear_stages.\1.w1.",
    r"^blocks\.(\d+)\.0\.1\.": r"linear_stages.\1.batch_norm1.",
    r"^blocks\.(\d+)\.1\.0\.": r"linear_stages.\1.w2.",
    r"^blocks\.(\d+)\.1\.1\.": r"linear_stages.\1.batch_norm2.",
    r"^start\.0\.": "w1.",
    r"^start\.1\.": "batch_norm1.",
    r"^head\.": "w2.",
}
_STGCN_NAMES: Names = {
    r"^fine\.": "st_gcn_networks.",
    r"^coarse\.": "st_gcn_pool.",
    r"\.layers\.0\.": ".gcn.conv.",
    r"\.layers\.1\.": ".tcn.0.",
    r"\.layers\.4\.": ".tcn.3.",
    r"\.layers\.5\.": ".tcn.4.",
    r"\.shortcut\.": ".residual.",
    r"^input_norm\.": "data_bn.",
    r"^whole\.": "conv4.",
    r"^join\.": "conv2.",
    r"^non_local\.value\.": "non_local.g.",
    r"^non_local\.out\.": "non_local.W.0.",
    r"^non_local\.norm\.": "non_local.W.1.",
    r"^head\.": "fcn.",
}
# Groups of the graph of a single frame; those of several frames have two more, for time.
_GROUPS = 4
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class PoseStatistics:
    """Means and deviations that FCN's poses were normalised with; they are not in its checkpoint.

    Attributes:
        mean2d, std2d: Of the 16 joints of ``h36m16`` (16, 2), in pixels.
        mean3d, std3d: Of the joints of ``h36m17`` without the hip (16, 3), relative to it, in millimetres.
    """

    mean2d: Tensor
    std2d: Tensor
    mean3d: Tensor
    std3d: Tensor

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value, expected = getattr(self, name), (16, 2 if name.endswith("2d") else 3)
            if tuple(value.shape) != expected or not torch.isfinite(value).all():
                raise ValueError(f"{name} must be {expected} finite numbers; got shape {tuple(value.shape)}")
            if name.startswith("std") and not (value > 0).all():
                raise ValueError(f"{name} must be positive; its least number is {float(value.min())}")

    @classmethod
    def load(cls, path: str | Path) -> PoseStatistics:
        """Read the four arrays of an ``.npz`` file.

        Raises:
            ValueError: If the file is missing or broken, or an array is missing or of another shape.
        """
        with NpzReader(Path(path)) as file:
            arrays = file.arrays({name: (16, 2 if name.endswith("2d") else 3) for name in cls.__dataclass_fields__})
            return cls(**{name: torch.from_numpy(array).float() for name, array in arrays.items()})


def convert_lifter(
    official: Mapping[str, Tensor],
    statistics: PoseStatistics | None = None,
    image_size: tuple[float, float] = (1000.0, 1000.0),
) -> Lifter:
    """Turn a published lifter into ours; which one it is, is told from the names.

    Args:
        official: Official names with tensors, as :func:`pct.published.checkpoint.read_official` gives them.
        statistics: Of FCN's poses.
        image_size: Width and height in pixels of the images of FCN's 2D poses.

    Raises:
        ValueError: If it is neither, tensors are missing, unexpected or of another shape than the rest implies, or
            FCN has no statistics.
    """
    if "data_bn.weight" in official:
        return _convert_stgcn(official)
    if "linear_stages.0.w1.weight" not in official:
        raise ValueError(
            "this is neither FCN (linear_stages.0.w1.weight) nor the local-to-global network (data_bn.weight); it "
            f"holds {', '.join(list(official)[:4]) or 'nothing'}"
        )
    if statistics is None:
        raise ValueError("FCN reads and gives normalised poses; give the means and deviations (statistics)")
    return _convert_fcn(official, statistics, image_size)


def _convert_fcn(official: Mapping[str, Tensor], statistics: PoseStatistics, image_size: tuple[float, float]) -> Lifter:
    """Return FCN's PyTorch port (github.com/weigq/3d_pose_baseline_pytorch) as a lifter of the 17 joints.

    It reads no ``neck_nose`` and gives no hip: these get weights of 0. The 2D statistics go to the normaliser, those of
    3D into the last layer.
    """
    part = OfficialPart(_with_counters(official))
    width, depth = part.size("w1.weight", 0), part.count("linear_stages.")
    lifter = Lifter(
        LifterConfig("fcn", width, depth, in_channels=2, normalizer="screen", z_score=True, skeleton=H36M17)
    )
    ours = lifter.trunk.state_dict()
    published = {"start.0.weight": (width, 32), "head.weight": (48, width), "head.bias": (48,)}
    shapes = {**ours, **{name: torch.empty(shape) for name, shape in published.items()}}
    state = part.rename(shapes, _FCN_NAMES, "FCN")
    mean, std = statistics.mean3d / lifter.space.millimetres, statistics.std3d / lifter.space.millimetres
    start, head, bias = torch.zeros(width, 17, 2), torch.zeros(17, 3, width), torch.zeros(17, 3)
    start[:, _JOINTS_2D] = state["start.0.weight"].unflatten(1, (16, 2))
    head[_JOINTS_3D] = state["head.weight"].unflatten(0, (16, 3)) * std[..., None]
    bias[_JOINTS_3D] = state["head.bias"].unflatten(0, (16, 3)) * std + mean
    state |= {"start.0.weight": start.flatten(1), "head.weight": head.flatten(0, 1), "head.bias": bias.flatten()}
    lifter.trunk.load_state_dict(state)
    # Pixels to the screen's units are one more linear map.
    lifter.normalizer.mean[_JOINTS_2D] = (2 * statistics.mean2d - torch.tensor(image_size)) / image_size[0]
    lifter.normalizer.std[_JOINTS_2D] = 2 * statistics.std2d / image_size[0]
    return lifter.eval()


def _convert_stgcn(official: Mapping[str, Tensor]) -> Lifter:
    """Return the official local-to-global network of one frame (Cai et al., 2019) as a lifter of the 17 joints.

    It reads joints in the screen's units and gives metres. Its features are those of the joints, then those of the body
    parts; ours are the other way round, so halves of the last layers' channels change places.
    """
    part = OfficialPart({name: _as_linear(name, tensor) for name, tensor in _with_counters(official).items()})
    width = part.size("st_gcn_networks.0.tcn.0.weight", 0)
    groups = OfficialPart(official).size("st_gcn_networks.0.gcn.conv.weight", 0) / width
    if groups != _GROUPS:
        raise ValueError(
            f"its graph has {groups:g} groups of edges, as that of several frames has; only the network of a single "
            f"frame, with {_GROUPS}, can be converted"
        )
    lifter = Lifter(LifterConfig("stgcn", width, in_channels=2, normalizer="screen", skeleton=H36M17))
    state = part.rename(lifter.trunk.state_dict(), _STGCN_NAMES, "local-to-global network of one frame")
    for name, tensor in state.items():
        reads = re.fullmatch(r"(non_local\.(theta|phi|value)|head\.1)\.weight", name)
        if reads or (re.match(r"non_local\.(out|norm)\.", name) and tensor.ndim):
            state[name] = tensor.roll(2 * width, dims=1 if reads else 0)
    lifter.trunk.load_state_dict(state)
    return lifter.eval()


def _with_counters(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with batch normalisation's counters, which checkpoints of the first versions of torch lack."""
    stems = [name.removesuffix("running_mean") for name in official if name.endswith("running_mean")]
    return {**{f"{stem}{_COUNTER}": torch.tensor(0) for stem in stems}, **official}


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    """Return the weight of a 1x1 convolution as that of a linear map, and what belongs to a graph by its groups."""
    flat = tensor[..., 0, 0] if tensor.ndim == 4 and tensor.shape[2:] == (1, 1) else tensor
    graph = ".gcn.conv." in name and len(flat) % _GROUPS == 0
    return flat.unflatten(0, (_GROUPS, -1)) if graph else flat
