"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("pct", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pct")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The data pack: ``PCT_SHARED`` or ``shared`` beside the checkout; tests that need it are skipped without."""
    folder = Path(os.environ.get("PCT_SHARED") or Path(__file__).parents[2] / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs the data pack, and {folder} does not exist (set PCT_SHARED)")
    return folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks as small as the tests' lose more time in waking threads than they win."""
    torch.set_num_threads(1)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder that is the current one, so that files are named as a person would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PCT_DEBUG", raising=False)
    return tmp_path
