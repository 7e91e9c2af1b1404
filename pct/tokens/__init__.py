"""What people do with tokens: tables of them in files, text for language models, vectors, and search for like poses.

Encoding and decoding is :class:`pct.PoseTokenizer`'s work, for whole files that of ``pct/tokens/codec.py``.
Names are loaded when they are asked for: the table and the text form need no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pct.packages import load_when_asked

if TYPE_CHECKING:
    from pct.tokens.embeddings import word_embeddings
    from pct.tokens.metadata import TokenFileError, TokenMetadata
    from pct.tokens.search import SearchResult, TokenIndex
    from pct.tokens.table import PoseTokens, TokenReader, TokenWriter, is_token_file
    from pct.tokens.text import text_to_tokens, tokens_to_text, vocabulary
    from pct.tokens.text_files import table_to_text, text_to_table

__all__ = [
    "PoseTokens",
    "SearchResult",
    "TokenFileError",
    "TokenIndex",
    "TokenMetadata",
    "TokenReader",
    "TokenWriter",
    "is_token_file",
    "table_to_text",
    "text_to_table",
    "text_to_tokens",
    "tokens_to_text",
    "vocabulary",
    "word_embeddings",
]

_MODULES = {
    "PoseTokens": "pct.tokens.table",
    "TokenReader": "pct.tokens.table",
    "TokenWriter": "pct.tokens.table",
    "is_token_file": "pct.tokens.table",
    "TokenFileError": "pct.tokens.metadata",
    "TokenMetadata": "pct.tokens.metadata",
    "SearchResult": "pct.tokens.search",
    "TokenIndex": "pct.tokens.search",
    "word_embeddings": "pct.tokens.embeddings",
    "text_to_tokens": "pct.tokens.text",
    "tokens_to_text": "pct.tokens.text",
    "vocabulary": "pct.tokens.text",
    "table_to_text": "pct.tokens.text_files",
    "text_to_table": "pct.tokens.text_files",
}
__getattr__ = load_when_asked(__name__, _MODULES)
