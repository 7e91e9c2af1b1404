"""YAML files and key=value overrides to typed dataclasses, and back; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import difflib
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pct.files.yaml_text import read_yaml, read_yaml_text

Run = TypeVar("Run")


def load_config(path: str | Path, overrides: list[str], schema: type[Run]) -> Run:
    """Read a YAML file into the dataclass ``schema`` and apply ``key=value`` overrides (``model.encoder_width=128``).

    Keys that a section names in ``retired`` are left out where they are empty, as runs of former versions have them.

    Raises:
        ValueError: If the file is missing or no YAML, a key is unknown (the nearest is named), or a value has the
            wrong type or breaks the rule of its :func:`setting`.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"config {path} does not exist")
    text = read_yaml_text(path)
    if not isinstance(read_yaml(path), (dict, type(None))):
        raise ValueError(f"{path}: the config must be a mapping of keys to values")
    for item in overrides:
        if "=" not in item:
            raise ValueError(f"override {item!r} must be key=value, for instance optim.lr=0.001")
    source = f"{path}: not a valid config"
    try:
        values = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
        source = f"command line: {' '.join(overrides)[:200]}: not valid"
        # An empty value is an empty text, for instance no folder; omegaconf takes it for null.
        given = OmegaConf.to_container(OmegaConf.from_dotlist([f"{o}''" if o.endswith("=") else o for o in overrides]))
    except (OmegaConfBaseException, YAMLError, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split()) if isinstance(error, YAMLError) else _first_line(error)
        raise ValueError(f"{source}: {reason}") from error
    filled = OmegaConf.structured(schema)
    for source, content in ((str(path), values), ("command line", given)):
        _fill(filled, content, schema, schema, source, "")
    try:
        run = OmegaConf.to_object(filled)
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {_first_line(error)}") from error
    except ValueError as error:  # of a section's own checks
        raise ValueError(f"{path}: {error}") from error
    assert isinstance(run, schema)
    _check_rules(path, run, "")
    return run


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a setting must be.

    Attributes:
        text: The rule in words, after "it must be".
        holds: Whether a value keeps it.
    """

    text: str
    holds: Callable[[Any], bool]


# Of integers torch takes 64 bits.
AT_LEAST_0 = Rule("at least 0, and below 2^63", lambda value: 0 <= value < 2**63)
AT_LEAST_1 = Rule("at least 1, and below 2^63", lambda value: 1 <= value < 2**63)
POSITIVE = Rule("positive", lambda value: 0 < value < math.inf)


def setting(default: Any, rule: Rule) -> Any:
    """Return the field of a setting whose value :func:`load_config` checks by a rule."""
    return dataclasses.field(default=default, metadata={"rule": rule})


def check(path: str | Path, name: str, value: Any, good: bool, rule: str) -> None:
    """Refuse a setting of the file ``path`` that is not ``good``, with its value and what it must be.

    Raises:
        ValueError: If it is not.
    """
    if not good:
        raise ValueError(f"{path}: {name} is {value}; it must be {rule}")


def _check_rules(path: str | Path, section: Any, prefix: str) -> None:
    for field in dataclasses.fields(section):
        value, rule = getattr(section, field.name), field.metadata.get("rule")
        if rule is not None:
            check(path, f"{prefix}{field.name}", value, rule.holds(value), rule.text)
        sections = {f"[{n}]": part for n, part in enumerate(value)} if isinstance(value, list) else {"": value}
        for number, part in sections.items():
            if dataclasses.is_dataclass(part):
                _check_rules(path, part, f"{prefix}{field.name}{number}.")


def config_keys(path: str | Path) -> set[str]:
    """Return the keys on the first level of a YAML file; none where :func:`load_config` will refuse it."""
    try:
        values = read_yaml(path)
    except ValueError:
        return set()
    return set(values) if isinstance(values, dict) else set()


def dump_config(run: Any) -> str:
    """Return a config as YAML that :func:`load_config` reads back to the same config."""
    from omegaconf import OmegaConf

    # Its own writer: it puts quotes round a folder named 1e3, which its reader would take for a number.
    return OmegaConf.to_yaml(OmegaConf.create(json.loads(json.dumps(dataclasses.asdict(run)))))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _fill(target: Any, values: Any, schema: Any, root: Any, source: str, prefix: str) -> None:
    """Put ``values`` into the typed config ``target`` one by one, so that every error names its key and its source."""
    from omegaconf import OmegaConf, flag_override
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(values, dict):
        raise ValueError(f"{source}: {prefix.rstrip('.') or 'the config'} must be a mapping of keys to values")
    fields = {f.name: f for f in dataclasses.fields(schema)}
    for key, value in values.items():
        if key in getattr(schema, "retired", ()) and not value:
            continue
        if key not in fields:
            raise ValueError(f"{source}: unknown key {prefix}{key}; {_nearest(str(key), fields, root, prefix)}")
        section = _section(fields[key])
        if section is not None:
            _fill(target[key], value, section, root, source, f"{prefix}{key}.")
            continue
        try:
            with flag_override(target, "readonly", False):  # frozen dataclasses come read-only
                OmegaConf.update(target, str(key), value)
        except OmegaConfBaseException as error:
            kind = str(fields[key].type).replace("Literal", "one of ")
            raise ValueError(f"{source}: {prefix}{key} is {value!r}; it must be {kind}") from error


def _section(field: dataclasses.Field) -> Any:
    """Return the dataclass of a field that is a section, or None; a section's default may be a changed one."""
    if field.default_factory is dataclasses.MISSING:
        return None
    kind = field.default_factory if isinstance(field.default_factory, type) else type(field.default_factory())
    return kind if dataclasses.is_dataclass(kind) else None


def _nearest(key: str, fields: dict[str, Any], root: Any, prefix: str) -> str:
    near = difflib.get_close_matches(key, fields, n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    for section in dataclasses.fields(root):
        kind = _section(section)
        if kind is not None and key in {f.name for f in dataclasses.fields(kind)}:
            return f"did you mean {section.name}.{key}?"
    return f"known are {', '.join(fields)}"
