"""What every training run has in its config, and how configs are read: YAML files and key=value overrides."""

from __future__ import annotations

import dataclasses
import difflib
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

from pct.files.yaml_text import read_yaml, read_yaml_text


class Rule(NamedTuple):
    """What a setting must be, in words after "it must be", and whether a value is that."""

    text: str
    holds: Callable[[Any], bool]


# What keys of former versions are called now.
_RENAMED = {"bodies": "data (bodies.mocap is data.train, bodies.augment is augment3d)", "skeleton": "data.skeleton"}
# Of integers torch takes 64 bits.
AT_LEAST_0 = Rule("at least 0, and below 2^63", lambda value: 0 <= value < 2**63)
AT_LEAST_1 = Rule("at least 1, and below 2^63", lambda value: 1 <= value < 2**63)
POSITIVE = Rule("positive", lambda value: 0 < value < math.inf)


def setting(default: Any, rule: Rule) -> Any:
    """Return the field of a setting whose value :func:`load_config` checks by a rule."""
    return field(default=default, metadata={"rule": rule})


def check(name: str, value: Any, good: bool, rule: str) -> None:
    """Refuse a setting that is not ``good``, with its value and what it must be.

    Raises:
        ValueError: If it is not.
    """
    if not good:
        raise ValueError(f"{name} is {value}; it must be {rule}")


@dataclass
class OptimSection:
    """AdamW with linear warm-up, then a cosine to ``min_lr_ratio`` times the peak or steps down.

    Attributes:
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay; with 0 it is plain Adam.
        betas: AdamW's.
        warmup_steps: Steps of linear warm-up.
        min_lr_ratio: Last learning rate over the peak.
        clip: Largest gradient norm; 0 clips nothing.
        decay_every: Steps after which the rate is multiplied by ``decay``, in place of the cosine; 0 is the cosine.
        decay: See ``decay_every``.
    """

    lr: float = setting(2e-3, POSITIVE)
    weight_decay: float = setting(0.05, AT_LEAST_0)
    betas: tuple[float, float] = setting(
        (0.9, 0.99), Rule("two numbers in [0, 1)", lambda betas: all(0 <= beta < 1 for beta in betas))
    )
    warmup_steps: int = setting(500, AT_LEAST_0)
    min_lr_ratio: float = setting(0.005, AT_LEAST_0)
    clip: float = setting(1.0, AT_LEAST_0)
    decay_every: int = setting(0, AT_LEAST_0)
    decay: float = setting(0.95, AT_LEAST_0)


@dataclass
class TrainingRun:
    """What runs of all stages share: how long and how often, where, and how they learn.

    Attributes:
        steps: Optimiser steps in all.
        log_every: Steps between lines of ``metrics.jsonl``.
        val_every: Steps between validations, each with a log line; 0 validates at the end only.
        checkpoint_every: Steps between checkpoints.
        precision: ``fp32`` or ``bf16`` (autocast; quantizer and frozen decoder stay in float32).
        seed: Of weights, order and all that is drawn by chance. Each step has numbers of its own, so that a run that
            goes on needs no state of them.
        out: Folder of the run: checkpoints, logs, curves and model.
        batch_size: Poses a step over all processes.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; 0 leaves torch's choice.
        optim: Optimiser and schedule.
    """

    steps: int = setting(20_000, AT_LEAST_1)
    log_every: int = setting(50, AT_LEAST_1)
    val_every: int = setting(1000, AT_LEAST_0)
    checkpoint_every: int = setting(500, AT_LEAST_1)
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = setting(0, AT_LEAST_0)
    out: str = "runs/training"
    batch_size: int = setting(512, AT_LEAST_1)
    device: str = "auto"
    threads: int = setting(0, AT_LEAST_0)
    optim: OptimSection = field(default_factory=OptimSection)


Run = TypeVar("Run", bound=TrainingRun)


def load_config(path: str | Path, overrides: list[str], schema: type[Run]) -> Run:
    """Read a YAML file into the dataclass ``schema`` and apply ``key=value`` overrides (``model.encoder_width=128``).

    Keys that a section names in ``retired`` are left out where they are empty, as runs of former versions have them.

    Raises:
        ValueError: If the file is missing or no YAML, a key is unknown (the nearest is named), a value has the wrong
            type or breaks the rule of its :func:`setting`, or settings do not go together.
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
        run = cast(Run, OmegaConf.to_object(filled))
        _check_rules(run, "")
    except (OmegaConfBaseException, ValueError) as error:  # ValueErrors are of a section's own checks
        raise ValueError(f"{path}: {_first_line(error)}") from error
    return run


def _check_rules(section: Any, prefix: str) -> None:
    for part_of in dataclasses.fields(section):
        value, rule = getattr(section, part_of.name), part_of.metadata.get("rule")
        if rule is not None:
            check(f"{prefix}{part_of.name}", value, rule.holds(value), rule.text)
        sections = {f"[{n}]": part for n, part in enumerate(value)} if isinstance(value, list) else {"": value}
        for number, part in sections.items():
            if dataclasses.is_dataclass(part):
                _check_rules(part, f"{prefix}{part_of.name}{number}.")


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


def _section(part: dataclasses.Field) -> Any:
    """Return the dataclass of a field that is a section, or None; a section's default may be a changed one."""
    if part.default_factory is dataclasses.MISSING:
        return None
    kind = part.default_factory if isinstance(part.default_factory, type) else type(part.default_factory())
    return kind if dataclasses.is_dataclass(kind) else None


def _nearest(key: str, fields: dict[str, Any], root: Any, prefix: str) -> str:
    if prefix + key in _RENAMED:
        return f"it is now {_RENAMED[prefix + key]}"
    near = difflib.get_close_matches(key, fields, n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    for section in dataclasses.fields(root):
        kind = _section(section)
        if kind is not None and key in {f.name for f in dataclasses.fields(kind)}:
            return f"did you mean {section.name}.{key}?"
    return f"known are {', '.join(fields)}"
