"""How the package is laid out: imports point one way, and every default stands once, in config/."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import sedtool

ROOT = Path(sedtool.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the bottom up; a module imports those of the lines below its own, and its own package.
LAYERS = (
    "errors signals bounds file_kinds __version__",
    "text",
    "config machine",
    "atomic boxes draws plugins",
    "labels features shards",
    "audio augment",
    "store",
    "pooling decoding datasets",
    "losses crnn runs score_tables",
    "checkpoint",
    "mean_teacher scoring",
    "extraction inference evaluation checking convert",  # the stages, and what helps beside them
    "fitting",
    "tuning comparison ensemble plots doctor recipes info",
    "training",
    "planning sweep demo",
    "cli",
    "__main__",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

# What alone imports a library.
OWNERS = {
    "click": "cli",
    "rich": "cli",
    "h5py": "store",
    "soundfile": "audio",
    "soxr": "audio",
    "av": "audio",
    "matplotlib": "plots",
    "sed_eval": "evaluation/sed_eval_engine.py",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def member(path: Path) -> str:
    """Return the module, or the package, of the first level that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Yield the words of each module that a file imports anywhere."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            words = tuple(node.module.split("."))
            yield from (
                [(*words, alias.name) for alias in node.names] if len(words) == 1 else [words]
            )
        elif isinstance(node, ast.Import):
            yield from [tuple(alias.name.split(".")) for alias in node.names]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    mine = member(path)
    if mine == "__init__":
        return
    for words in imported(path):
        if words[0] == "sedtool" and words[1] != mine:
            assert LEVEL[words[1]] < LEVEL[mine], f"{mine} imports {words[1]}"


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_in_one_place(library):
    users = {path for path in FILES if any(words[0] == library for words in imported(path))}
    users |= {path for path in FILES if f'import("{library}.' in path.read_text("utf-8")}
    owner = ROOT / OWNERS[library]
    assert users
    assert not {path for path in users if owner not in (path, *path.parents)}


def literal(node: ast.expr | None) -> str | None:
    """Return a literal as text, with `setting(...)` and `field(...)` read through; else None."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setting", "field"):
        keywords = [word.value for word in node.keywords if word.arg == "default"]
        node = next(iter((*node.args, *keywords)), None)
    try:
        return None if node is None else repr(ast.literal_eval(node))
    except ValueError:
        return None


def stated(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield name and literal default of each field of a dataclass."""
    for node in body:
        is_field = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if is_field and (value := literal(node.value)) is not None:
            yield node.target.id, value


def of_parameters(arguments: ast.arguments) -> Iterator[tuple[str, str]]:
    """Yield name and literal default of each parameter of a function."""
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = [
        *zip(positional[::-1], arguments.defaults[::-1], strict=False),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if (value := literal(default)) is not None:
            yield argument.arg, value


EMPTY = {"None", "False", "()", "''", "{}", "[]", "'.'"}  # nothing, or the current folder
DEFAULTS = {
    pair
    for path in (ROOT / "config").glob("*.py")
    for node in ast.walk(tree(path))
    if isinstance(node, ast.ClassDef)
    for pair in stated(node.body)
}


def test_no_default_of_a_setting_is_written_again():
    assert ("plateau_patience", "5") in DEFAULTS and ("collar", "0.2") in DEFAULTS
    again = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {name} = {value}"
        for path in FILES
        if path.parent.name != "config"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for name, value in (
            stated(node.body) if isinstance(node, ast.ClassDef) else of_parameters(node.args)
        )
        if value not in EMPTY and (name, value) in DEFAULTS
    ]
    assert not again


def test_the_default_of_an_option_comes_from_config():
    written = [
        f"{path.name}:{node.lineno}: {word.value}"
        for path in (ROOT / "cli").glob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("click.option", "click.argument")
        for word in node.keywords
        if word.arg == "default" and literal(word.value) not in {None, *EMPTY}
    ]
    assert not written


def test_files_are_short_and_names_tell_them_apart():
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert [path for path, length in lengths.items() if length > 500] == []
    names = Counter(path.name for path in FILES if path.name != "__init__.py")
    # A command and its stage have one name; no third module has it.
    assert [name for name, count in names.items() if count > 2] == []


def test_the_public_names_of_a_package_are_listed_in_its_init_alone():
    inner = [path for path in FILES if path.parent != ROOT and path.name != "__init__.py"]
    assert [path for path in inner if "\n__all__ = " in path.read_text("utf-8")] == []
