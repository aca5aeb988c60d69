"""What all figures share: sheets, colours, names as the font has them, files.

Only this package imports matplotlib (the `plot` extra), and only when a figure is drawn. Colours
are Okabe and Ito's, which colour-blind readers can tell apart; lines and markers differ besides.
"""

import functools
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from sedtool.atomic import refuse_existing, refuse_input, write_bytes
from sedtool.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "ORANGE",
    "check_output",
    "colour",
    "fit_fonts",
    "fonts_of",
    "line",
    "marker",
    "new_figure",
    "require_matplotlib",
    "save",
    "shown",
    "styled",
]

P = ParamSpec("P")
R = TypeVar("R")

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
# Seven colours and four lines have no common divisor: 28 classes are told apart.
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
_MARKERS = "osD^vPX*"
_FORMATS = (".png", ".svg", ".pdf")
_DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # equal figures are equal files

_FONT = "DejaVu Sans"  # comes with matplotlib, so it is the same everywhere
_STYLE: dict[Any, Any] = {
    "font.family": _FONT,
    "text.parse_math": False,  # a class may well be named $5$
    "svg.hashsalt": "sedtool",
}


def require_matplotlib() -> None:
    """Raise a ConfigError unless figures can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("figures need matplotlib: pip install 'sedtool[plot]'")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function draw in sedtool's style, whatever style its caller has set."""

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> R:
        require_matplotlib()
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        with rc_context(_STYLE):
            drawn = draw(*args, **kwargs)
            if isinstance(drawn, Figure):
                fit_fonts(drawn)
            return drawn

    return in_style


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure (inches) that belongs to no window system."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def colour(i: int) -> str:
    """Return the colour of the i-th of several."""
    return _COLOURS[i % len(_COLOURS)]


def line(i: int) -> Any:
    """Return the line style of the i-th of several."""
    return _LINES[i % len(_LINES)]


def marker(i: int) -> str:
    """Return the marker of the i-th of several."""
    return _MARKERS[i % len(_MARKERS)]


def shown(name: str) -> str:
    r"""Return a name as it can be drawn; what no font here has stands as \\uXXXX."""
    text = "".join(c if _font_of(c) else f"\\u{ord(c):04x}" for c in name)
    # A legend leaves out names that begin with an underscore.
    return f"\u200b{text}" if text.startswith("_") else text


def fit_fonts(figure: "Figure") -> None:
    """Give each text of a figure the fonts that it is drawn in."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfamily(fonts_of(text.get_text()))


def fonts_of(text: str) -> list[str]:
    """Return the fonts that a text is drawn in: ours, and those that have what it lacks."""
    return [_FONT, *sorted({font for c in text if (font := _font_of(c)) and font != _FONT})]


@functools.cache
def _font_of(character: str) -> str | None:
    """Return the font that a character is drawn in: ours, else an installed one that has it."""
    from matplotlib.font_manager import findfont, get_font

    def has(path: str) -> bool:
        return get_font(path).get_char_index(ord(character)) > 0

    if has(findfont(_FONT)):
        return _FONT
    others = _other_fonts() if character.isprintable() else ()
    return next((name for name, path in others if has(path)), None)


@functools.cache
def _other_fonts() -> tuple[tuple[str, str], ...]:
    """Return name and path of the upright fonts that are installed, the largest first."""
    from matplotlib.font_manager import fontManager, get_font

    found = {
        font.name: font.fname
        for font in fontManager.ttflist
        if (font.style, font.weight) == ("normal", 400) and Path(font.fname).is_file()
    }
    # Fonts of last resort draw one box for all characters of a script.
    names = [name for name in sorted(found) if not name.startswith("Last Resort")]
    names.sort(key=lambda name: -get_font(found[name]).num_glyphs)
    return tuple((name, found[name]) for name in names)


def check_output(output: Path, overwrite: bool, *inputs: Path) -> None:
    """Refuse an output that is no picture, is finished already, or is read itself."""
    if output.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{output}: a figure is written as one of {', '.join(_FORMATS)}")
    refuse_existing(output, overwrite)
    refuse_input(output, inputs)


@styled
def save(figure: "Figure", output: Path) -> None:
    """Write a figure as PNG, SVG or PDF, by the suffix."""
    buffer, kind = io.BytesIO(), output.suffix[1:].lower()
    figure.savefig(buffer, format=kind, dpi=150, metadata=_DATES.get(kind, {}))
    write_bytes(output, buffer.getvalue())
