"""Settings: what a field says of itself is what is checked, and what its option is."""

from dataclasses import dataclass

import click
import pytest

from sedtool.cli.options import INTEGERS, settings
from sedtool.config.base import require_valid, setting
from sedtool.errors import ConfigError


@dataclass(frozen=True)
class Config:
    share: float = setting(0.5, "A share.", within="[0, 1)")
    count: int | None = setting(None, "A number.", within="(0, 1e6]", metavar="N")
    kind: str = setting("round", "A shape.", choices=("round", "square"))
    name: str = setting("first", "A name, or more.", names=("first", "second"))
    sizes: tuple[int, ...] = setting((), "Numbers.", shown="none")
    words: tuple[str, ...] = setting(("a",), "Words.")
    loud: bool = setting(False, "A flag.")
    very_loud: bool = setting(True, "A flag that can be taken back.", paired=True)

    def __post_init__(self):
        require_valid(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.0}, r"^share must be in \[0, 1\), not 1.0$"),
        ({"share": -0.1}, r"^share must be in \[0, 1\), not -0.1$"),
        ({"share": float("nan")}, r"^share must be in \[0, 1\), not nan$"),
        ({"count": 0}, r"^count must be in \(0, 1e6\], not 0$"),
        ({"count": 1_000_001}, "^count must be in "),
        ({"kind": "flat"}, "^kind must be one of round, square, not 'flat'$"),
    ],
)
def test_what_a_setting_does_not_let_in_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Config(**values)


def test_the_ends_of_an_interval_that_belong_to_it_are_let_in():
    assert Config(share=0.0, count=1_000_000) == Config(0, 1e6)
    assert Config().share == Config.share == 0.5  # a field is the default still


def options(*names, **others):
    def command(**values):
        pass

    for option in reversed(settings(Config, *names, **others)):
        command = option(command)
    return {parameter.name: parameter for parameter in click.command()(command).params}


def test_an_option_is_what_the_field_says():
    made = options("share", "count", "kind", "name", "sizes", "words", "loud", "very_loud")
    for name, option in made.items():
        assert option.default == getattr(Config, name)
        assert option.help == Config.__dataclass_fields__[name].metadata["setting"].help
    types = {name: option.type for name, option in made.items()}
    plain = [types[name] for name in ("share", "count", "name")]
    assert plain == [click.FLOAT, click.INT, click.STRING]
    assert (types["kind"].choices, types["sizes"]) == (("round", "square"), INTEGERS)
    assert [name for name, option in made.items() if option.multiple] == ["words"]
    assert [name for name, option in made.items() if option.is_flag] == ["loud", "very_loud"]
    assert made["very_loud"].secondary_opts == ["--no-very-loud"]
    assert (made["count"].metavar, made["sizes"].show_default) == ("N", "none")
    completed = made["name"].shell_complete(click.Context(click.Command("c")), "s")
    assert [item.value for item in completed] == ["second"]


def test_an_option_may_differ_from_the_field():
    assert options("share", default=None, help="Another.")["share"].default is None
