"""What the tests of converters share: the reference vectors of tokenizer and classification head."""

from __future__ import annotations

from pathlib import Path

import pytest
from official_weights import Reference


@pytest.fixture(scope="module", params=["unguided", "guided"])
def reference(request: pytest.FixtureRequest, shared_dir: Path) -> Reference:
    return Reference(shared_dir / "reference" / f"coco17_{request.param}.npz")
