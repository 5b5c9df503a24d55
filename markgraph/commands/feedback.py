"""`markgraph feedback`: says what one thinks of an answer, and shows what others said."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from omegaconf import DictConfig

from markgraph.audit.journal import Journal
from markgraph.build import make, make_services
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.guarded import journal_of
from markgraph.commands.terminal import printable
from markgraph.errors import UsageError
from markgraph.feedback.desk import Desk
from markgraph.feedback.types import RATINGS, Feedback, Opinion
from markgraph.retrieval.storage import storage_errors
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Resource

SHOWS = ("list", "export")
WIDTH = 60
"""Characters of a question or an answer in a list."""


def run(config: DictConfig) -> int:
    """Rate an answer, or show what was said of answers, and return 0."""
    check_choice(config, "output", OUTPUTS)
    *run_ids, what = str(config.what or "").split() or [""]
    if what not in (*RATINGS, *SHOWS) or len(run_ids) > (what in RATINGS):
        raise UsageError(
            f"Got {config.what!r}. Allowed: [RUN] up, [RUN] down, list, export. RUN is an answer's run_id."
        )
    caller: Caller = make(config, "auth").caller
    journal = journal_of(config, "feedback", caller)
    with storage_errors(Path(config.data_dir)):
        if what in SHOWS:
            return _show(config, journal, what)
        return _rate(config, journal, run_ids[0] if run_ids else None, what)


def _rate(config: DictConfig, journal: Journal, run_id: str | None, rating: str) -> int:
    store, threads = make_services(config, "ratings", "checkpoint")
    if store is None:
        raise UsageError("No feedback is kept with ratings=none. Allowed: ratings=sqlite.")
    if config.thread is None:
        raise UsageError(
            "Say in which thread the answer was given: thread=NAME. Answers outside of threads are not kept."
        )
    word = next(each for each in RATINGS if each == rating)
    opinion = Opinion(rating=word, correction=_text(config.correction), comment=_text(config.comment))
    desk = Desk(store, threads, journal.guard)
    said = desk.take(str(config.of), journal.caller, str(config.thread), run_id, opinion)
    if config.output == "json":
        print(json.dumps({"id": said["id"], "run_id": said["run_id"]}))  # noqa: T201
    else:
        print(printable(f"Kept: {rating} for run {said['run_id']}, “{said['question'][:WIDTH]}”."))  # noqa: T201
    return 0


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _show(config: DictConfig, journal: Journal, what: str) -> int:
    """Print what was said last of each run, as far as the caller may read what lies behind it."""
    journal.require(Need("feedback:read", Resource("feedback", what)))
    store, index = make_services(config, "ratings", "index")
    if store is None:
        raise UsageError("No feedback is kept with ratings=none. Allowed: ratings=sqlite.")
    withheld = 0
    for said, is_readable in _judged(store.latest(journal.caller.tenant), index, journal.caller):
        if is_readable:
            print(json.dumps(said, ensure_ascii=False) if what == "export" else _line(said))  # noqa: T201
        withheld += not is_readable
    if withheld:
        print(  # noqa: T201
            f"{withheld} more rest on documents that you may not read, that have changed, or that are not in "
            f"collection {config.collection!r}.",
            file=sys.stderr,
        )
    return 0


def _judged(rows: Iterable[Feedback], index: Index, caller: Caller) -> Iterator[tuple[Feedback, bool]]:
    """Yield rows, each with whether the caller may read all that its prompt and its answer rest on.

    Of an answer that rests on no passage nobody is known who may read it, but for whoever got it.
    """
    for said in rows:
        chunks = said["chunks"]
        is_readable = bool(chunks) and len(index.get(chunks, caller)) == len(chunks)
        yield said, is_readable or (not chunks and said["subject"] == caller.subject)


def _line(said: Feedback) -> str:
    extra = f"  correction: {said['correction']}" if said["correction"] else ""
    columns = [said["time"][:19], f"{said['rating']:4}", said["run_id"][:8], said["subject"]]
    texts = f"{said['question'][:WIDTH]}  ->  {said['answer'][:WIDTH]}{extra}"
    return printable("  ".join([*columns, texts])).replace("\n", " ")
