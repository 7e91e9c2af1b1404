"""PoseTokenizer: poses to integer tokens and back; the model of stage one and the codec that people use."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pct.layers.quantizer import EMAQuantizer, FSQQuantizer, Quantizer
from pct.models import checkpoint
from pct.models.folding import FoldedTokenizer
from pct.models.pose_networks import JointEmbedding, MixerDecoder, MixerEncoder, MlpEncoder
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, Skeleton


@dataclass(frozen=True)
class TokenizerSizes:
    """All sizes of a pose tokenizer. The defaults are the paper's.

    Attributes:
        num_tokens: Tokens M a pose.
        codebook_size: Entries V.
        codebook_dim: Width D of an entry; with ``fsq`` the number of levels.
        encoder: ``mixer`` (the paper's) or ``mlp`` (a residual MLP over all joints at once).
        joint_width: Width of a joint's embedding with ``mlp``; a mixer's is ``encoder_width``.
        encoder_width: Channels of the encoder's blocks.
        encoder_blocks: Blocks of the encoder.
        encoder_token_hidden: Hidden width of the encoder's MLPs over the joints (``mixer``).
        encoder_channel_hidden: Hidden width of the encoder's MLPs over the channels (``mixer``); 0 is
            ``encoder_width``.
        decoder_width: Channels of the decoder's blocks.
        decoder_blocks: Blocks of the decoder.
        decoder_token_hidden: Hidden width of the decoder's MLPs over the joints.
        decoder_channel_hidden: Hidden width of the decoder's MLPs over the channels; 0 is ``decoder_width``.
        guidance_channels: Channels of image features at the joints; 0 is without image guidance.
        quantizer: ``ema`` or ``fsq``.
        fsq_levels: Levels a channel of ``fsq``; their product is the codebook size.
        ema_decay: Decay of the EMA codebook.
        ema_rule: ``standard`` or ``published``; see :class:`pct.layers.quantizer.EMAQuantizer`.
        revive_below: Share of the even count under which an entry is revived.
    """

    num_tokens: int = 34
    codebook_size: int = 1024
    codebook_dim: int = 512
    encoder: Literal["mixer", "mlp"] = "mixer"
    joint_width: int = 16
    encoder_width: int = 512
    encoder_blocks: int = 4
    encoder_token_hidden: int = 64
    encoder_channel_hidden: int = 0
    decoder_width: int = 32
    decoder_blocks: int = 1
    decoder_token_hidden: int = 64
    decoder_channel_hidden: int = 0
    guidance_channels: int = 0
    quantizer: Literal["ema", "fsq"] = "ema"
    fsq_levels: tuple[int, ...] = ()
    ema_decay: float = 0.95
    ema_rule: Literal["standard", "published"] = "standard"
    revive_below: float = 0.05

    def __post_init__(self) -> None:
        for name in ("num_tokens", "codebook_size", "codebook_dim", "joint_width", "encoder_width", "decoder_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"tokenizer {name} must be at least 1, got {getattr(self, name)}")
        if self.encoder not in ("mixer", "mlp"):
            raise ValueError(f"tokenizer encoder is {self.encoder!r}; allowed are mixer, mlp")
        if self.quantizer not in ("ema", "fsq"):
            raise ValueError(f"tokenizer quantizer is {self.quantizer!r}; allowed are ema, fsq")
        if self.quantizer == "fsq":
            built = FSQQuantizer(self.fsq_levels)
            if (built.codebook_size, built.codebook_dim) != (self.codebook_size, self.codebook_dim):
                raise ValueError(
                    f"fsq_levels {list(self.fsq_levels)} make a codebook of {built.codebook_size} x {built.codebook_dim}, "
                    f"but the config says {self.codebook_size} x {self.codebook_dim}"
                )


@dataclass(frozen=True)
class TokenizerConfig(TokenizerSizes):
    """Everything that a tokenizer is built from: its sizes, and what its poses are.

    Attributes:
        skeleton: Whose joints the poses have.
        space: What the coordinates mean.
    """

    skeleton: Skeleton = COCO17
    space: PoseSpace = field(default_factory=PoseSpace)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TokenizerConfig:
        """Build the config from the plain values of :meth:`to_dict`.

        Raises:
            ValueError: On an unknown key or a bad value.
        """
        values = dict(values)
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"tokenizer config has unknown keys: {', '.join(unknown)}")
        if "skeleton" in values:
            values["skeleton"] = Skeleton.from_dict(values["skeleton"])
        if "space" in values:
            values["space"] = PoseSpace(**values["space"])
        if "fsq_levels" in values:
            values["fsq_levels"] = tuple(values["fsq_levels"])
        return cls(**values)


@dataclass(frozen=True)
class TokenizerOutput:
    """What a tokenizer makes of normalised poses.

    Attributes:
        keypoints: Decoded joints (B, K, D) in model units.
        indices: Integer tokens (B, M).
        commitment_loss: Scalar of the quantizer.
        z: Encoder features (B, M, codebook_dim) before quantization.
    """

    keypoints: Tensor
    indices: Tensor
    commitment_loss: Tensor
    z: Tensor


class PoseTokenizer(nn.Module):
    """Poses to integer tokens and back ("Human Pose as Compositional Tokens", CVPR 2023, section 3.1).

    :meth:`encode` and :meth:`decode` work in image pixels (or millimetres) and are what most people need;
    :meth:`forward` works in model units and is for training.

    Example:
        >>> tokenizer = PoseTokenizer.from_pretrained()
        >>> indices = tokenizer.encode(keypoints, visible, bbox)  # (B, 34) integers
        >>> keypoints = tokenizer.decode(indices, bbox)  # (B, 17, 2) image pixels
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        k, dims = config.skeleton.num_keypoints, config.space.num_dims
        mixer = config.encoder == "mixer"
        joint_width = config.encoder_width if mixer else config.joint_width
        self.embedding = JointEmbedding(dims, joint_width, config.guidance_channels)
        self.encoder: MixerEncoder | MlpEncoder
        if mixer:
            self.encoder = MixerEncoder(
                k,
                config.num_tokens,
                config.encoder_width,
                config.encoder_blocks,
                config.encoder_token_hidden,
                config.encoder_channel_hidden or config.encoder_width,
                config.codebook_dim,
            )
        else:
            self.encoder = MlpEncoder(
                k, config.num_tokens, joint_width, config.encoder_width, config.encoder_blocks, config.codebook_dim
            )
        self.quantizer: Quantizer
        if config.quantizer == "ema":
            self.quantizer = EMAQuantizer(
                config.codebook_size, config.codebook_dim, config.ema_decay, config.ema_rule, config.revive_below
            )
        else:
            self.quantizer = FSQQuantizer(config.fsq_levels)
        self.decoder = MixerDecoder(
            k,
            config.num_tokens,
            config.codebook_dim,
            config.decoder_width,
            config.decoder_blocks,
            config.decoder_token_hidden,
            config.decoder_channel_hidden or config.decoder_width,
            dims,
        )

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""
        return self.config.skeleton

    @property
    def space(self) -> PoseSpace:
        """What the coordinates mean."""
        return self.config.space

    def encode_features(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Map normalised joints (B, K, D) with ``visible`` (B, K) to token features (B, M, codebook_dim)."""
        return self.encoder(self.embedding(keypoints, visible, features))

    def forward(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> TokenizerOutput:
        """Encode, quantize and decode normalised poses.

        Args:
            keypoints: Joints (B, K, D) in model units.
            visible: True where the encoder may see the joint (B, K).
            features: Image features at the joints (B, K, F), for a guided tokenizer.
        """
        z = self.encode_features(keypoints, visible, features)
        quantized = self.quantizer(z)
        decoded = self.decoder(quantized.z_q).float()
        return TokenizerOutput(decoded, quantized.indices, quantized.commitment_loss, z)

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
        keypoints, visible = self._check_poses(keypoints, visible)
        if bbox is None:
            if self.space.kind == "crop2d":
                raise ValueError("encode needs the person's bbox (B, 4); pct.bbox_from_keypoints makes one from joints")
            bbox = keypoints[:, self.space.root]
        keypoints = torch.where(visible[..., None], keypoints, 0.0)
        normalised = self.space.normalise(keypoints, torch.as_tensor(bbox, device=keypoints.device))
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
        """Decode the expected codebook entry under ``probs`` (B, M, V); differentiable, for classifiers of tokens."""
        expected = (self.config.num_tokens, self.config.codebook_size)
        if probs.ndim != 3 or tuple(probs.shape[1:]) != expected:
            raise ValueError(f"probs must be (B, {expected[0]}, {expected[1]}); got shape {tuple(probs.shape)}")
        return self._restore(self.decoder(self.quantizer.expected(probs)).float(), bbox)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.mask_token.device

    def fingerprint(self) -> str:
        """Return 16 hex digits that name these weights and sizes; token files carry them."""
        return checkpoint.fingerprint(self.config.to_dict(), self.state_dict())

    def save_pretrained(self, folder: str | Path, card: str | None = None, force: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors`` (and ``README.md`` from ``card``) into ``folder``.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        checkpoint.save_model(folder, "pose_tokenizer", self.config.to_dict(), self.state_dict(), card, force)

    @classmethod
    def from_pretrained(cls, name: str | Path = "coco17", device: str | torch.device = "cpu") -> PoseTokenizer:
        """Load a tokenizer in evaluation mode.

        Args:
            name: A model folder, the name of a model that ships with the package (``coco17``), or a hub id
                (``user/model``).
            device: Where to put the weights.

        Raises:
            CheckpointError: If there is no such model or its files do not fit together.
        """
        config, state = checkpoint.load_model(name, "pose_tokenizer")
        with checkpoint.explain(name):
            model = cls(TokenizerConfig.from_dict(config))
            model.load_state_dict(state)
        return model.to(device).eval()

    def _restore(self, keypoints: Tensor, bbox: Tensor | None) -> Tensor:
        if bbox is None:
            return keypoints
        bbox = torch.as_tensor(bbox, device=keypoints.device)
        if len(bbox) != len(keypoints):
            raise ValueError(f"{len(bbox)} boxes for {len(keypoints)} poses")
        return self.space.restore(keypoints, bbox)

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
