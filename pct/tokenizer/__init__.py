"""Stage one: poses to integer tokens and back (encoder, codebook, decoder).

:class:`PoseTokenizer` is what people use; the other files are its parts.
"""

from __future__ import annotations

from pct.tokenizer.config import TokenizerConfig, TokenizerSizes
from pct.tokenizer.model import PoseTokenizer
from pct.tokenizer.quantizer import TokenizerOutput

__all__ = ["PoseTokenizer", "TokenizerConfig", "TokenizerOutput", "TokenizerSizes"]
