"""Text that sedtool writes for programs: metrics.json, run.json, sweep.json, parts, recipes."""

from pathlib import Path
from typing import Any

import yaml

from sedtool.errors import ArtifactError, SedtoolError
from sedtool.info.description import Description, first_of
from sedtool.runs import read_json
from sedtool.store.parts import PART_SUFFIX, read_part, read_part_record

__all__ = [
    "attempt",
    "describe_json",
    "describe_recipe",
    "macro_f1",
    "read_recipe_sections",
]

_MOST_BYTES = 2**20  # of a recipe
_METRICS = ("event", "segment", "clip")
_RATES = ("f1", "precision", "recall")


def describe_json(path: Path, verify: bool) -> Description:
    """Describe a metrics.json, a run.json, a sweep.json or a part record."""
    if path.name.endswith(PART_SUFFIX):
        return _describe_part(path, verify)
    content = read_json(path)
    if "parameters" in content and set(_METRICS) & set(content):
        return Description(path, "metrics", _metrics(content))
    if {"command", "status", "inputs"} <= set(content):
        return Description(path, "run record", content)
    if content.get("format") == "sedtool-sweep":
        return Description(path, "sweep record", content)
    raise ArtifactError(
        f"{path}: JSON of no known kind; known are metrics, runs, sweeps and part records"
    )


def _describe_part(path: Path, verify: bool) -> Description:
    """Describe the record of a part that is text; `verify` reads the part itself."""
    part = path.with_name(path.name.removesuffix(PART_SUFFIX))
    record = (read_part if verify else read_part_record)(part)
    values = {
        **vars(record),
        "shard": str(record.shard),
        "failures": first_of([f"{name}: {error}" for name, _, error in record.failures]),
    }
    return Description(path, "part record", {"part": str(part), **values}, verify)


def _metrics(content: dict[str, Any]) -> dict[str, Any]:
    """Return macro and micro rates, as a row each, and how it was measured."""
    rows = []
    for name in _METRICS:
        for average in ("macro", "micro"):
            rates = _mapping(_mapping(content.get(name)).get(average))
            rows.append({"metric": name, "average": average, **{r: rates.get(r) for r in _RATES}})
    classes = _mapping(_mapping(content.get("event")).get("classes"))
    warnings = content.get("warnings")
    return {
        "scores": rows,
        "classes": [
            {"class": label, "event_f1": _mapping(row).get("f1")} for label, row in classes.items()
        ],
        "parameters": _mapping(content["parameters"]),
        "clip_source": _mapping(content.get("clip")).get("source"),
        "warnings": warnings if isinstance(warnings, list) else [],
    }


def macro_f1(content: dict[str, Any]) -> dict[str, float | None]:
    """Return the macro F1 of each metric of a metrics.json; None where it is not defined."""
    found = {f"{n}_f1": _mapping(_mapping(content.get(n)).get("macro")).get("f1") for n in _METRICS}
    return {name: f1 if type(f1) in (int, float) else None for name, f1 in found.items()}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def describe_recipe(path: Path, verify: bool) -> Description:
    """Describe a recipe: its sections and their keys."""
    return Description(path, "recipe", {"sections": read_recipe_sections(path)})


def read_recipe_sections(path: Path) -> dict[str, dict[str, Any]]:
    """Read a recipe: key -> text, or list of text, of each section.

    Nodes are composed, never constructed: merge keys are not followed.

    Raises
    ------
    ArtifactError
        If it is not YAML, or not made of sections.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ArtifactError(f"{path} is too large for a recipe")
    try:
        root = yaml.compose(path.read_text("utf-8"), yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or error
        raise ArtifactError(f"{path}: not valid YAML ({reason})") from None
    sections = _pairs(root)
    if not sections or not all(isinstance(node, yaml.MappingNode) for node in sections.values()):
        raise ArtifactError(f"{path}: YAML of no known kind; a recipe has a section a subcommand")
    return {
        name: {key: _value(value) for key, value in _pairs(section).items()}
        for name, section in sections.items()
    }


def _pairs(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """Return the values of a mapping by key; {} of anything else."""
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {k.value: value for k, value in node.value if isinstance(k, yaml.ScalarNode)}


def _value(node: yaml.Node) -> Any:
    """Return a scalar, or a list of scalars, as text; None of anything else."""
    if isinstance(node, yaml.SequenceNode):
        return [item.value for item in node.value if isinstance(item, yaml.ScalarNode)]
    return node.value if isinstance(node, yaml.ScalarNode) else None


def attempt(read: Any, path: Path, problems: list[SedtoolError]) -> Any:
    """Return what `read` makes of a member of a folder; None if it is missing or damaged."""
    if not path.exists():
        return None
    try:
        return read(path)
    except SedtoolError as error:
        problems.append(error)
        return None
