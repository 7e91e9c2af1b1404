"""What is imported late: optional packages, one sentence where one is missing, and names that load when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

# The extra that brings each package, by the name it is imported as.
EXTRAS = {
    "timm": "photo",
    "torchvision": "photo",
    "cv2": "photo",
    "PIL": "photo",
    "albumentations": "train",
    "pycocotools": "train",
    "hotcoco": "hotcoco",
    "omegaconf": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "jinja2": "train",
    "markupsafe": "train",
    "h5py": "h5",
    "pandas": "interop",
    "supervision": "interop",
    "trackers": "track",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "ray": "ray",
}


def missing_package(name: str, extra: str | None = None) -> str:
    """Return the sentence that says what installs a package."""
    extra = extra or EXTRAS.get(name.split(".")[0])
    if extra is None:
        return f"the package {name} is missing; pip install {name} brings it"
    return f'this needs the package {name}; pip install "pct[{extra}]" brings it (in a checkout: ".[{extra}]")'


@contextmanager
def explain_missing() -> Iterator[None]:
    """Let an import in the block that fails say what installs its package.

    Raises:
        ModuleNotFoundError: In place of the one that was raised.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing_package(error.name or ""), name=error.name) from None


def load_when_asked(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__`` that imports the module of a name when the name is asked for."""

    def find(name: str) -> Any:
        if name in modules:
            return getattr(import_module(modules[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
