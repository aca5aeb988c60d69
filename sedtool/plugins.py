"""Poolings, blocks, augmentations and losses of others, by name.

A plugin is a Python module with tables of names and classes: POOLINGS, BLOCKS, AUGMENTATIONS or
LOSSES. It is loaded where a command is told to (`--plugin`); those of installed packages, with an
entry point in the group ``sedtool.plugins``, where a name is asked for that nobody else has.

A model file says which plugins it needs. Nothing is loaded because it does: what runs is chosen by
who runs it, or a stranger's file could run whatever is within reach.
"""

import importlib
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from sedtool.config import POOLING_NAMES, lookup
from sedtool.config.named import AUGMENTATION_NAMES, LOSS_NAMES
from sedtool.config.network import BLOCKS
from sedtool.errors import ArtifactError, ConfigError
from sedtool.text import brief, file_sha256, quoted

__all__ = [
    *("blamed", "files_of", "find", "is_known", "load", "loaded_files", "needed"),
    "require_needed",
]

_TABLES: dict[str, tuple[str, tuple[str, ...]]] = {  # of what, and what sedtool has of it
    "POOLINGS": ("pooling", POOLING_NAMES),
    "BLOCKS": ("block", BLOCKS),
    "AUGMENTATIONS": ("augmentation", AUGMENTATION_NAMES),
    "LOSSES": ("loss", LOSS_NAMES),
}
_OWN = dict(_TABLES.values())

T = TypeVar("T")
log = logging.getLogger(__name__)


class _Member(NamedTuple):
    """A class of a plugin."""

    cls: type
    plugin: str
    file: Path


_members: dict[tuple[str, str], _Member] = {}  # by kind and name
_files: list[Path] = []  # of plugins that were loaded by `load`
_broken: list[str] | None = None  # why installed plugins cannot be loaded; None: not tried yet


def load(text: str) -> None:
    """Load the plugin that a text means: the name of a module, or the path of its file.

    Raises
    ------
    ConfigError
        If it cannot be loaded, or has a name that is taken.
    """
    name, folder, path = text, Path.cwd(), Path(text).resolve()
    if is_path := text.endswith(".py"):
        # From outside its package, if it is in one, so that it can import what is beside it.
        folder = next(f for f in path.parents if not (f / "__init__.py").exists())
        words = path.relative_to(folder).with_suffix("").parts
        name = ".".join(words).removesuffix(".__init__")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last, so that it hides no other module
    importlib.invalidate_caches()
    module = _guarded(text, lambda: importlib.import_module(name))
    file = _file(module)
    if is_path and file != path:
        raise ConfigError(
            f"plugin {quoted(text)}: another module has the name {quoted(name)}, {file}; give the "
            "file another one"
        )
    if file not in _files:
        _register(name, module)
        _files.append(file)


def _guarded(plugin: str, run: Callable[[], T]) -> T:
    """Run code of a plugin; a ConfigError says in one line what goes wrong there."""
    try:
        return run()
    except (Exception, SystemExit) as error:  # a module may well call sys.exit
        frames = traceback.extract_tb(error.__traceback__)[1:]
        lines = [f"{f.filename}:{f.lineno}: " for f in frames if "importlib" not in f.filename]
        what = f"{''.join(lines[-1:])}{type(error).__name__}: {brief(error)}"
        raise ConfigError(f"plugin {quoted(plugin)} cannot be loaded: {what}") from error


def _file(module: ModuleType) -> Path:
    return Path(getattr(module, "__file__", None) or "").resolve()


def _register(plugin: str, module: ModuleType) -> None:
    """Take over all tables of a plugin, or raise a ConfigError and take none."""
    new: dict[tuple[str, str], _Member] = {}
    of_plugin = f"plugin {quoted(plugin)}"
    for table, (kind, own) in _TABLES.items():
        members = getattr(module, table, {})
        if not isinstance(members, Mapping):
            raise ConfigError(f"{of_plugin}: {table} is no table of names and classes")
        for name, cls in members.items():
            if not (re.fullmatch(r"\w[\w.+-]*", str(name)) and isinstance(cls, type)):
                raise ConfigError(
                    f"{of_plugin}: {table} has classes by names of letters, digits, ., +, - and "
                    f"_, not {quoted(cls)} by the name {quoted(name)}"
                )
            other = _members.get((kind, name))
            if name in own or (other and other.cls is not cls):
                owner = f"plugin {quoted(other.plugin)}" if other else "sedtool"
                raise ConfigError(
                    f"{of_plugin}: {kind} {quoted(name)} is one of {owner} already; give it "
                    "another name"
                )
            new[kind, name] = other or _Member(cls, plugin, _file(module))
    if not new:
        raise ConfigError(f"{of_plugin} has none of {', '.join(_TABLES)}")
    _members.update(new)


def is_known(kind: str, name: str) -> bool:
    """Return whether there is a pooling, say, of a name; installed plugins are asked last."""
    global _broken
    if name in _OWN[kind] or (kind, name) in _members:
        return True
    if _broken is None:
        from importlib.metadata import entry_points  # takes time, and few need it

        _broken = []
        for entry in sorted(entry_points(group="sedtool.plugins"), key=lambda entry: entry.name):
            try:
                _register(entry.name, _guarded(entry.name, entry.load))
            except ConfigError as error:  # the others can be used
                _broken.append(f"; {error}")
    return (kind, name) in _members


def find(own: Mapping[str, type[T]], kind: str, name: str, base: type[Any]) -> type[T]:
    """Return the class of a name, sedtool's `own` or a plugin's.

    Raises a ConfigError if there is none, or if it is none of the `base` class.
    """
    if name in own:
        return own[name]
    if not is_known(kind, name) or name in _OWN[kind]:  # one's own, but no choice here
        plugins = [other for of, other in _members if of == kind]
        lookup(dict.fromkeys([*own, *plugins]), name, kind, "".join(_broken or ()))
    cls, plugin, _ = _members[kind, name]
    if not issubclass(cls, base):
        what = f"{base.__module__}.{base.__qualname__}"
        raise ConfigError(f"{kind} {quoted(name)} of plugin {quoted(plugin)} is no {what}")
    return cls


def blamed(error: Exception) -> str:
    """Return the place in a plugin where an error arose, FILE:LINE; nothing if it was elsewhere."""
    files = {str(member.file) for member in _members.values()}
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return next((f"{f.filename}:{f.lineno}" for f in frames if f.filename in files), "")


def loaded_files() -> tuple[Path, ...]:
    """Return the files of the plugins that were loaded by `load`."""
    return tuple(_files)


def files_of(names: Iterable[tuple[str, str]]) -> tuple[Path, ...]:
    """Return those of `loaded_files` that have one of these names, of some kinds."""
    files = {member.file for name in names if (member := _members.get(name))}
    return tuple(file for file in _files if file in files)


def needed(names: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
    """Return what of these, kinds and names, plugins have, and which, as a model file says it."""
    return {
        f"{kind} {name}": {"plugin": member.plugin, "sha256": file_sha256(member.file)}
        for kind, name in names
        if (member := _members.get((kind, name)))
    }


def require_needed(needs: Mapping[str, Mapping[str, str]], where: Path) -> None:
    """Raise an ArtifactError that says what `needed` named, in a file, and is not there now."""
    for what, about in needs.items():
        kind, _, name = what.partition(" ")
        of_plugin = f"{kind} {quoted(name)} of plugin {quoted(about['plugin'])}"
        if not is_known(kind, name):
            raise ArtifactError(
                f"{where} needs {of_plugin}: name it, or its file, by --plugin (a model loads "
                f"none by itself){''.join(_broken or ())}"
            )
        if needed([(kind, name)]).get(what, {}).get("sha256") != about["sha256"]:
            log.warning("%s was trained with another version of %s", where, of_plugin)
