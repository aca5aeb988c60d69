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

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
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

        with rc_context(_STYLE):
            return draw(*args, **kwargs)

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
    r"""Return a name as the font can draw it; what it lacks stands as \\uXXXX."""
    known = _characters()
    text = "".join(c if ord(c) in known else f"\\u{ord(c):04x}" for c in name)
    # A legend leaves out names that begin with an underscore.
    return f"\u200b{text}" if text.startswith("_") else text


@functools.cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


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
