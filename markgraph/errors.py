"""What can go wrong, by what the person in front of it should do next.

Every error says what was wrong, what was got, what is allowed, and what to do.
`exit_code` is what the command line ends with.
"""

import math


class MarkError(Exception):
    """Base of every error that MARK raises on purpose."""

    exit_code = 1


class UsageError(MarkError, RuntimeError):
    """The request itself is wrong: a path, an argument, a missing step.

    LangGraph Server gives clients the words of Python's own errors, such as RuntimeError, and of no others.
    """

    exit_code = 2


class ConfigError(UsageError):
    """A config key, group or value that does not exist or does not fit."""


class UnknownArchitectureError(UsageError):
    """An engine does not know a model's architecture; another one may."""


class MissingExtraError(UsageError):
    """An optional part is used that is not installed; the message holds the command that installs it."""


class EmptyIndexError(UsageError):
    """A question was asked before any document was ingested."""


class EmptyCorpusError(UsageError):
    """There is a corpus, and nothing in it that could be read."""


class ApprovalNeededError(UsageError):
    """The run stopped for a person's word, and this door has no way to give it."""


class DeniedError(MarkError, PermissionError, RuntimeError):
    """The caller may not do this; LangGraph Server says so in its words, too."""

    exit_code = 4


class UnauthenticatedError(DeniedError):
    """Nobody is known to be asking: a token is missing, or is not to be trusted."""


class ProviderError(MarkError):
    """The identity provider can't be asked, so nobody can be told from anybody."""


class SandboxError(MarkError):
    """A tool asked for something outside of what it may touch, or for too much of it."""


class UnsafeError(MarkError):
    """A security check failed, and production does not start."""


class WeightsError(MarkError):
    """A model's files could not be fetched, or are not what their hash says."""


class DocumentError(MarkError):
    """One document could not be read; the others still can."""


class StorageError(MarkError):
    """Something could not be written or read back: a full disk, a damaged or mismatched index."""


class FullDiskError(StorageError):
    """Something could not be written because there is no room for it."""


class OtherEmbedderError(StorageError):
    """An index holds the vectors of another embedder than the config names: they don't compare."""

    exit_code = 2


class SealError(StorageError):
    """Something sealed does not open, or something lies in clear where everything is sealed."""


class ShreddedError(SealError):
    """The key of a tenant was deleted on purpose: what it sealed can never be read again."""


class OverloadedError(MarkError):
    """More is asked at once than this machine keeps waiting: the same request will do later."""


class LimitError(MarkError):
    """A caller has used as much as they may for now."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        """Keep after how many seconds, at least, the same request may do."""
        super().__init__(message)
        self.retry_after = max(1, math.ceil(retry_after))


class EngineError(MarkError):
    """The model failed, or was taken away, while it computed an answer."""


class TooLargeError(MarkError):
    """A model does not fit into the memory that is there, or that models may take."""


class UnsafeGraphError(MarkError):
    """A graph could break the policy; the message holds the paths that do."""


class QualityError(MarkError):
    """A number format changes a model's answers more than was stated to be tolerable."""
