"""How secret a document is, and up to where a caller is cleared."""

from markgraph.errors import ConfigError

CLASSIFICATIONS = ("public", "internal", "confidential", "restricted")
"""Names of the levels, the least secret first; a level is an index into them."""


def level_of(name: str) -> int:
    """Return the level that `name` stands for.

    Raises:
        ConfigError: it is none of `CLASSIFICATIONS`.
    """
    if name not in CLASSIFICATIONS:
        raise ConfigError(f"Unknown classification {name!r}. Allowed: {', '.join(CLASSIFICATIONS)}.")
    return CLASSIFICATIONS.index(name)
