"""Decides who may read a document: by where it lies, and by what it says of itself.

Rules know nothing of tenants: a document belongs to the tenant of whoever ingests it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from unicodedata import normalize

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictStr,
    model_validator,
)
from wcmatch import glob

from markgraph.errors import ConfigError, UsageError
from markgraph.ingestion.names import path_of
from markgraph.security.caller import PUBLIC
from markgraph.security.classification import CLASSIFICATIONS, level_of
from markgraph.security.permissions import Permissions, check_readers

SEVERAL = ", "
"""What stands between the values of a field that has several."""
_GLOB = glob.GLOBSTAR | glob.DOTGLOB | glob.FORCEUNIX


def _one_or_several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _pattern(pattern: str) -> str:
    folders = pattern.split("/")
    if not all(folders) or ".." in folders or "." in folders or "\\" in pattern:
        raise ValueError(
            f"{pattern!r} is no pattern of a path in the corpus: no / at an end, no //, no . or .., no \\. "
            "Allowed: * within a name, ** for any folders, ?, [abc], for example hr/** for all below hr"
        )
    return normalize("NFC", pattern)


def _readers(readers: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(sorted(set(check_readers(readers)))) if readers else ()
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _classification(name: str) -> str:
    try:
        level_of(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return name


def _values(text: str) -> set[str]:
    whole = normalize("NFC", text)
    return {whole, *whole.split(SEVERAL)}


def _text(text: str) -> str:
    return normalize("NFC", text)


Text = Annotated[StrictStr, AfterValidator(_text)]
Pattern = Annotated[StrictStr, AfterValidator(_pattern)]
OneOrSeveral = BeforeValidator(_one_or_several)


class Grant(BaseModel):
    """Whom something is open to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    readers: Annotated[tuple[StrictStr, ...], AfterValidator(_readers)]
    """Reader atoms: `public`, `g:GROUP`, `u:SUBJECT`; an empty list is nobody."""
    classification: Annotated[StrictStr, AfterValidator(_classification)] = CLASSIFICATIONS[0]
    """One of `CLASSIFICATIONS`: readers must be cleared for it, too."""

    def permissions(self, tenant: str) -> Permissions:
        """Return it as what chunks of `tenant` carry."""
        return Permissions(tenant, self.readers, level_of(self.classification))


class Rule(Grant):
    """Whom the documents are open to that lie at one of some paths, and say all of some things."""

    path: Annotated[tuple[Pattern, ...], OneOrSeveral] = ()
    """Patterns of which one matches the whole path; upper and lower case differ. Empty: any path."""
    where: Mapping[StrictStr, Annotated[tuple[Text, ...], OneOrSeveral]] = Field(default_factory=dict)
    """Values of which each field of the document's metadata must have one. Empty: any metadata.

    A field of several values, `a, b` as text, has each of them, and all together.
    A document's author writes its metadata: don't let it open what the path alone would not.
    """
    _patterns: tuple[re.Pattern[str], ...] = PrivateAttr()

    @model_validator(mode="after")
    def _asks_for_something(self) -> "Rule":
        if not self.path and not self.where:
            raise ValueError("a rule needs path or where; what holds for every other document is `default`")
        return self

    def model_post_init(self, _: Any) -> None:
        """Compile the patterns."""
        translated = (glob.translate(pattern, flags=_GLOB)[0][0] for pattern in self.path)
        self._patterns = tuple(map(re.compile, translated))

    def matches(self, path: str, metadata: Mapping[str, str]) -> bool:
        """Tell whether it is about the document at `path`, in NFC, that says `metadata` of itself."""
        if (
            self.path
            and "**" not in self.path
            and not any(pattern.fullmatch(path) for pattern in self._patterns)
        ):
            return False
        return all(
            field in metadata and not _values(metadata[field]).isdisjoint(allowed)
            for field, allowed in self.where.items()
        )


class Rules(BaseModel):
    """Whom each document of a corpus is open to: the first rule that matches decides, and no other.

    Where none does, `default` holds. Where there is no default either, nobody may read the document.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = ()
    default: Grant | None = None

    @model_validator(mode="after")
    def _all_can_match(self) -> "Rules":
        for at, rule in enumerate(self.rules[:-1]):
            if "**" in rule.path and not rule.where:
                raise ValueError(f"rule {at + 1} matches every document, so the rules behind it never decide")
        return self

    @property
    def ask_metadata(self) -> bool:
        """Tell whether a document has to be read to know who may read it."""
        return any(rule.where for rule in self.rules)

    def check_opens(self, source: str, old: Permissions, new: Permissions) -> None:
        """Allow any change: whoever stated these rules wanted it."""

    def permissions(self, path: str, metadata: Mapping[str, str], tenant: str) -> Permissions:
        """Return who may read a document.

        Args:
            path: where it lies, relative to its corpus; see `path_within`.
            metadata: what it says of itself.
            tenant: whose it is.
        """
        path = normalize("NFC", path)  # a file system may spell a name in another way than the rule does
        matching = (rule for rule in self.rules if rule.matches(path, metadata))
        grant = next(matching, self.default)
        return grant.permissions(tenant) if grant else Permissions(tenant)


class Assumed(Rules):
    """Rules that nobody stated in full: they hold for new documents, and open none that was closed before."""

    readers_stated: bool
    classification_stated: bool

    def check_opens(self, source: str, old: Permissions, new: Permissions) -> None:
        """Refuse to open a document to more than before by what was not stated.

        Raises:
            UsageError: it would be.
        """
        opens = not self.readers_stated and not set(new.readers) <= set(old.readers)
        lowers = not self.classification_stated and new.classification < old.classification
        if opens or lowers:
            was = f"readers=[{','.join(old.readers)}] classification={CLASSIFICATIONS[old.classification]}"
            unsaid = "readers" if opens else "classification"
            raise UsageError(
                f"{source} was ingested with {was}; without {unsaid} it would be opened to more. Say both "
                "as they were, or as they are to be, for example readers=[public] classification=public."
            )


def rules_for_all(readers: Sequence[str] | None = None, classification: str | None = None) -> Rules:
    """Return the rules that open every document to the same readers; None is public, for new documents.

    Raises:
        ConfigError: a reader is no atom, there are none, or there is no such classification.
    """
    level_of(classification or CLASSIFICATIONS[0])
    grant = Grant(
        readers=check_readers([PUBLIC] if readers is None else readers),
        classification=classification or CLASSIFICATIONS[0],
    )
    if readers is not None and classification is not None:
        return Rules(default=grant)
    return Assumed(
        default=grant,
        readers_stated=readers is not None,
        classification_stated=classification is not None,
    )


def path_within(corpus: str, source: str) -> str:
    """Return where a document lies in a corpus, as rules see it.

    That is its real path, which `name_of` wrote, below the corpus's folder, the name of a corpus that is one
    file (with what follows it, such as `#7`), or the whole source where the corpus's name is no part of it.
    """
    folder = corpus.rstrip("/")
    if source.startswith(f"{folder}/") and source != corpus:
        return path_of(source[len(folder) + 1 :])
    if source == corpus:
        return path_of(source[corpus.rfind("/") + 1 :])
    if source.startswith(f"{corpus}#"):
        return source[corpus.rfind("/") + 1 :]
    return source


def takes_away(old: Permissions, new: Permissions) -> bool:
    """Tell whether somebody may lose something by the change from `old` to `new`."""
    readers_stay = PUBLIC in new.readers or set(old.readers) <= set(new.readers)
    return not readers_stay or new.classification > old.classification
