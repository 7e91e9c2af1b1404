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
        text = data.decode()
        depth = 0
        for bracket in re.findall(r"[][{}]", text):  # the parser's time grows with the square of the depth
            depth += 1 if bracket in "[{" else -1
            if depth > _DEEPEST:
                raise ValueError(f"{path}: over {_DEEPEST} brackets in each other; that is no file of settings")
        _check_size(path, yaml.parse(text, yaml.SafeLoader))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return text


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


def _check_size(path: str | Path, events: Any) -> None:
    """Count the nodes of a YAML file as if each alias were written out."""
    import yaml

    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = [(None, 0)]
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, 1))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = opened.pop()
        elif isinstance(event, yaml.NodeEvent):
            anchor, size = event.anchor, sizes.get(str(event.anchor), 1) if isinstance(event, yaml.AliasEvent) else 1
        else:
            continue
        if anchor is not None and not isinstance(event, yaml.AliasEvent):
            sizes[anchor] = size
        opened[-1] = (opened[-1][0], opened[-1][1] + size)
        if len(opened) > _DEEPEST or opened[-1][1] > _MOST_NODES:
            raise ValueError(f"{path}: over {_DEEPEST} levels or {_MOST_NODES:,} values; that is no file of settings")
