"""Load a script of tools/ or benchmarks/ as a module, for tests that call it in their own process."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load_tool(name: str, folder: str = "tools") -> ModuleType:
    """Return ``FOLDER/NAME.py``, executed anew."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
