"""PoseClassifier: a photo of a person to the tokens of its pose, decoded by a frozen tokenizer; stage two's model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct.layers.backbone import Backbone
from pct.layers.cells import CellGrid
from pct.layers.heatmap_head import HeatmapHead
from pct.layers.heatmap_refiner import HeatmapRefiner
from pct.layers.positions import grid_positions
from pct.models import checkpoint
from pct.models.joint_head import JointMaps, JointTokenHead
from pct.models.own_tokenizer import TOKENIZER_FOLDER, load_own_tokenizer
from pct.models.photo_config import BackboneSizes, Calibration, HeadSizes, HeatmapSizes
from pct.models.published_head import PublishedTokenHead
from pct.models.token_head import QueryTokenHead
from pct.models.tokenizer import PoseTokenizer

TokenHead = JointTokenHead | QueryTokenHead | PublishedTokenHead

KIND = "pose_classifier"


@dataclass(frozen=True)
class ClassifierConfig:
    """Everything that a classifier is built from, besides its tokenizer.

    Attributes:
        backbone: Its sizes.
        head: Its sizes.
        calibration: Of the joints' confidence.
    """

    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    head: HeadSizes = field(default_factory=HeadSizes)
    calibration: Calibration = field(default_factory=Calibration)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassifierConfig:
        """Build the config from the plain values of :meth:`to_dict`.

        Raises:
            ValueError: On an unknown key or a bad value.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"classifier config has unknown keys: {', '.join(unknown)}")
        backbone = {**values["backbone"], "image_size": tuple(values["backbone"]["image_size"])}
        head = {**values["head"], "heatmap": HeatmapSizes(**values["head"].get("heatmap", {}))}
        return cls(BackboneSizes(**backbone), HeadSizes(**head), Calibration(**values["calibration"]))


@dataclass(frozen=True)
class ClassifierOutput:
    """What a classifier makes of photos.

    Attributes:
        logits: Over the codebook's entries for every token (B, M, V).
        keypoints: The expected pose (B, K, D) in model units: the decoded mixture of the entries.
        heatmaps: One a joint (B, K, h, w), near 1 where it is; None from heads that do not look for joints.
        first_heatmaps: The same before the second look, for heads that look twice.
        estimate: The joints (B, K, D) in model units that such a head makes the tokens from.
        similarity: Logarithms of the odds (B, K) of each joint's similarity to the truth, from heads that foresee it.
        temperature: What the logits are divided by for probabilities.
    """

    logits: Tensor
    keypoints: Tensor
    heatmaps: Tensor | None = None
    first_heatmaps: Tensor | None = None
    estimate: Tensor | None = None
    similarity: Tensor | None = None
    temperature: float = 1.0

    @property
    def probs(self) -> Tensor:
        """Probabilities of the entries (B, M, V)."""
        return (self.logits / self.temperature).softmax(dim=-1)


class PoseClassifier(nn.Module):
    """Reads the tokens of a person's pose off a photo ("Human Pose as Compositional Tokens", 2023, section 3.2).

    The tokenizer's codebook and decoder are part of it and frozen; its encoder only makes labels for training.

    Args:
        config: Sizes.
        tokenizer: Trained tokenizer; it is frozen.
        pretrained: Take timm's weights for the backbone.
    """

    def __init__(self, config: ClassifierConfig, tokenizer: PoseTokenizer, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.backbone = config.backbone.build(pretrained)
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.backbone_is_frozen = False
        self.tokens_are_apart = False
        self.head = _build_head(config.head, self.backbone, tokenizer)
        self.strides = config.head.heatmap.finer_strides(self.backbone) if config.head.kind == "joint" else []
        codes = 0 if isinstance(self.head, JointTokenHead) else self.head.position_channels
        positions = grid_positions(self.backbone.grid, codes)
        self.register_buffer("positions", positions, persistent=False)

    positions: Tensor

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Map normalised crops (B, 3, H, W) to logits and expected poses in model units."""
        rows, finer = self._features(images)
        return self._read(rows, self.head.look(rows, finer) if isinstance(self.head, JointTokenHead) else None)

    def read_both_views(self, images: Tensor) -> ClassifierOutput:
        """Read crops (B, 3, H, W) and their mirror images, which come behind them in the output (2 B rows).

        A head with heatmaps reads the mean of both views' heatmaps on either side: what one view finds the other
        need not guess.
        """
        rows, finer = self._features(torch.cat([images, images.flip(-1)]))
        if not isinstance(self.head, JointTokenHead):
            return self._read(rows, None)
        flip_index = torch.from_numpy(self.tokenizer.skeleton.flip_index)
        maps = self.head.look(rows, finer)
        straight, mirrored = maps.heatmaps.chunk(2)
        mean = (straight + self.head.cells.mirror(mirrored, flip_index)) / 2
        both = torch.cat([mean, self.head.cells.mirror(mean, flip_index)])
        return self._read(rows, replace(maps, heatmaps=both))

    def decode(self, logits: Tensor, sharpness: float | None = None) -> Tensor:
        """Return the expected poses (B, K, D) of logits (B, M, V), in model units.

        Args:
            logits: Of the head.
            sharpness: What logits are multiplied by; the calibration's by default.
        """
        sharpness = self.config.calibration.sharpness if sharpness is None else sharpness
        return self.tokenizer.decode_soft((logits * sharpness).softmax(dim=-1))

    def _features(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the backbone's features (B, h * w, C), and maps of the finer ones that the head's heatmaps take."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.backbone_is_frozen):
            features, finer = self.backbone.pyramid(images, self.strides)
        return features.flatten(2).transpose(1, 2), finer

    def _read(self, rows: Tensor, maps: JointMaps | None) -> ClassifierOutput:
        """Read features (B, P, C), and what the head sees in them if it looks for joints."""
        temperature = self.config.head.temperature
        if not isinstance(self.head, JointTokenHead) or maps is None:
            positions = self.positions.to(rows.dtype).expand(len(rows), -1, -1)
            logits = self.head(torch.cat([rows, positions], dim=-1))
            return ClassifierOutput(logits, self.decode(logits), temperature=temperature)
        given = (rows.detach(), maps.detach()) if self.tokens_are_apart else (rows, maps)
        reading = self.head.read(*given)
        return ClassifierOutput(
            reading.logits,
            self.decode(reading.logits),
            maps.heatmaps,
            maps.first,
            reading.estimate,
            reading.similarity,
            temperature,
        )

    @property
    def cells(self) -> CellGrid | None:
        """Where the cells of the head's heatmaps lie in the crop; None from heads without heatmaps."""
        return self.head.cells if isinstance(self.head, JointTokenHead) else None

    def freeze_backbone(self) -> None:
        """Keep the backbone as it is, in evaluation mode, while the head is trained."""
        self.backbone.requires_grad_(False).eval()
        self.backbone_is_frozen = True

    def keep_tokens_apart(self) -> None:
        """Let the losses of tokens and poses train neither backbone nor heatmaps, which learn from heatmaps alone.

        Then these are those of a heatmap model trained as long, as the frozen backbone of the paper is.

        Raises:
            ValueError: If the head has no heatmaps, so that nothing would train the backbone.
        """
        if not isinstance(self.head, JointTokenHead):
            raise ValueError(
                f"a {self.config.head.kind} head has no heatmaps; only a joint head's tokens can be kept apart"
            )
        self.tokens_are_apart = True

    def train(self, mode: bool = True) -> PoseClassifier:
        """Set training or evaluation mode; the tokenizer and a frozen backbone stay in evaluation mode."""
        super().train(mode)
        self.tokenizer.eval()
        if self.backbone_is_frozen:
            self.backbone.eval()
        return self

    def save_pretrained(self, folder: str | Path, card: str | None = None, force: bool = False) -> None:
        """Write ``config.json``, ``model.safetensors`` and the tokenizer's folder ``tokenizer/`` into ``folder``.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("tokenizer.")}
        config = {**self.config.to_dict(), "tokenizer": self.tokenizer.fingerprint()}
        checkpoint.save_model(folder, KIND, config, state, card, force)
        self.tokenizer.save_pretrained(Path(folder) / TOKENIZER_FOLDER, force=force)

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str | torch.device = "cpu") -> PoseClassifier:
        """Load a classifier with its tokenizer, in evaluation mode.

        Args:
            name: A model folder, the name of a model that ships with the package, or a hub id.
            device: Where to put the weights.

        Raises:
            CheckpointError: If there is no such model, its files do not fit together, or its tokenizer is not the one
                that the head was trained for.
        """
        values, state = checkpoint.load_model(name, KIND)
        trained_for = values.pop("tokenizer", None)
        tokenizer = load_own_tokenizer(name, trained_for)
        with checkpoint.explain(name):
            model = cls(ClassifierConfig.from_dict(values), tokenizer)
            model.load_state_dict({**state, **_with_prefix(tokenizer.state_dict())})
        return model.to(device).eval()


def _build_head(sizes: HeadSizes, backbone: Backbone, tokenizer: PoseTokenizer) -> TokenHead:
    channels, tokens, codebook = backbone.channels, tokenizer.config.num_tokens, tokenizer.quantizer.codebook.detach()
    if sizes.kind == "joint":
        return _build_joint_head(sizes, backbone, tokenizer)
    if sizes.kind == "query":
        return QueryTokenHead(channels, tokens, codebook, sizes.width, sizes.num_heads, sizes.num_blocks)
    return PublishedTokenHead(
        channels,
        backbone.grid,
        tokens,
        len(codebook),
        width=sizes.width,
        num_blocks=sizes.num_blocks,
        conv_channels=sizes.conv_channels,
        token_hidden=sizes.token_hidden,
        channel_hidden=sizes.channel_hidden,
        conv_blocks=sizes.conv_blocks,
    )


def _build_joint_head(sizes: HeadSizes, backbone: Backbone, tokenizer: PoseTokenizer) -> JointTokenHead:
    heatmap, joints, space = sizes.heatmap, tokenizer.skeleton.num_keypoints, tokenizer.space
    scale = 2**heatmap.num_deconvs
    fine = (backbone.grid[0] * scale, backbone.grid[1] * scale)
    maps = heatmap.build(backbone, joints)
    return JointTokenHead(
        backbone.channels,
        CellGrid(fine, backbone.image_size, space.crop_space.bounds, heatmap.cell_center),
        backbone.grid,
        maps,
        joints,
        tokenizer.config.num_tokens,
        tokenizer.quantizer.codebook.detach(),
        # An encoder that wants image features cannot take joints alone.
        tokenizer.encode_whole if not tokenizer.config.guidance_channels else None,
        sizes.width,
        sizes.num_blocks,
        space.root if space.kind == "root3d" else None,
        _build_refiner(sizes, maps, joints) if sizes.refine_blocks else None,
        sizes.foresee_similarity,
    )


def _build_refiner(sizes: HeadSizes, maps: HeatmapHead, num_keypoints: int) -> HeatmapRefiner:
    coarse, fine = maps.widths[-2:]
    return HeatmapRefiner(num_keypoints, coarse, fine, sizes.refine_width, sizes.refine_blocks, sizes.refine_kernel)


def _with_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"tokenizer.{name}": value for name, value in state.items()}
