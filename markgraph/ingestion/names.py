"""Writes paths as names that can be printed, and reads them back."""

import os
import re
from urllib.parse import quote, unquote_to_bytes

_ESCAPE = re.compile("%(?=[0-9A-Fa-f]{2})")


def name_of(path: str) -> str:
    """Return a path as text; only what can't be printed, or is no text, is written with percent signs.

    No two paths have the same name: a percent sign that could be taken for one of these is written so, too.
    """
    escaped = _ESCAPE.sub("%25", path)
    if escaped.isprintable():
        return escaped
    return "".join(each if each.isprintable() else quote(os.fsencode(each)) for each in escaped)


def path_of(name: str) -> str:
    """Return the path that `name_of` made a name of."""
    return os.fsdecode(unquote_to_bytes(os.fsencode(name))) if _ESCAPE.search(name) else name
