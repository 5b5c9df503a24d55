"""Takes people's words on answers of theirs."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from markgraph.errors import UsageError
from markgraph.feedback.runs import Threads, find_run
from markgraph.feedback.store import FeedbackStore
from markgraph.feedback.types import RATINGS, Feedback, Opinion
from markgraph.security.caller import Caller
from markgraph.security.guard import Guard
from markgraph.security.policy import Need, Resource

LONGEST = 8_000
"""Characters of a correction, or of a comment."""
RUN_ID = re.compile("[0-9a-f]{32}")
"""Only such goes into the audit log, which nobody's words get into."""


@dataclass(frozen=True)
class Desk:
    """Keeps what callers say of their own runs, with what those runs know of their answers."""

    store: FeedbackStore
    threads: Threads | None
    """Where the threads are in which people ask; None: nowhere."""
    guard: Guard

    def take(self, graph: str, caller: Caller, thread: str, run_id: str | None, opinion: Opinion) -> Feedback:
        """Keep an opinion of the answer that a run of `graph` gave in a thread, and return the row.

        Raises:
            DeniedError: the caller may not say anything.
            UsageError: the run is none of theirs, or the opinion none that is allowed.
            StorageError: it can't be kept, or taken down in the audit log.
        """
        _check(opinion)
        if run_id is not None and not RUN_ID.fullmatch(run_id):
            raise UsageError("A run_id is 32 digits from 0 to f, as an answer came with it; this one is not.")
        about = {} if run_id is None else {"run": run_id}
        self.guard.require(caller, Need("feedback:write", Resource("graph", graph)), **about)
        if self.threads is None:
            raise UsageError("No threads are kept: checkpoint=none. An answer outside of one can't be rated.")
        rated = find_run(self.threads, graph, caller, thread, run_id)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        said: Feedback = {
            **rated,
            **opinion,
            "id": uuid4().hex,
            "time": now,
            "tenant": caller.tenant,
            "subject": caller.subject,
        }
        self.store.add(said)
        return said


def _check(opinion: Opinion) -> None:
    if opinion["rating"] not in RATINGS:
        raise UsageError(f"A rating is {' or '.join(RATINGS)}; got {opinion['rating']!r}.")
    for name, text in (("correction", opinion["correction"]), ("comment", opinion["comment"])):
        if text is not None and not (text.strip() and len(text) <= LONGEST):
            raise UsageError(
                f"A {name} is text of at most {LONGEST} characters that says something; got {len(text)}. "
                "Leave it out, or say what is meant."
            )
