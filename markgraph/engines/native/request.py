"""One answer in the making: what was asked, and what the models remember of it."""

from dataclasses import dataclass, field

from markgraph.engines.native.decoder import SequenceState
from markgraph.engines.native.lookup import Lookup, same
from markgraph.engines.native.odds import Tally
from markgraph.engines.native.pipe import End, Pipe
from markgraph.engines.port import Sampling, Token
from markgraph.engines.sampler import Sampler


@dataclass(eq=False)
class Request:
    """An answer that somebody waits for."""

    sampling: Sampling
    scope: str
    """Whose caches it may use."""
    pipe: Pipe
    tokens: list[int]
    """The prompt, and what was answered so far."""
    capacity: int
    """Tokens that prompt and answer may have together."""
    bytes: int = 0
    """Memory that it takes while it is read and answered."""
    cancelled: bool = False
    """Its consumer has left."""
    overtaken: int = 0
    """How many later requests were let in while there was no memory for it."""
    sampler: Sampler = field(init=False)
    plain: bool = field(init=False)
    """It takes the likeliest token, and wants to know nothing of the others."""
    lookup: Lookup = field(init=False)

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.sampling)
        self.plain = self.sampler.greedy and self.sampling.mask is None and self.sampling.logprobs is None
        self.lookup = Lookup(self.tokens)

    @property
    def left(self) -> int:
        """Return how many tokens it may still be given."""
        return self.capacity - len(self.tokens)

    @property
    def paused(self) -> bool:
        """Tell whether its consumer has too many tokens yet to take."""
        return self.pipe.room <= 0

    def say(self, item: Token | End) -> None:
        """Hand a token, or the end, to its consumer, if that is still there."""
        try:
            self.pipe.put(item)
        except RuntimeError:  # the consumer's event loop is closed
            self.cancelled = True


@dataclass
class Draft:
    """What a draft model remembers of a request."""

    state: SequenceState
    confirmed: int = 0
    """So many tokens that it has read are the request's."""
    guessed: list[int] = field(default_factory=list)
    """Guesses that it has read after them, where its state can be taken back."""

    def agreed(self, tokens: list[int]) -> int:
        """Return how many tokens that it has read are those of `tokens`, the last one not counted."""
        return self.confirmed + same(self.guessed, tokens[self.confirmed : -1])


@dataclass(eq=False)
class Row:
    """A request that was let in.

    Once the prompt is read, the state has read all of its tokens but the last. A step reads that one too, and
    what is chosen from its logits is appended.
    """

    request: Request
    state: SequenceState
    draft: Draft | None = None
    luck: Tally = field(default_factory=Tally)
    """How often what was found to copy was right."""
    draft_luck: Tally = field(default_factory=lambda: Tally(2.0, 3.0))
    """How often the draft model was right."""
    ended: bool = False
    """Its last token is chosen."""

    @property
    def tokens(self) -> list[int]:
        """Return the prompt, and what was answered so far."""
        return self.request.tokens

    @property
    def unread(self) -> int:
        """Return how many of its tokens the model has yet to read."""
        return len(self.request.tokens) - self.state.length
