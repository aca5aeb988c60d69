"""Where the value of an option comes from: command line, --set, environment, recipe, default.

Click knows the command line and the defaults; what lies between is collected here into the
command's default map, strictly: an unknown or duplicated key, or a value of the wrong type, is an
error that says where it stands. `resolve` returns what a command would run with, without running
it; `taken` makes of it the settings that the library takes. `sweep` uses both.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from sedtool.cli import options as opt
from sedtool.cli.console import open_log, say, write_stdout
from sedtool.errors import ConfigError, SameOutputError
from sedtool.plugins import load as load_plugin
from sedtool.text import quoted, suggestion

T = TypeVar("T")

_ENVIRONMENT = "SEDTOOL_"
ALL = "all"  # the section of settings of every command that has such an option
_COMMON = "Common options"  # their title in --help
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Given:
    """A value that is not from the command line, and where it stands."""

    section: str
    key: str  # empty: the section is named, and that is all
    value: Any  # None: not given, whatever weaker sources say
    source: str  # file:line, variable or option
    recipe: Path | None = None  # the file, if it is from one


class Options(dict[str, Any]):
    """The values that a command would run with, by parameter."""

    def __init__(self, ctx: click.Context, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._ctx = ctx
        self._keys = {str(p.name): option_key(p) for p in ctx.command.params}
        self.given = frozenset(self._keys[name] for name in _sources(ctx))  # not just defaults

    def with_(self, **others: Any) -> "Options":
        return Options(self._ctx, {**self, **others})

    def by_key(self) -> dict[str, Any]:
        return {self._keys[name]: value for name, value in self.items()}

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Return the words of a command line that say these values, by parameter."""
        operands: list[str] = []
        options: list[str] = []
        for parameter in self._ctx.command.params:
            value, name = values.get(str(parameter.name)), parameter.opts[0]
            texts = [str(each) for each in (value if isinstance(value, list) else [value])]
            if isinstance(parameter, click.Argument) and value is not None:
                operands += [f"./{text}" if text.startswith("-") else text for text in texts]
            elif value is True:
                options.append(name)
            elif value is not None:
                options += [word for text in texts for word in (name, text)]
        return operands + options

    def named(self) -> AbstractContextManager[None]:
        return _named(self._ctx)


class SedtoolCommand(click.Command):
    """A subcommand whose options can also be set by a recipe, the environment and --set.

    It has the common options besides its own, and --help shows options under the titles that
    `options.group` gave them.
    """

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        for add in opt.common:
            add(self)
            self.params[-1].group = _COMMON  # type: ignore[attr-defined]  # ours

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if isinstance(parameter, click.Option) and record:
                groups.setdefault(getattr(parameter, "group", _COMMON), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def derived(self, values: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
        """Return value and source, by option key, of what other options imply, such as presets."""
        return {}

    def recipe(self, raw: Mapping[str, Any]) -> str | None:
        """Return the recipe that a command line names."""
        return raw.get("config")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)  # for completion, while a line is being typed
        # Parsed twice: the recipe has to be known before its values can be defaults.
        raw, _, _ = self.make_parser(ctx).parse_args(list(args))
        base = ctx.obj if isinstance(ctx.obj, Path) else None  # set by `resolve`
        recipe, sets = self.recipe(raw), tuple(raw.get("sets") or ())
        shown = bool(raw.get("print_config"))
        ctx.meta["sedtool.recipe"], ctx.meta["sedtool.sets"] = recipe, sets
        ctx.meta["sedtool.print_config"] = shown
        settings = _collect(ctx, recipe, sets, set(raw), base)
        ctx.default_map = {name: setting.value for name, setting in settings.items()}
        values = ctx.default_map | raw
        if base is None and values.get("log_file") is not None:
            _open_log(Path(values["log_file"]), self.params, values)
        _sources(ctx).update({name: setting.source for name, setting in settings.items()})
        if base is None and not shown:
            return super().parse_args(ctx, args)
        required = [parameter for parameter in self.params if parameter.required]
        try:
            for parameter in required:  # what is not given is shown as such
                parameter.required = False
            return super().parse_args(ctx, args)
        finally:
            for parameter in required:
                parameter.required = True

    def invoke(self, ctx: click.Context) -> Any:
        if ctx.meta["sedtool.print_config"]:
            write_stdout(_resolved(self, ctx))
            return None
        with _named(ctx):
            for plugin in ctx.params.pop("plugins", ()):
                load_plugin(plugin)
            try:
                return super().invoke(ctx)
            except SameOutputError as done:
                say(f"nothing to do: {done}", ctx.params["quiet"])


def _open_log(log: Path, parameters: Sequence[click.Parameter], raw: Mapping[str, Any]) -> None:
    """Open the log, unless it is to be a file that the command reads or writes."""
    mine = os.path.realpath(log)
    for parameter in parameters:
        value = raw.get(str(parameter.name)) or ()
        is_path = isinstance(parameter.type, click.Path) and parameter.name != "log_file"
        for path in value if isinstance(value, tuple | list) else (value,):
            if is_path and os.path.realpath(path) == mine:
                raise ConfigError(f"--log-file {log} is another file of this command, too")
    open_log(log)


def resolve(
    ctx: click.Context, name: str, recipe: Path | None, sets: Sequence[str], base: Path
) -> Options:
    """Return what `sedtool NAME` would run with, given a recipe, --set and the environment alone.

    Relative paths are relative to `base`; `ctx` is the context of the command that asks.
    """
    root = ctx.find_root()
    command = root.command.get_command(root, name)  # type: ignore[attr-defined]  # it is a group
    words = ["-c", str(recipe)] if recipe is not None else []
    words += [word for text in sets for word in ("--set", text)]
    here = command.make_context(name, words, parent=root, obj=base)
    return Options(here, here.params)


def taken(cls: type[T], options: Mapping[str, Any], **others: Any) -> T:
    """Return settings with those of their fields that are options, and with `others`."""
    names = {entry.name for entry in fields(cls)} - others.keys()  # type: ignore[arg-type]
    return cls(**{name: options[name] for name in names & options.keys()}, **others)


def _sources(ctx: click.Context) -> dict[str, str]:
    """Return where the values of a command stand that are not typed, by parameter."""
    sources: dict[str, str] = ctx.meta.setdefault(f"sedtool.sources {ctx.command_path}", {})
    return sources


@contextlib.contextmanager
def _named(ctx: click.Context) -> Iterator[None]:
    """Let a ConfigError that begins with the name of a setting say its option, and where it is."""
    try:
        yield
    except ConfigError as error:
        name, _, rest = str(error).partition(" ")
        options = {p.name: option_key(p) for p in ctx.command.params if isinstance(p, click.Option)}
        if name not in options:
            raise
        is_ours = ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
        where = f"{_sources(ctx).get(name)}: " if is_ours else ""
        raise ConfigError(f"{where}--{options[name]} {rest}") from error


def section_name(ctx: click.Context) -> str:
    """Return the section of a command: its words below `sedtool`, joined by hyphens."""
    words = ctx.command_path.removeprefix(ctx.find_root().command_path).split()
    return "-".join(words) or (ctx.command.name or "")


def option_key(parameter: click.Parameter) -> str:
    """Return the name a parameter has in a recipe: its long option's."""
    longest = max(parameter.opts, key=len).lstrip("-")
    return longest.lower().replace("_", "-")


def _collect(
    ctx: click.Context, recipe: str | None, sets: Sequence[str], typed: set[str], base: Path | None
) -> dict[str, Given]:
    """Return the settings of the command, by parameter name, the strongest source each.

    What is `typed` on the command line takes the place of any, so a file that a recipe names for it
    need not be there. Relative paths are relative to `base`, if it is given.
    """
    ours = any(variable.startswith(_ENVIRONMENT) for variable in os.environ)
    if not (recipe or sets or ours):
        return {}
    section, known = section_name(ctx), _sections(ctx)
    mine = known[section]
    known[ALL] = {key: option for options in known.values() for key, option in options.items()}
    given: dict[str, Given] = {}
    environment = _from_environment(known, section, is_asked=base is not None)
    sources = (_from_recipe(recipe), environment, _from_sets(sets))
    for setting in chain.from_iterable(map(_general_first, sources)):
        parameter = _find(known, setting)
        if parameter is None or setting.section not in (section, ALL):
            continue  # the inputs of other commands may come later
        parameter = mine.get(setting.key)
        if parameter is None or parameter.name in typed:
            continue
        placed = replace(setting, value=_placed(parameter, setting, base))
        given[str(parameter.name)] = replace(placed, value=_checked(parameter, placed, ctx))
    return {name: setting for name, setting in given.items() if setting.value is not None}


def _general_first(settings: Iterable[Given]) -> list[Given]:
    """Return the settings of one source, with those of all commands before those of one."""
    return sorted(settings, key=lambda setting: setting.section != ALL)


def _from_recipe(recipe: str | None) -> Iterator[Given]:
    if recipe is None:
        return
    path = Path(recipe)
    if not path.is_file():
        return  # Click says so
    from sedtool.config.recipe import read_recipe

    for name, section in read_recipe(path).items():
        yield Given(name, "", None, f"{path}:{section.line}")
        for key, (value, line) in section.values.items():
            yield Given(name, key, value, f"{path}:{line}", path)


def _from_environment(
    known: Mapping[str, Mapping[str, click.Parameter]], section: str, is_asked: bool
) -> Iterator[Given]:
    """Yield the values of SEDTOOL_<SECTION>_<OPTION>."""
    for variable, text in sorted(os.environ.items()):
        if not variable.startswith(_ENVIRONMENT):
            continue
        rest = variable.removeprefix(_ENVIRONMENT).lower().replace("_", "-")
        matching = [name for name in known if rest.startswith(f"{name}-")]
        name = max(matching, key=len, default="")
        if name in (section, ALL):
            yield Given(name, rest.removeprefix(f"{name}-"), _value(text, variable), variable)
        elif not name and not is_asked:  # it may belong to others, so that it is no error
            _log.warning("%s in the environment is no setting of sedtool", variable)


def _from_sets(sets: Sequence[str]) -> Iterator[Given]:
    seen: set[str] = set()
    for text in sets:
        path, equals, value = text.partition("=")
        section, dot, key = path.strip().partition(".")
        where = f"--set {path}"
        if not (equals and dot and key):
            raise ConfigError(f"--set {text}: expected section.key=value, as in train.epochs=20")
        if path.strip() in seen:
            raise ConfigError(f"{where} is given twice")
        seen.add(path.strip())
        yield Given(section, key, _value(value.strip(), where), where)


def _value(text: str, where: str) -> Any:
    """Return text as it is, ``[a, b]`` as a list, nothing as None."""
    if not text.startswith("["):
        return text or None
    from sedtool.config.recipe import parse_list

    return parse_list(text, where)


def _sections(ctx: click.Context) -> dict[str, dict[str, click.Parameter]]:
    """Return the parameters of every command by section and key."""
    found: dict[str, dict[str, click.Parameter]] = {}
    waiting: list[tuple[str, click.Command | None]] = [("", ctx.find_root().command)]
    for section, command in waiting:
        if isinstance(command, click.Group):
            names = command.list_commands(ctx)
            waiting += [(f"{section}-{n}".strip("-"), command.get_command(ctx, n)) for n in names]
        elif command is not None:
            found[section] = {option_key(p): p for p in command.params if p.expose_value}
    return found


def _find(
    known: Mapping[str, Mapping[str, click.Parameter]], setting: Given
) -> click.Parameter | None:
    """Return the parameter that is set; None if only its section is named."""
    where, section, key = setting.source, setting.section, setting.key
    if section not in known:
        raise ConfigError(f"{where}: no subcommand {quoted(section)}{_hint(section, known)}")
    if key and key not in known[section]:
        raise ConfigError(
            f"{where}: {section} has no option {quoted(key)}{_hint(key, known[section])}"
        )
    return known[section][key] if key else None


def _hint(word: str, valid: Mapping[str, Any]) -> str:
    return suggestion(word, valid) or f"; valid: {', '.join(sorted(valid))}"


def _placed(parameter: click.Parameter, setting: Given, base: Path | None) -> Any:
    """Return a value whose relative paths, if it has any, start at the folder that is meant."""
    kind, value = parameter.type, setting.value
    if isinstance(kind, opt.BesideRecipe) and setting.recipe is not None:
        base = setting.recipe.parent
    if base is None or value is None or not isinstance(kind, click.Path | opt.WordOrFile):
        return value
    if isinstance(value, list):
        return [text if text == "-" else str(base / text) for text in value]
    is_word = isinstance(kind, opt.WordOrFile) and not (base / value).is_file()
    return value if is_word or value == "-" else str(base / value)


def _checked(parameter: click.Parameter, setting: Given, ctx: click.Context) -> Any:
    """Convert a value once, so that a wrong one is reported where it stands."""
    value = setting.value
    if value is None:
        return None  # `val-weak:` with nothing behind it is not given
    repeatable = getattr(parameter, "multiple", False) or parameter.nargs == -1
    if isinstance(value, list) and parameter.type is opt.INTEGERS:
        value = ",".join(map(str, value))
    elif isinstance(value, list) and not repeatable:
        raise ConfigError(f"{setting.source}: {setting.key} takes one value, not a list")
    if repeatable and not isinstance(value, list):
        value = [value]
    try:
        parameter.type_cast_value(ctx, value)
    except click.BadParameter as error:
        raise ConfigError(f"{setting.source}: {setting.key}: {error.message}") from None
    return value


def _resolved(command: SedtoolCommand, ctx: click.Context) -> str:
    """Return all values as a recipe, each with a comment that says where it comes from."""
    sources = _sources(ctx)
    derived = command.derived(ctx.params)
    lines = [f"{section_name(ctx)}:"]
    for parameter in command.params:
        name = str(parameter.name)
        if not parameter.expose_value or name not in ctx.params:
            continue
        key, value = option_key(parameter), ctx.params[name]
        source = sources.get(name, "default")
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            source = "command line"
        if source == "default" and key in derived:
            value, source = derived[key]
        text = "" if value in (None, ()) else _as_yaml(value)
        lines.append(f"{f'  {key}: {text}'.rstrip():<40}  # {source}")
    return "".join(line + "\n" for line in lines)


def _as_yaml(value: Any) -> str:
    """Return a value as YAML that the recipe reader takes: JSON is a part of YAML."""
    if isinstance(value, tuple) and all(isinstance(item, int) for item in value):
        return ",".join(map(str, value))
    return json.dumps(value, ensure_ascii=False, default=str)
