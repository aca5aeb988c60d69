"""One thing that was looked at."""

from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Check", "in_gib", "ok", "problem", "warning"]


@dataclass(frozen=True)
class Check:
    """What was found, whether it is well, and what to do if not."""

    name: str
    status: Literal["ok", "warning", "problem"]  # problem: something required does not work
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, str | None]:
        """Return the fields; a remedy that is not needed is None."""
        return {**asdict(self), "remedy": self.remedy or None}

    def __str__(self) -> str:
        """Return a line, and a second one for the remedy."""
        line = f"{self.status:<8} {self.name:<22} {self.found}"
        return f"{line}\n{'':<31} -> {self.remedy}" if self.remedy else line


def ok(name: str, found: str, remedy: str = "") -> Check:
    """Return that all is well; a remedy then only says what else there is."""
    return Check(name, "ok", found, remedy)


def warning(name: str, found: str, remedy: str) -> Check:
    """Return that something is not as it should be, and works all the same."""
    return Check(name, "warning", found, remedy)


def problem(name: str, found: str, remedy: str) -> Check:
    """Return that something required does not work."""
    return Check(name, "problem", found, remedy)


def in_gib(n_bytes: float) -> str:
    """Return a number of bytes in words."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**27 else f"{n_bytes / 2**20:.1f} MiB"
