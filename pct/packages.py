"""Optional packages: which extra of pct brings them, and one sentence where one is missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

# The extra that brings each package, by the name it is imported as.
EXTRAS = {
    "timm": "photo",
    "torchvision": "photo",
    "cv2": "photo",
    "PIL": "photo",
    "albumentations": "train",
    "pycocotools": "train",
    "omegaconf": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "jinja2": "train",
    "markupsafe": "train",
    "h5py": "h5",
}


class MissingPackageError(ImportError):
    """An optional package is not installed; the message says what installs it."""


def require_package(name: str, extra: str | None = None) -> ModuleType:
    """Import an optional package.

    Args:
        name: As it is imported, such as ``cv2``.
        extra: The extra of pct that brings it; by default as in :data:`EXTRAS`.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPackageError(missing_package(error.name or name, extra)) from None


def missing_package(name: str, extra: str | None = None) -> str:
    """Return the sentence that says what installs a package."""
    extra = extra or EXTRAS.get(name.split(".")[0])
    if extra is None:
        return f"the package {name} is missing; pip install {name} brings it"
    return f'this needs the package {name}; pip install "pct[{extra}]" brings it (in a checkout: ".[{extra}]")'
