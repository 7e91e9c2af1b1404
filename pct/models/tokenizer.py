"""PoseTokenizer: poses to integer tokens and back; the model of stage one and the codec that people use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pct.models import checkpoint
from pct.models.build import build_decoder, build_encoder, build_fill, build_quantizer
from pct.models.folding import FoldedTokenizer
from pct.models.guide import ImageGuide
from pct.models.pose_networks import JointEmbedding
from pct.models.tokenizer_config import TokenizerConfig, TokenizerSizes
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

__all__ = ["PoseTokenizer", "TokenizerConfig", "TokenizerOutput", "TokenizerSizes"]

GUIDANCE_FOLDER = "guidance"


@dataclass(frozen=True)
class TokenizerOutput:
    """What a tokenizer makes of normalised poses.

    Attributes:
        keypoints: Decoded joints (B, K, D) in model units.
        indices: Integer tokens (B, M).
        commitment_loss: Scalar of the quantizer.
        z: Encoder features (B, M, codebook_dim) before quantization.
        estimate: Joints (B, K, D) in model units with the unknown ones estimated, before encoding; None where no
            network learns that.
    """

    keypoints: Tensor
    indices: Tensor
    commitment_loss: Tensor
    z: Tensor
    estimate: Tensor | None = None


class PoseTokenizer(nn.Module):
    """Poses to integer tokens and back ("Human Pose as Compositional Tokens", CVPR 2023, section 3.1).

    :meth:`encode` and :meth:`decode` work in image pixels (or millimetres) and are what most people need;
    :meth:`forward` works in model units and is for training.

    Example:
        >>> tokenizer = PoseTokenizer.from_pretrained()
        >>> indices = tokenizer.encode(keypoints, visible, bbox)  # (B, 34) integers
        >>> keypoints = tokenizer.decode(indices, bbox)  # (B, 17, 2) image pixels

    Args:
        config: Sizes.
        guide: Gives the image features of a tokenizer with image guidance; without it they must be had elsewhere.
    """

    def __init__(self, config: TokenizerConfig, guide: ImageGuide | None = None) -> None:
        super().__init__()
        self.config = config
        self.guide = guide
        if guide is not None and (guide.channels, guide.fingerprint()) != (
            config.guidance_channels,
            config.guidance_from,
        ):
            raise ValueError(
                f"the tokenizer is guided by {config.guidance_channels} features of backbone "
                f"{config.guidance_from or 'unknown'}, not by {guide.channels} of {guide.fingerprint()}"
            )
        self.fill_is_frozen = False
        joint_width = config.encoder_width if config.encoder == "mixer" else config.joint_width
        self.embedding = JointEmbedding(
            config.space.num_dims, joint_width, config.guidance_channels, build_fill(config)
        )
        self.encoder = build_encoder(config, joint_width)
        self.quantizer = build_quantizer(config)
        self.decoder = build_decoder(config)

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""
        return self.config.skeleton

    @property
    def space(self) -> PoseSpace:
        """What the coordinates mean."""
        return self.config.space

    def freeze_fill(self) -> None:
        """Keep the network that estimates unknown joints as it is, in evaluation mode, while the rest is trained."""
        if self.embedding.fill is not None:
            self.embedding.fill.requires_grad_(False).eval()
            self.fill_is_frozen = True

    def train(self, mode: bool = True) -> PoseTokenizer:
        """Set training or evaluation mode; a frozen part stays in evaluation mode."""
        super().train(mode)
        if self.fill_is_frozen and self.embedding.fill is not None:
            self.embedding.fill.eval()
        return self

    def encode_features(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Map normalised joints (B, K, D) with ``visible`` (B, K) to token features (B, M, codebook_dim)."""
        return self.encoder(self.embedding(keypoints, visible, features))

    def encode_whole(self, keypoints: Tensor) -> Tensor:
        """Map normalised joints (B, K, D), all of them known, to token features (B, M, codebook_dim)."""
        visible = keypoints.new_ones(keypoints.shape[:2], dtype=torch.bool)
        # Nothing is unknown, so nothing is filled in.
        return self.encoder(self.embedding.embed(keypoints.float(), visible))

    def forward(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> TokenizerOutput:
        """Encode, quantize and decode normalised poses.

        Args:
            keypoints: Joints (B, K, D) in model units.
            visible: True where the encoder may see the joint (B, K).
            features: Image features at the joints (B, K, F), for a guided tokenizer.
        """
        joints = self.embedding.start(keypoints, visible)
        z = self.encoder(self.embedding.embed(joints, visible, features))
        quantized = self.quantizer(z)
        # Half precision would round a coordinate to half a pixel of the crop.
        with torch.autocast(z.device.type, enabled=False):
            decoded = self.decoder(quantized.z_q)
        estimate = joints if self.config.fill == "network" else None
        return TokenizerOutput(decoded, quantized.indices, quantized.commitment_loss, z, estimate)

    @torch.no_grad()
    def encode(
        self,
        keypoints: Tensor,
        visible: Tensor | None = None,
        bbox: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Turn poses into integer tokens.

        Args:
            keypoints: Joints (B, K, 2) in image pixels, or (B, K, 3) in millimetres.
            visible: True where a joint is known (B, K); all are when it is not given. Unknown joints may hold any
                number, NaN included.
            bbox: Person boxes (B, 4) as x, y, width, height in image pixels; for 3D poses the position of the root
                joint (B, 3), by default the pose's own.
            features: Image features at the joints (B, K, F), for a guided tokenizer.

        Returns:
            Tokens (B, M), int64 in [0, codebook_size).

        Raises:
            ValueError: On a wrong shape, a pose without a known joint, a known joint that is not finite, or a box
                without area.
        """
        self._check_precision()
        keypoints, visible = self._check_poses(keypoints, visible)
        if bbox is None:
            if self.space.kind == "crop2d":
                raise ValueError("encode needs the person's bbox (B, 4); pct.bbox_from_keypoints makes one from joints")
            bbox = keypoints[:, self.space.root]
        bbox = torch.as_tensor(bbox, device=keypoints.device)
        if len(bbox) != len(keypoints):
            raise ValueError(f"{len(bbox)} boxes for {len(keypoints)} poses")
        normalised = self.space.normalise(torch.where(visible[..., None], keypoints, 0.0), bbox)
        if len(normalised) == 0:
            return torch.zeros(0, self.config.num_tokens, dtype=torch.int64, device=keypoints.device)
        return FoldedTokenizer.of(self).encode(normalised, visible, features)

    @torch.no_grad()
    def decode(self, indices: Tensor, bbox: Tensor | None = None) -> Tensor:
        """Turn integer tokens into poses; every joint is filled in, also those unknown to the encoder.

        Args:
            indices: Tokens (B, M) in [0, codebook_size).
            bbox: The boxes (B, 4) given to :meth:`encode`, or root positions (B, 3); without it the joints stay in
                model units.

        Returns:
            Joints (B, K, D), float32, in image pixels, millimetres, or model units without ``bbox``.

        Raises:
            ValueError: On a wrong shape or an id outside the codebook.
        """
        self._check_precision()
        indices = torch.as_tensor(indices, device=self.device)
        m, v = self.config.num_tokens, self.config.codebook_size
        if indices.ndim != 2 or indices.shape[1] != m or indices.is_floating_point() or indices.dtype == torch.bool:
            raise ValueError(f"indices must be integers (B, {m}); got {indices.dtype} of shape {tuple(indices.shape)}")
        indices = indices.long()
        bad = (indices < 0) | (indices >= v)
        if bad.any():
            row, column = (int(i) for i in bad.nonzero()[0])
            raise ValueError(
                f"token {column} of row {row} is {int(indices[row, column])}; ids of this codebook go from 0 to {v - 1}"
            )
        return self._restore(FoldedTokenizer.of(self).decode(indices), bbox)

    def decode_soft(self, probs: Tensor, bbox: Tensor | None = None) -> Tensor:
        """Decode the expected codebook entry under ``probs`` (B, M, V); differentiable, for classifiers of tokens.

        It works in float32, also under autocast: half precision would round a joint to a pixel of the crop.

        Args:
            probs: Probabilities of the entries (B, M, V), of any float type.
            bbox: As for :meth:`decode`.

        Returns:
            Joints (B, K, D), float32, in the units of :meth:`decode`.

        Raises:
            ValueError: On a wrong shape, or boxes that do not fit.
        """
        self._check_precision()
        probs = torch.as_tensor(probs, dtype=torch.float32, device=self.device)
        expected = (self.config.num_tokens, self.config.codebook_size)
        if probs.ndim != 3 or tuple(probs.shape[1:]) != expected:
            raise ValueError(f"probs must be (B, {expected[0]}, {expected[1]}); got shape {tuple(probs.shape)}")
        with torch.autocast(probs.device.type, enabled=False):
            decoded = self.decoder(self.quantizer.expected(probs))
        return self._restore(decoded, bbox)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.mask_token.device

    def fingerprint(self) -> str:
        """Return 16 hex digits that name these weights and sizes; token files carry them."""
        # Defaults stay out: a setting that a later version adds must not rename the models of today.
        defaults = TokenizerConfig().to_dict()
        values = {name: value for name, value in self.config.to_dict().items() if value != defaults[name]}
        return checkpoint.fingerprint(values, self._own_state())

    def save_pretrained(self, folder: str | Path, card: str | None = None, force: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors`` (and ``README.md`` from ``card``) into ``folder``.

        The guide, if any, goes into the folder ``guidance`` there.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        checkpoint.save_model(folder, "pose_tokenizer", self.config.to_dict(), self._own_state(), card, force)
        if self.guide is not None:
            self.guide.save_pretrained(Path(folder) / GUIDANCE_FOLDER, force)

    @classmethod
    def from_pretrained(cls, name: str | Path = "coco17", device: str | torch.device = "cpu") -> PoseTokenizer:
        """Load a tokenizer in evaluation mode, with its guide where the folder has one.

        Args:
            name: A model folder, the name of a model that ships with the package (``coco17``), or a hub id
                (``user/model``).
            device: Where to put the weights.

        Raises:
            CheckpointError: If there is no such model, its files do not fit together, or its guide is not the one that
                it was trained with.
        """
        config, state = checkpoint.load_model(name, "pose_tokenizer")
        guidance = checkpoint.find_model(name) / GUIDANCE_FOLDER
        guide = ImageGuide.from_pretrained(guidance) if config.get("guidance_from") and guidance.is_dir() else None
        with checkpoint.explain(name):
            model = cls(TokenizerConfig.from_dict(config), guide)
            model.load_state_dict({**model._guide_state(), **state})
        return model.to(device).eval()

    def _own_state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.state_dict().items() if not name.startswith("guide.")}

    def _guide_state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.state_dict().items() if name.startswith("guide.")}

    def _restore(self, keypoints: Tensor, bbox: Tensor | None) -> Tensor:
        if bbox is None:
            return keypoints
        bbox = torch.as_tensor(bbox, device=keypoints.device)
        if len(bbox) != len(keypoints):
            raise ValueError(f"{len(bbox)} boxes for {len(keypoints)} poses")
        return self.space.restore(keypoints, bbox)

    def _check_precision(self) -> None:
        dtype = self.embedding.mask_token.dtype
        if dtype != torch.float32:
            raise ValueError(f"the weights are {dtype}; tokens are made and read in float32: use tokenizer.float()")

    def _check_poses(self, keypoints: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
        keypoints = torch.as_tensor(keypoints, dtype=torch.float32, device=self.device)
        expected = (self.skeleton.num_keypoints, self.space.num_dims)
        if keypoints.ndim != 3 or tuple(keypoints.shape[1:]) != expected:
            raise ValueError(
                f"keypoints must be (B, {expected[0]}, {expected[1]}) for skeleton {self.skeleton.name}; "
                f"got shape {tuple(keypoints.shape)}"
            )
        if visible is None:
            visible = torch.ones(keypoints.shape[:2], dtype=torch.bool, device=self.device)
        visible = torch.as_tensor(visible, device=self.device)
        if visible.shape != keypoints.shape[:2]:
            raise ValueError(f"visible must be {tuple(keypoints.shape[:2])}; got shape {tuple(visible.shape)}")
        visible = visible.bool()
        empty = ~visible.any(dim=1)
        if empty.any():
            raise ValueError(
                f"pose of row {int(empty.nonzero()[0])} has no visible joint, so there is nothing to encode"
            )
        broken = (~torch.isfinite(keypoints).all(dim=-1)) & visible
        if broken.any():
            row, joint = (int(i) for i in broken.nonzero()[0])
            raise ValueError(
                f"joint {self.skeleton.keypoint_names[joint]} of row {row} is {keypoints[row, joint].tolist()}; "
                "known joints must be finite (mark it not visible to have it filled in)"
            )
        return keypoints, visible
