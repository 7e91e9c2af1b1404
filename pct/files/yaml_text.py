"""YAML files of bounded size: what people write has few levels, and aliases do not make gigabytes of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_MOST_BYTES, _DEEPEST, _MOST_NODES = 1 << 20, 50, 100_000


def read_yaml_text(path: str | Path) -> str:
    """Return the text of a YAML file that is safe to build values from.

    Raises:
        ValueError: If it is missing, no UTF-8 or no YAML, or larger, with its aliases written out, than a config is.
    """
    import yaml

    try:
        data = Path(path).read_bytes()
        if len(data) > _MOST_BYTES:
            raise ValueError(f"{path}: {len(data):,} bytes; a file of settings has at most {_MOST_BYTES:,}")
        text, depth = data.decode(), 0
        for bracket in re.findall(r"[][{}]", text):  # the parser's time grows with the square of the depth
            depth += 1 if bracket in "[{" else -1
            if depth > _DEEPEST:
                raise ValueError(f"{path}: over {_DEEPEST} brackets in each other; that is no file of settings")
        size = _size_of(yaml.compose(text, yaml.SafeLoader), {})
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        size = _MOST_NODES + 1
    if size > _MOST_NODES:
        raise ValueError(f"{path}: too many levels, or over {_MOST_NODES:,} values; that is no file of settings")
    return text


def _size_of(node: Any, known: dict[int, int], depth: int = 0) -> int:
    """Count the nodes under one of a YAML file as if each alias were written out."""
    if depth > _DEEPEST:
        raise RecursionError
    if id(node) not in known:
        known[id(node)] = 1  # a list that holds itself
        parts = node.value if isinstance(getattr(node, "value", None), list) else []
        children = [child for part in parts for child in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] += sum(_size_of(child, known, depth + 1) for child in children)
    return known[id(node)]


def read_yaml(path: str | Path) -> Any:
    """Return the values of a YAML file.

    Raises:
        ValueError: As :func:`read_yaml_text`.
    """
    import yaml

    try:
        return yaml.safe_load(read_yaml_text(path))
    except (yaml.YAMLError, TypeError) as error:  # an unknown alias or tag, a list as a key
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
