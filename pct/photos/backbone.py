"""Backbone: any image network of timm, by name, as a map from photos to one grid of features."""

from __future__ import annotations

import copy
import difflib
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pct import checkpoint
from pct.photos.config import BackboneSizes
from pct.photos.movenet import MOVENETS, MoveNetFeatures, create_movenet
from pct.pose_model import build_config

Network = TypeVar("Network", bound=nn.Module)
Model = TypeVar("Model", bound="BackboneModel")

# Kinds of models that :func:`load_backbone` takes a backbone from.
_WITH_BACKBONE = ("pose_backbone", "pose_classifier", "heatmap_model")
# What photos are normalised with before any backbone, whatever its own weights were trained with.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

# Our own sizes of timm's architectures: name -> (timm name, changes of its sizes).
OWN_SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    # About 1 M parameters; features at stride 16, and windows as wide as the map of a crop of 128 pixels.
    "swin_pico": (
        "swin_tiny_patch4_window7_224",
        {"patch_size": 8, "embed_dim": 64, "depths": (2, 4), "num_heads": (2, 4), "window_size": 8},
    ),
    "swinv2_pico": (
        "swinv2_tiny_window8_256",
        {"patch_size": 8, "embed_dim": 64, "depths": (2, 4), "num_heads": (2, 4), "window_size": 8},
    ),
}


class Backbone(nn.Module):
    """An image network that gives one feature map.

    Args:
        sizes: A name of timm (Swin V1 and V2, ViT, ConvNeXt, ResNet, ...) or one of :data:`OWN_SIZES`, with its sizes.
        pretrained: Take timm's weights for that name (fetched from the hub).

    Attributes:
        channels: Channels C of the features.
        stride: Pixels a step of the feature map.
        grid: Height and width of the feature map.
        is_frozen: Whether it is kept as it is while other parts of a model are trained.

    Raises:
        ValueError: If timm does not know the name (the nearest names are given), does not take an option or the image
            size, or cannot get pretrained weights.
    """

    is_frozen = False
    scale: Tensor
    shift: Tensor

    def __init__(self, sizes: BackboneSizes, pretrained: bool = False) -> None:
        super().__init__()
        height, width = map(int, sizes.image_size)
        self.name, self.image_size, stage = sizes.name, (height, width), sizes.stage
        create = create_movenet if sizes.name in MOVENETS else _create
        self.network: Any = create(sizes, pretrained)
        stages = len(self.network.feature_info)
        if not -stages <= stage < stages:
            raise ValueError(f"backbone {self.name} has {stages} stages; stage {stage} is none of them")
        self.stage = stage % stages
        info: Any = self.network.feature_info[self.stage]
        self.is_last = self.stage == stages - 1
        self.network.prune_intermediate_layers([self.stage], prune_norm=not self.is_last, prune_head=True)
        # Convolutions and batch norms on CPUs (and in half precision on GPUs) are much faster with the channels last.
        self.network.to(memory_format=torch.channels_last)
        self.channels, self.stride = int(info["num_chs"]), int(info["reduction"])
        # From ImageNet-normalised photos to what the weights were trained with.
        mean, std = (torch.tensor(self.network.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
        own_mean, own_std = (torch.tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
        self.register_buffer("scale", own_std / std, persistent=False)
        self.register_buffer("shift", (own_mean - mean) / std, persistent=False)
        self.grid = self._grid()

    def freeze(self) -> None:
        """Keep it as it is, in evaluation mode."""
        self.requires_grad_(False).eval()
        self.is_frozen = True

    def train(self, mode: bool = True) -> Backbone:
        """Set training or evaluation mode; a frozen backbone stays in evaluation mode."""
        return super().train(mode and not self.is_frozen)

    def forward(self, images: Tensor) -> Tensor:
        """Map photos (B, 3, H, W), normalised with ImageNet's mean and deviation, to features (B, C, h, w).

        Raises:
            ValueError: If the photos do not have the backbone's size.
        """
        if tuple(images.shape[1:]) != (3, *self.image_size):
            raise ValueError(
                f"photos must be (B, 3, {self.image_size[0]}, {self.image_size[1]}); got {tuple(images.shape)}"
            )
        maps: list[Tensor] = self.network.forward_intermediates(
            (images * self.scale + self.shift).contiguous(memory_format=torch.channels_last),
            indices=[self.stage],
            norm=self.is_last,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps[0]

    def _grid(self) -> tuple[int, int]:
        if isinstance(self.network, MoveNetFeatures):
            return self.network.grid
        height, width = self.image_size
        if height % self.stride == 0 and width % self.stride == 0:
            return height // self.stride, width // self.stride
        # Where a network rounds up and where it rounds down is its own affair.
        self.eval()  # or batch norms would take the empty photo for data
        with torch.no_grad():
            shape = self(torch.zeros(1, 3, height, width)).shape
        self.train()
        return int(shape[2]), int(shape[3])

    def learning_rate_scales(self, decay: float) -> dict[str, float]:
        """Return the factor of the learning rate for every parameter by name: ``decay`` to the power of its depth.

        The last layer has factor 1 and each layer before it ``decay`` times that of the next, as in BEiT (Bao et al.,
        2021) and the published PCT settings.
        """
        from timm.optim import param_groups_layer_decay

        if self.name in MOVENETS:
            raise ValueError(f"backbone {self.name} has no layers by depth; leave layer_decay at 1")
        names = {id(parameter): f"network.{name}" for name, parameter in self.network.named_parameters()}
        groups = param_groups_layer_decay(self.network, weight_decay=0.0, layer_decay=decay)
        found = {names[id(p)]: float(group["lr_scale"]) for group in groups for p in group["params"]}
        # timm counts the classifier that is cut off here as the last layer.
        top = max(found.values())
        return {name: scale / top for name, scale in found.items()}


class BackboneModel(nn.Module):
    """A model on a backbone.

    Attributes:
        kind: Of the model, in its ``config.json``.
        config: Everything that it is built from.
        backbone: Looks at the crops.
    """

    kind: ClassVar[str]
    config_type: ClassVar[Any]

    def __init__(self, config: Any, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, pretrained)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of its crops in pixels."""
        return self.backbone.image_size

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.backbone.scale.device

    def folded(self: Model) -> Model:
        """Return it for inference, with a copy of the backbone that has its batch norms folded; the rest is shared."""
        model = copy.copy(self)
        with checkpoint.in_float32(), torch.random.fork_rng(devices=[]):  # new layers are drawn, then get their weights
            model._modules = {**self._modules, "backbone": fold_batch_norms(self.backbone)}
        return model

    def save_pretrained(self, folder: str | Path, card: str | None = None, force: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        checkpoint.save_model(folder, self.kind, self.config.to_dict(), self.state_dict(), card, force)

    @classmethod
    def from_pretrained(cls: type[Model], name: str | Path, device: str | torch.device = "cpu") -> Model:
        """Load a model in evaluation mode from a folder, by the name of a shipped one, or from the hub.

        Raises:
            CheckpointError: If there is no such model or its files do not fit together.
        """
        values, state = checkpoint.load_model(name, cls.kind)
        with checkpoint.explain(name):
            model = cls(cls.config_type.from_dict(values))
            model.load_state_dict(state)
        return model.to(device).eval()


def save_backbone(folder: str | Path, sizes: BackboneSizes, backbone: Backbone, force: bool = False) -> None:
    """Write a backbone alone, which ``backbone_from=`` of a training run takes.

    Raises:
        FileExistsError: If the folder holds a model and ``force`` is not set.
    """
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    checkpoint.save_model(folder, _WITH_BACKBONE[0], {"backbone": asdict(sizes)}, state, force=force)


def load_backbone(name: str | Path) -> tuple[BackboneSizes, dict[str, Tensor]]:
    """Return sizes and state dict of a backbone that was saved alone, or in a classifier or heatmap model.

    Args:
        name: A model folder, the name of a model that ships with the package, or hf:user/model.

    Raises:
        CheckpointError: If there is no such model, its files are broken, or it has no backbone.
    """
    kind = checkpoint.model_kind(name)
    if kind not in _WITH_BACKBONE:
        alone, *rest = _WITH_BACKBONE
        raise checkpoint.CheckpointError(
            f"{name} is a {kind}; a backbone is taken from a {alone}, {rest[0]} or {rest[1]}"
        )
    config, state = checkpoint.load_model(name, kind)
    with checkpoint.explain(name):
        sizes = build_config(BackboneSizes, config["backbone"], "backbone")
    return sizes, {key.removeprefix("backbone."): w for key, w in state.items() if key.startswith("backbone.")}


def _create(sizes: BackboneSizes, pretrained: bool) -> Any:
    import timm
    from timm.layers import DropPath

    name, image_size, drop_path = sizes.name, tuple(sizes.image_size), sizes.drop_path
    timm_name, own = OWN_SIZES.get(name, (name, {}))
    if pretrained and own:
        raise ValueError(f"backbone {name} has sizes of our own, so there are no pretrained weights for it")
    if not timm.is_model(timm_name.split(".")[0]):
        known = [*OWN_SIZES, *MOVENETS, *timm.list_models()]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise ValueError(f"timm knows no backbone {name!r}; the nearest names are {', '.join(near) or 'none'}")
    values = {**own, **sizes.options}
    if drop_path:
        values["drop_path_rate"] = drop_path
    settings = timm.get_pretrained_cfg(timm_name)
    if settings is not None and settings.fixed_input_size:
        values["img_size"] = image_size
    try:
        network = timm.create_model(timm_name, pretrained=pretrained, num_classes=0, **values)
    except (TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"backbone {name} cannot be built for {image_size} with {values}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise ValueError(f"pretrained weights of backbone {name} could not be had: {error}") from error
    # timm's Swin has some by default.
    for module in network.modules() if not drop_path else ():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(f"timm's {name} gives no feature maps; choose another backbone")
    return network


def fold_batch_norms(network: Network) -> Network:
    """Return a copy in which every batch norm that follows a convolution is part of it: a third faster on a CPU.

    Which one follows which is told by the order in which a module names its parts, as in all networks of timm that have
    batch norms. What timm's batch norms do besides (drop and activation) stays in their place.

    Args:
        network: In evaluation mode; the copy must not be trained. One without batch norms is returned as it is: copies
            of large networks would take their memory twice.

    Raises:
        ValueError: If ``network`` is in training mode, in which batch norms are something else.
    """
    if network.training:
        raise ValueError("batch norms can be folded in evaluation mode only; call eval() first")
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    folded = copy.deepcopy(network)
    for module in list(folded.modules()):
        for (name, convolution), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
                setattr(module, norm_name, nn.Sequential(*rest))
    return folded
