"""PoseTokenizer: poses to integer tokens and back; the model of stage one and the codec that people use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pct import checkpoint
from pct.photos.guide import ImageGuide
from pct.pose_model import PoseModel
from pct.tokenizer.checks import check_indices, check_poses, check_precision, check_probs, read_results
from pct.tokenizer.coarse_fine import CoarseFineQuantizer
from pct.tokenizer.codebook import TRAINING_BUFFERS
from pct.tokenizer.columns import TokenColumns
from pct.tokenizer.config import TokenizerConfig
from pct.tokenizer.folding import FoldedTokenizer
from pct.tokenizer.networks import JointEmbedding, PoseDecoder, PoseEncoder, TokenDecoder, TokenEncoder
from pct.tokenizer.quantizer import EMAQuantizer, FSQQuantizer, Quantizer, TokenizerOutput
from pct.tokenizer.residual import ResidualQuantizer

GUIDANCE_FOLDER = "guidance"
_QUANTIZERS = {"parallel": EMAQuantizer, "coarse_fine": CoarseFineQuantizer, "residual": ResidualQuantizer}


def build_quantizer(config: TokenizerConfig) -> Quantizer:
    """Return the codebook of the config's kind, and how the tokens read it."""
    return FSQQuantizer(config) if config.quantizer == "fsq" else _QUANTIZERS[config.layout](config)


class PoseTokenizer(TokenColumns, PoseModel):
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

    config: TokenizerConfig

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
        parallel = config.layout == "parallel"
        self.embedding = JointEmbedding(config)
        self.encoder: TokenEncoder | PoseEncoder = TokenEncoder(config) if parallel else PoseEncoder(config)
        self.quantizer = build_quantizer(config)
        self.decoder: TokenDecoder | PoseDecoder = TokenDecoder(config) if parallel else PoseDecoder(config)

    @property
    def shortest_prefix(self) -> int:
        """Fewest tokens that :meth:`decode` takes: M for models whose tokens are not ordered."""
        return self.quantizer.shortest_prefix

    def encode_features(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Map normalised joints (B, K, D) with ``visible`` (B, K) to what is quantized.

        Returns:
            Token features (B, M, codebook_dim), or the pose as the encoder believes it to be (B, K, D).
        """
        return self.encoder(self.embedding(keypoints, visible, features), keypoints, visible)

    def encode_whole(self, keypoints: Tensor) -> Tensor:
        """Map normalised joints (B, K, D), all of them known, to what each token sees (B, M, width of an entry)."""
        visible = keypoints.new_ones(keypoints.shape[:2], dtype=torch.bool)
        return self.quantizer.features(self.encode_features(keypoints.float(), visible))

    def forward(
        self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None, prefix: Tensor | None = None
    ) -> TokenizerOutput:
        """Encode, quantize and decode normalised poses.

        Args:
            keypoints: Joints (B, K, D) in model units.
            visible: True where the encoder may see the joint (B, K).
            features: Image features at the joints (B, K, F), for a guided tokenizer.
            prefix: Share of its optional tokens that the decoder gets of each pose (B,), in [0, 1]: 0 is the shortest
                prefix, 1 all tokens. All by default.
        """
        z = self.encode_features(keypoints, visible, features)
        lengths = None
        if prefix is not None:
            shortest = self.shortest_prefix
            lengths = shortest + (prefix * (self.config.num_tokens - shortest)).round().long()
        quantized = self.quantizer(z, lengths)
        # Half precision would round a coordinate to half a pixel of the crop.
        with torch.autocast(z.device.type, enabled=False):
            decoded = self.decoder(quantized.z_q)
        estimate = z if self.config.layout != "parallel" else None
        return TokenizerOutput(**vars(quantized), keypoints=decoded, estimate=estimate)

    @torch.no_grad()
    @checkpoint.in_float32()
    def encode(
        self,
        keypoints: Tensor | Any,
        visible: Tensor | None = None,
        bbox: Tensor | None = None,
        features: Tensor | None = None,
    ) -> Tensor:
        """Turn poses into integer tokens.

        Args:
            keypoints: Joints (B, K, 2) in image pixels, or (B, K, 3) in millimetres; or, alone, what
                :func:`pct.adapters.as_poses` takes: a file or results of COCO, of Ultralytics, supervision's keypoints.
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
        check_precision(self)
        if bbox is None and self.space.kind == "crop2d":
            keypoints, visible, bbox = read_results(self, keypoints, visible)
        keypoints, visible = check_poses(self, keypoints, visible)
        bbox = torch.as_tensor(keypoints[:, self.space.root] if bbox is None else bbox, device=keypoints.device)
        normalised = self.space.normalise(torch.where(visible[..., None], keypoints, 0.0), bbox)
        if len(normalised) == 0:
            return torch.zeros(0, self.config.num_tokens, dtype=torch.int64, device=keypoints.device)
        return FoldedTokenizer.of(self).encode(normalised, visible, features)

    @torch.no_grad()
    @checkpoint.in_float32()
    def decode(self, indices: Tensor, bbox: Tensor | None = None) -> Tensor:
        """Turn integer tokens into poses; every joint is filled in, also those unknown to the encoder.

        Args:
            indices: Tokens (B, M) in [0, codebook_size). Of a model whose tokens are ordered the first m of them do:
                (B, m), m at least :attr:`shortest_prefix`; the pose is coarser then.
            bbox: The boxes (B, 4) given to :meth:`encode`, or root positions (B, 3); without it the joints stay in
                model units.

        Returns:
            Joints (B, K, D), float32, in image pixels, millimetres, or model units without ``bbox``.

        Raises:
            ValueError: On a wrong shape, a prefix of a model whose tokens are not ordered, or an id outside the
                codebook.
        """
        check_precision(self)
        indices = check_indices(self, torch.as_tensor(indices, device=self.device))
        return self._restore(FoldedTokenizer.of(self).decode(indices), bbox)

    @torch.no_grad()
    @checkpoint.in_float32()
    def embeddings(self) -> Tensor:
        """Return one vector for every token and id (M, V, D), float32: a start for the embeddings of other models.

        Ids with near vectors say like things. Vectors of one token position can be compared with each other.
        """
        return self.quantizer.embeddings().detach().clone()

    @torch.no_grad()
    @checkpoint.in_float32()
    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (B, M, D), float32, of integer tokens (B, M), or of a prefix.

        Raises:
            ValueError: As :meth:`decode`.
        """
        indices = check_indices(self, torch.as_tensor(indices, device=self.device))
        tables = self.quantizer.embeddings()[: indices.shape[1]]
        return tables[torch.arange(indices.shape[1], device=self.device), indices]

    @checkpoint.in_float32()
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
        check_precision(self)
        probs = check_probs(self, probs)
        with torch.autocast(probs.device.type, enabled=False):
            decoded = self.decoder(self.quantizer.expected(probs))
        return self._restore(decoded, bbox)

    def fingerprint(self) -> str:
        """Return 16 hex digits that name these weights and sizes; token files carry them."""
        # Defaults stay out: a setting that a later version adds must not rename the models of today.
        defaults = TokenizerConfig().to_dict()
        values = {name: value for name, value in self.config.to_dict().items() if value != defaults[name]}
        return checkpoint.fingerprint(values, self._own_state())

    def save_pretrained(
        self, folder: str | Path, card: str | None = None, force: bool = False, half: bool = False
    ) -> None:
        """Write ``config.json`` and ``model.safetensors`` (and ``README.md`` from ``card``) into ``folder``.

        The guide, if any, goes into the folder ``guidance`` there.

        Args:
            folder: Where to.
            card: What people should know of the model.
            force: Whether a model there is replaced.
            half: Round the weights to 16 bits, half the size. What is loaded then is a model of its own, with another
                fingerprint and a few other ids than this one.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        state = {name: value.half() if half else value for name, value in self._own_state().items()}
        checkpoint.save_model(folder, "pose_tokenizer", self.config.to_dict(), state, card, force)
        if self.guide is not None:
            self.guide.save_pretrained(Path(folder) / GUIDANCE_FOLDER, force=force)

    @classmethod
    def from_pretrained(cls, name: str | Path = "coco17", device: str | torch.device = "cpu") -> PoseTokenizer:
        """Load a tokenizer in evaluation mode, with its guide where the folder has one.

        Args:
            name: A model folder, the name of a model that ships with the package (``coco17``), or
                ``hf:user/model``.
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
            model._load_own_state(state)
        return model.to(device).eval()

    def _own_state(self) -> dict[str, Tensor]:
        """Return what a saved model holds: neither the guide, in a folder of its own, nor what only training needs."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith("guide.") and name.rpartition(".")[2] not in TRAINING_BUFFERS
        }

    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        """Take the weights of a saved model; counts and sums that only training needs are put beside them."""
        # Models of version 0.1 kept the entries one level higher.
        entries = "quantizer.codebook_buffer"
        if entries in state:
            state = {**state, "quantizer.codebook.codebook_buffer": state[entries]}
            del state[entries]
        kept = {name: value.float() for name, value in state.items() if name.rpartition(".")[2] not in TRAINING_BUFFERS}
        whole = self.state_dict()
        self.load_state_dict({**{n: v for n, v in whole.items() if n not in self._own_state()}, **kept})
        for codebook in self.quantizer.codebooks:
            codebook.resume()

    def _restore(self, keypoints: Tensor, bbox: Tensor | None) -> Tensor:
        if bbox is None:
            return keypoints
        return self.space.restore(keypoints, torch.as_tensor(bbox, device=keypoints.device))
