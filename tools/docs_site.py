"""What the documentation site has beside ``docs/``: README, CONTRIBUTING, the models' cards, and the interface.

Links are written for readers of the repository; on the site they lead to the pages that stand there for the same files.
It is a hook of mkdocs and, for docstrings, an extension of griffe.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Pages of the interface, and what they show.
API = {
    "tokenizer": ("Tokens", ["pct.tokenizer.model.PoseTokenizer", "pct.tokenizer.columns.TokenColumns"]),
    "tables": (
        "Tables and text",
        ["pct.tokens.table", "pct.tokens.codec", "pct.tokens.text", "pct.tokens.text_files", "pct.tokens.search"],
    ),
    "photos": ("Photos", ["pct.photos.estimator.PoseEstimator", "pct.photos.estimator.PersonPoses"]),
    "lifting": ("Lifting", ["pct.lifting.lifter.Lifter"]),
    "poses": (
        "Skeletons and spaces",
        ["pct.skeleton", "pct.pose_space.PoseSpace", "pct.geometry", "pct.poses.Poses", "pct.cameras"],
    ),
    "bulk": ("Bulk and export", ["pct.bulk.encode", "pct.bulk.parts", "pct.ray", "pct.export.onnx.export_onnx"]),
}
# Where files of the repository are on the site.
MOVED = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "docs/results": "docs/results/tokens.md"}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs/``."""
    cards = {f"cards/{card.parent.name}.md": card for card in sorted((ROOT / "pct" / "weights").glob("*/README.md"))}
    for page, file in {"index.md": ROOT / "README.md", "contributing.md": ROOT / "CONTRIBUTING.md", **cards}.items():
        text = relink(file.read_text(encoding="utf-8"), file.relative_to(ROOT).as_posix(), page)
        files.append(File.generated(config, page, content=text))
    for page, (title, names) in API.items():
        text = f"# {title}\n\n" + "\n\n".join(f"::: {name}" for name in names) + "\n"
        files.append(File.generated(config, f"api/{page}.md", content=text))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the interface to the navigation."""
    assert config.nav is not None
    config.nav.append({"Interface": [{title: f"api/{page}.md"} for page, (title, _) in API.items()]})
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page in ``docs/`` that leave it lead to the page of the site."""
    return (
        relink(markdown, f"docs/{page.file.src_uri}", page.file.src_uri) if page.file.generated_by is None else markdown
    )


def relink(text: str, file: str, page: str) -> str:
    """Return a file of the repository with its relative links as ``page`` of the site needs them."""

    def change(link: re.Match[str]) -> str:
        before, target, after = link.groups()
        if ":" in target:
            return link.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        path = MOVED.get(path, path)
        card = re.fullmatch(r"pct/weights/([\w-]+)/README\.md", path)
        path = f"cards/{card.group(1)}.md" if card else path.removeprefix("docs/")
        return before + posixpath.relpath(path, posixpath.dirname(page) or ".") + after

    return _LINK.sub(change, text)


class PlainRoles(griffe.Extension):
    """Turns Sphinx's roles in docstrings into plain names."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(lambda role: f"`{role.group(1)}`", obj.docstring.value).replace("``", "`")
