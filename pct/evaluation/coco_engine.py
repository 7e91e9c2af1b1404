"""Which program measures COCO's AP: pycocotools, the reference, or hotcoco, which gives the same numbers faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

COCO_ENGINES = ("pycocotools", "hotcoco")
_chosen: ContextVar[str] = ContextVar("coco_engine", default=COCO_ENGINES[0])


@contextmanager
def use_coco_engine(name: str) -> Iterator[None]:
    """Let an engine measure within the block.

    Raises:
        ValueError: If there is no such engine.
        ModuleNotFoundError: If its package is missing.
    """
    if name not in COCO_ENGINES:
        raise ValueError(f"COCO engine is {name!r}; allowed are {', '.join(COCO_ENGINES)}")
    token = _chosen.set(name)
    try:
        coco_engine()
        yield
    finally:
        _chosen.reset(token)


def coco_engine() -> tuple[Any, Any]:
    """Return the classes ``COCO`` and ``COCOeval`` of the engine in use."""
    if _chosen.get() == "hotcoco":
        import hotcoco

        return hotcoco.COCO, hotcoco.COCOeval
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return COCO, COCOeval
