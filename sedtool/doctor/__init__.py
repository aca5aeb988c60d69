"""The machine and the installation -> what works, what does not, and what mends it.

Everything is really tried where that is cheap. Nothing that is looked for is needed to look: every
import stands inside a try, so that a broken torch is a finding and not the end.
"""

from sedtool.doctor.checks import Check, examine

__all__ = ["Check", "examine"]
