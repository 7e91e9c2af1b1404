"""The place of ``pct.tokens.text`` in version 0.1, whose users have it in their code."""

from pct.tokens.text import parse_text, text_to_tokens, tokens_to_text, vocabulary

__all__ = ["parse_text", "text_to_tokens", "tokens_to_text", "vocabulary"]
