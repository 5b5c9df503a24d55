"""Says whether a text refuses to answer."""

import re

from markgraph.text import sentences
from markgraph.validation.drafts import marks_of, without_marks

REFUSAL = "The passages do not answer this."
"""What models are taught to say where the passages hold no answer."""

_SOURCES = r"(?:\w+\s+){0,3}(?:passages?|texts?|contexts?|sources?|documents?|excerpts?|information)"
_SAY = r"(?:answer|contain|provide|mention|say|state|specify|include|give|indicate|address)s?\b"
_REFUSES = re.compile(
    rf"""
      {_SOURCES}\s+(?:do|does|did)(?:\s+not|n['’]t)\s+(?:\w+\s+)?{_SAY}
    | (?:none\s+of|no)\s+{_SOURCES}\s+{_SAY}
    | there\s+is\s+(?:no|not\s+enough|insufficient)\s+(?:\w+\s+){{0,2}}(?:information|evidence|answer)\b
    | i\s+(?:can(?:not|['’]t|\s+not)|could\s+not|couldn['’]t)\s+(?:answer|find|determine|tell)\b
    | i(?:\s+am|['’]m)\s+(?:unable|not\s+able)\s+to\s+(?:answer|find|determine|tell)\b
    | i\s+(?:do\s+not|don['’]t)\s+know\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_REGRET = re.compile(r"(?:unfortunately|sorry|i(?:['’]m| am) sorry)\W+(?:but\s+)?", re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Tell whether `text` says that it can't answer, and cites nothing.

    Knows `REFUSAL`, and how models put it that were never taught to. "The text does not say so [1]." answers.
    """
    plain = without_marks(text).strip()
    if plain.casefold().rstrip(".") == REFUSAL.casefold().rstrip("."):
        return True
    start, end = next(iter(sentences(plain)), (0, 0))
    first = _REGRET.sub("", plain[start:end].strip(), count=1)
    return not marks_of(text) and bool(_REFUSES.match(first))
