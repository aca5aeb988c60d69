"""YAML recipes, read strictly: section -> key -> (value, line)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sedtool.bounds import RECIPE, read_bounded
from sedtool.errors import ConfigError
from sedtool.file_kinds import HEAD_SIZE, file_kind, kind_of_file
from sedtool.text import quoted

_DEEPEST = 10  # lists and mappings in each other: PyYAML takes hours for some thousands
_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


@dataclass(frozen=True)
class Section:
    """What a recipe says for one subcommand."""

    line: int
    values: dict[str, tuple[Any, int]]  # by option name; value and line


def read_recipe(path: Path) -> dict[str, Section]:
    """Read a recipe: one section a subcommand, option names as keys.

    PyYAML keeps the last of two equal keys and follows merge keys without end; here duplicates,
    anchors, aliases, tags and nested values are a ConfigError with file and line.
    """
    try:
        content = read_bounded(path, RECIPE)
    except OSError as error:
        kind = kind_of_file(path)
        what = f"; {kind}" if kind and kind.what != "text" else ""
        raise ConfigError(f"{path} cannot be read ({error.strerror}{what})") from None
    if content and (kind := file_kind(content[:HEAD_SIZE], path.name)):
        raise ConfigError(f"{path} is no recipe: {kind}")
    root = _compose(content, str(path))
    return {
        name: Section(line, {k: (_value(v, path), n) for k, v, n in _pairs(section, path)})
        for name, section, line in _pairs(root, path)
    }


def parse_list(text: str, where: str) -> list[Any]:
    """Read ``[a, b]`` as the recipe reader does; `where` names its place in errors."""
    value = _value(_compose(text.encode("utf-8", "surrogateescape"), where), where)
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {quoted(text)} is not a list")
    return value


def _compose(content: bytes, where: str) -> yaml.Node | None:
    """Parse YAML into nodes, none of which is an anchor, an alias or a tag."""
    try:
        text = content.decode("utf-8")
        depth = 0
        for token in yaml.scan(text):
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > _DEEPEST:
                raise ConfigError(f"{where}:{_line(token)}: nested too deeply")
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
                raise ConfigError(f"{where}:{_line(token)}: anchors, aliases and tags are refused")
        node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
        return node
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(f"{where}{line}: not valid YAML ({problem})") from None


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
                f"{path}:{_line(key)}: {quoted(key.value)} is given twice, first in line "
                f"{seen[key.value]}"
            )
        seen[key.value] = _line(key)
        pairs.append((key.value, value, _line(key)))
    return pairs


def _value(node: yaml.Node | None, path: Path | str) -> Any:
    """Return a scalar as text, or a list of such.

    Click converts text to the option's type; YAML's own ideas (``off`` is false, ``1e-3`` is text)
    do not matter then.
    """
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, path) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{path}:{_line(node)}: a value must be a word, a number or a list")
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return node.value


def _line(mark_holder: Any) -> int:
    return int(mark_holder.start_mark.line) + 1
