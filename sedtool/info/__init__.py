"""Any artifact -> what it says of itself: for people as text, for programs as JSON.

Kinds are told by content, not by name. Without `verify` tables and headers are read, so that a file
of 50 GB takes no longer than a small one; with it every digest is checked, and audio is decoded.
"""

from sedtool.info.description import Description
from sedtool.info.dispatch import describe, describe_all

__all__ = ["Description", "describe", "describe_all"]
