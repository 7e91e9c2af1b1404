"""A tokenizer of every kind."""

from __future__ import annotations

import pytest
from tiny_tokenizers import KINDS, make

from pct import PoseTokenizer


@pytest.fixture(params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> PoseTokenizer:
    return make(KINDS[request.param])
