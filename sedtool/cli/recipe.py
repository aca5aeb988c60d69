"""YAML recipes, read strictly: section -> key -> (value, line)."""

from pathlib import Path
from typing import Any

import yaml

from sedtool.cli import COMMANDS
from sedtool.errors import ConfigError

__all__ = ["read_recipe"]

_MAX_BYTES = 1_000_000


def read_recipe(path: Path) -> dict[str, dict[str, tuple[Any, int]]]:
    """Read a recipe: one section a subcommand, option names as keys.

    PyYAML keeps the last of two equal keys and follows merge keys without end; here duplicates,
    anchors, aliases, tags and nested values are errors with their line.

    Raises
    ------
    ConfigError
        With file and line.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(f"{path} is too large for a configuration file")
    try:
        text = path.read_text("utf-8")
        for token in yaml.scan(text):
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
                raise ConfigError(f"{path}:{_line(token)}: anchors, aliases and tags are refused")
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{path}{line}: not valid YAML ({problem})") from None
    recipe: dict[str, dict[str, tuple[Any, int]]] = {}
    for name, section, number in _pairs(root, path):
        if name not in COMMANDS:
            raise ConfigError(
                f"{path}:{number}: no subcommand {name!r}; one of {', '.join(COMMANDS)}"
            )
        recipe[name] = {k: (_value(v, path), n) for k, v, n in _pairs(section, path)}
    return recipe


def _pairs(node: yaml.Node | None, path: Path) -> list[tuple[str, yaml.Node, int]]:
    """Return (key, value node, line) of a mapping, refusing a key that stands twice."""
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
        return []
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:{_line(node)}: expected 'key: value' lines")
    pairs: list[tuple[str, yaml.Node, int]] = []
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{path}:{_line(key)}: a key must be a plain word")
        if key.value in seen:
            raise ConfigError(
                f"{path}:{_line(key)}: {key.value!r} is given twice, first in line "
                f"{seen[key.value]}"
            )
        seen[key.value] = _line(key)
        pairs.append((key.value, value, _line(key)))
    return pairs


def _value(node: yaml.Node, path: Path) -> Any:
    """Return a scalar, or a list of scalars, as Python has it; numbers such as 1e-3 as text."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, path) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{path}:{_line(node)}: a value must be a word, a number or a list")
    if node.tag == "tag:yaml.org,2002:null":
        return None
    if node.tag == "tag:yaml.org,2002:bool":
        return node.value.lower() in ("true", "yes", "on")
    return node.value  # Click converts text to the option's type, and says so where it cannot


def _line(mark_holder: Any) -> int:
    return int(mark_holder.start_mark.line) + 1
