"""Conversion of EfficientNet-Lite with ImageNet weights (``efficientnet-lite-pytorch``) into a backbone."""

from __future__ import annotations

from pathlib import Path

from pct.photos.backbone import Backbone
from pct.photos.config import BackboneSizes
from pct.published.checkpoint import read_official

# Tensors behind those of the backbone: last convolution, its batch norm and the linear layer of the classifier.
_REST = 8
_STEM = (32, 3, 3, 3)
_NAMES = tuple(f"tf_efficientnet_lite{number}" for number in range(5))


def convert_efficientnet_lite(
    path: str | Path, image_size: tuple[int, int], stage: int = -1
) -> tuple[BackboneSizes, Backbone]:
    """Turn a state dict of ``efficientnet-lite-pytorch`` into a backbone of timm's network of the same size.

    Both networks hold the same tensors in the same order under other names; batch norms have epsilon 0.001 and
    convolutions TensorFlow's padding in both, so the features are equal.

    Args:
        path: The ``.pth`` file, a plain state dict.
        image_size: Height and width of the crops that the backbone will see.
        stage: Whose features it gives; see :class:`~pct.photos.config.BackboneSizes`.

    Returns:
        Its sizes, and the backbone in evaluation mode.

    Raises:
        ValueError: If the file is none or is of another network.
    """
    given = list(read_official(path).values())
    # All sizes begin with the same layer.
    alike = bool(given) and tuple(given[0].shape) == _STEM
    for name in _NAMES if alike else ():
        whole = Backbone(BackboneSizes(name, image_size)).state_dict()
        shapes = [tuple(value.shape) for value in whole.values()]
        if shapes == [tuple(value.shape) for value in given[:-_REST]]:
            sizes = BackboneSizes(name, image_size, stage)
            backbone = Backbone(sizes)
            state = dict(zip(whole, given, strict=False))
            backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
            return sizes, backbone.eval()
    raise ValueError(f"{path}: not an EfficientNet-Lite 0 to 4: {len(given)} tensors of other shapes")
