"""The cut of the package: imports go down the floors, third-party names stay in their rooms, files stay short."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import pct

PACKAGE = Path(__file__).parents[1] / "pct"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [".".join(f.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for f in FILES]
MODULES = dict(zip(NAMES, FILES, strict=True))

# The longest prefix that fits decides. A module imports from its own floor or below it.
FLOORS = {
    "pct.skeleton": 2,
    "pct.sides": 1,
    "pct.conventions": 1,
    "pct.geometry": 1,
    "pct.distributed": 1,
    "pct.files.ahead": 1,
    "pct.files.output": 1,
    "pct.files.yaml_text": 1,
    "pct.packages": 1,
    "pct.pose_space": 2,
    "pct.pose_model": 2,
    "pct.poses": 2,
    "pct.adapters": 2,
    "pct.cameras": 2,
    "pct.checkpoint": 2,
    "pct.layers": 2,
    "pct.files": 2,
    "pct.files.motion": 3,
    "pct.files.motion.checks": 2,
    "pct.files.motion.mocap": 2,
    "pct.tokens.metadata": 2,
    "pct.tokens.table": 2,
    "pct.tokens.text": 2,
    "pct.token_text": 2,
    "pct.drawing": 2,
    "pct.evaluation.coco_ap": 2,
    "pct.evaluation.metrics": 2,
    "pct.evaluation.metrics3d": 2,
    "pct.tokenizer": 3,
    "pct.people": 3,
    "pct.photos": 3,
    "pct.lifting": 3,
    "pct.tokens": 4,
    "pct.drawing.gallery": 4,
    "pct.photos.estimator": 4,
    "pct.photos.detection": 4,
    "pct.photos.detection.nanodet": 3,
    "pct.photos.predict": 4,
    "pct.photos.results": 4,
    "pct.lifting.lift_files": 4,
    "pct.published": 4,
    "pct.export": 4,
    "pct.bulk": 4,
    "pct.ray": 4,
    "pct.training": 4,
    "pct.evaluation": 4,
    "pct.explorer": 4,
    "pct.cli": 5,
    "pct.__main__": 5,
}
# What is not a model in the rooms of models: crops and persons on photos, pairs and files for lifters.
NO_MODELS = {
    "pct.photos.person_views",
    "pct.photos.crop",
    "pct.photos.persons",
    "pct.lifting.count",
    "pct.lifting.pairs",
    "pct.lifting.pose2d_bridge",
    "pct.lifting.detector_noise",
}
MODEL_ROOMS = {"tokenizer", "photos", "lifting", "layers"}
# What may be imported where; torch, numpy and tqdm are free.
ROOMS = {
    "yaml": {"pct.files.yaml_text", "pct.training.run_config"},
    "pyarrow": {"pct.files.parquet", "pct.bulk.parts", "pct.bulk.encode"},
    "ray": {"pct.ray"},
    "pycocotools": {"pct.evaluation.coco_ap"},
    "hotcoco": {"pct.evaluation.coco_ap"},
    "safetensors": {"pct.checkpoint"},
    "huggingface_hub": {"pct.checkpoint"},
    "omegaconf": {"pct.training.run_config"},
    "tensorboard": {"pct.training.run_files"},
    "timm": {"pct.photos.backbone", "pct.photos.movenet"},
    "matplotlib": {"pct.drawing.panels", "pct.drawing.plots"},
    "cv2": {
        "pct.photos.crop",
        "pct.photos.detection.nanodet",
        "pct.people.scene",
        "pct.training.photos.batches",
        "pct.files.video",
        "pct.drawing.poses2d",
        "pct.drawing.panels",
    },
    "torchvision": {"pct.photos.detection.detector", "pct.photos.detection.nanodet"},
    "PIL": {"pct.files.photo", "pct.photos.results.result"},
    "pandas": {"pct.photos.results.result"},
    "supervision": {"pct.photos.results.result", "pct.photos.results.sources"},
    "trackers": {"pct.photos.results.sources"},
    "albumentations": {"pct.training.photos.augment"},
    "h5py": {"pct.files.motion.pairs"},
    "jinja2": {"pct.evaluation.report", "pct.explorer.page"},
}
FREE = {"torch", "numpy", "tqdm"}
# All that tokens may need.
LIGHT = {"torch", "numpy", "safetensors", "yaml"}
MAX_LINES, MAX_FUNCTION_LINES = 300, 40
PACKAGES = {name for name, file in MODULES.items() if file.name == "__init__.py"}


def floor(module: str) -> int:
    fitting = [prefix for prefix in FLOORS if module == prefix or module.startswith(prefix + ".")]
    return FLOORS[max(fitting, key=len)]


def is_model(module: str) -> bool:
    return module.split(".")[1] in MODEL_ROOMS and floor(module) <= 3 and module not in NO_MODELS


def imports(module: str, top_level: bool = False) -> Iterator[str]:
    """Yield the modules that a module imports; ``top_level``: only when it is itself imported."""
    nodes: list[ast.AST] = [ast.parse(MODULES[module].read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: relative import; write it in full"
            assert node.module is not None
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in submodules)
        later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not (top_level and (later or typing_only)):
            nodes.extend(ast.iter_child_nodes(node))


def test_every_module_has_a_floor() -> None:
    for module in sorted(set(MODULES) - PACKAGES):
        fits = any(module == prefix or module.startswith(prefix + ".") for prefix in FLOORS)
        assert fits, f"{module} has no floor: add it to FLOORS and to the design"


@pytest.mark.parametrize("module", sorted(set(MODULES) - PACKAGES))
def test_imports_go_down_the_floors(module: str) -> None:
    for other in imports(module):
        if not other.startswith("pct.") or other in PACKAGES:
            continue
        assert floor(other) <= floor(module), f"{module} (floor {floor(module)}) imports {other} (floor {floor(other)})"
        assert floor(module) > 1, f"{module} is on the ground floor, which imports nothing of ours, but imports {other}"
        files = other.split(".")[1] in {"files", "people", "training"} and floor(other) > 1
        assert not (is_model(module) and files), f"{module} imports {other}: models know nothing of files and data sets"


@pytest.mark.parametrize("module", MODULES)
def test_third_party_names_stay_in_their_rooms(module: str) -> None:
    for name in imports(module):
        top = "tensorboard" if name == "torch.utils.tensorboard" else name.split(".")[0]
        if top == "pct" or top in FREE or top in sys.stdlib_module_names or top == "__future__":
            continue
        assert top in ROOMS, f"{module} imports {name}, which has no room yet: add it to ROOMS and to the design"
        assert module in ROOMS[top], f"{module} imports {name}; only {', '.join(sorted(ROOMS[top]))} may"


def needs(modules: list[str]) -> set[str]:
    """Return the third-party packages that are loaded when modules are imported."""
    waiting, seen, third_party = list(modules), set(), set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        for name in imports(module, top_level=True):
            if name in MODULES:
                parts = name.split(".")
                waiting.extend(".".join(parts[:i]) for i in range(1, len(parts) + 1))
            elif name.split(".")[0] not in sys.stdlib_module_names:
                third_party.add(name.split(".")[0])
    return third_party - {"__future__"}


def test_tokens_need_little_and_help_needs_nothing() -> None:
    assert needs(["pct", "pct.cli.main", "pct.packages"]) == set()
    assert {"torch"} < needs(["pct.tokenizer", "pct.skeleton", "pct.geometry"]) <= LIGHT


def test_the_package_has_the_names_that_it_promises() -> None:
    assert set(pct.__all__) == set(pct._MODULES)
    for name in pct.__all__:
        assert getattr(pct, name) is getattr(import_module(pct._MODULES[name]), name)
    with pytest.raises(AttributeError, match="no attribute 'Pose'"):
        pct.Pose  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short_and_say_what_they_are_for(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= MAX_LINES, f"{module} has {lines} lines; split it by topic"
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, f"{module} has no docstring"
    assert docstring.splitlines()[0].endswith("."), f"the first line of {module}'s docstring is not a sentence"


@pytest.mark.parametrize("module", MODULES)
def test_functions_fit_on_a_screen(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lines = (node.end_lineno or 0) - first.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{module}.{node.name} has {lines} lines"
