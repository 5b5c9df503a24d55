"""Restarts the Postgres that holds the threads under a server, and counts what its clients are told.

    python -m benchmarks.outages
    python -m benchmarks.outages restarts=3 down=13

Each client asks over HTTP, every time in a new thread, and asks again where it was told 503, after as long as
`Retry-After` says at most. Then every thread is looked at: was it answered, and is its turn there once?
A request waits up to 10 s for a connection, and as long as `wait` says (conf/checkpoint: 30 s, here 0.5)
after one was cut: of an outage as short as a restart no client is told, of one of 13 s they are.
"""

import logging
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from markgraph import Caller, load_graph, thread_key
from markgraph.checkpoints.postgres_saver import PostgresCheckpointer
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.doors import LocalDoor
from markgraph.serving.app import create_app
from tests.servers import OwnPostgres, own_postgres
from tests.serving.running import default_guard, running

ANNA = Caller("anna", ("reader",))
PAYMENT = "Payment is due within 30 days."
BODY = {"input": {"question": "When is payment due?"}}
UP = 2.0
"""Seconds between outages."""
AGAIN = 0.2
"""Seconds until a client asks again: less than it is told, for more of them to meet an outage."""


@dataclass
class Told:
    """What clients were told."""

    codes: Counter[int] = field(default_factory=Counter)
    silent: int = 0
    """Answers of 503 that don't say when to come back."""
    longest: float = 0.0
    """Seconds from a question to its answer, the tries in vain among them."""
    turns: Counter[int] = field(default_factory=Counter)
    """How many threads have so many turns."""

    @property
    def is_fine(self) -> bool:
        """Tell whether there was no fault, and every run completed once."""
        return set(self.codes) <= {200, 503} and not self.silent and set(self.turns) == {1}


@contextmanager
def served(folder: Path, postgres: OwnPostgres, clients: int, wait: float) -> Iterator[tuple[str, Any]]:
    """Serve a graph whose threads are in Postgres; yield its address, and the graph."""
    index = WordsIndex(folder / "words.sqlite")
    index.add([Chunk(PAYMENT, "terms.md", "terms", 0, len(PAYMENT), readers=("public",))])
    services: Any = {"embedder": HashEmbeddings(), "index": index}
    services["model"] = FakeChatModel(responses=[f"{PAYMENT} [1]"])
    services["checkpoint"] = PostgresCheckpointer(postgres.conninfo, connections=clients, wait=wait)
    graph = load_graph("qa", ["domain=none", "citations=none"], **services)
    with running(create_app({"qa": graph}, LocalDoor(ANNA), default_guard())) as address:
        yield address, graph


def ask_until_answered(client: httpx.Client, thread: str, told: Told) -> None:
    """Ask in a thread until there is an answer."""
    began = time.monotonic()
    while True:
        answer = client.post("/qa/invoke", json=BODY, headers={"x-thread-id": thread})
        told.codes[answer.status_code] += 1
        if answer.status_code != 503:
            told.longest = max(told.longest, time.monotonic() - began)
            return
        told.silent += "retry-after" not in answer.headers
        time.sleep(AGAIN)


def measure(
    address: str, graph: Any, postgres: OwnPostgres, restarts: int, down: float, clients: int
) -> Told:
    """Restart Postgres under clients, and return what they were told and what is kept."""
    told, over = Told(), threading.Event()
    config = {"configurable": {"thread_id": thread_key(ANNA, "qa:before")}}
    graph.get_state(config)  # makes the tables

    def keep_asking(name: int) -> int:
        asked = 0
        with httpx.Client(base_url=address, timeout=120, trust_env=False) as client:
            while not over.is_set():
                ask_until_answered(client, f"{name}-{asked}", told)
                asked += 1
        return asked

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(keep_asking, name) for name in range(clients)]
        for _ in range(restarts):
            time.sleep(UP)
            postgres.stop()
            time.sleep(down)
            postgres.start()
        over.set()
        asked = [each.result() for each in asking]
    for name, number in enumerate(asked):
        for at in range(number):
            config = {"configurable": {"thread_id": thread_key(ANNA, f"qa:{name}-{at}")}}
            told.turns[len(graph.get_state(config).values.get("history") or [])] += 1
    return told


def main(options: dict[str, str]) -> int:
    """Run it, and say what was found."""
    restarts, clients = int(options.get("restarts", "20")), int(options.get("clients", "8"))
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # says each connection that an outage cuts
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(own_postgres())
        wait = float(options.get("wait", "0.5"))
        address, graph = stack.enter_context(served(folder, postgres, clients, wait))
        told = measure(address, graph, postgres, restarts, float(options.get("down", "2")), clients)
    print(f"{restarts} restarts under {clients} clients: {told.turns.total()} runs")
    print(f"answers by status: {dict(sorted(told.codes.items()))}, 503 without Retry-After: {told.silent}")
    print(f"threads by number of turns: {dict(sorted(told.turns.items()))}; longest {told.longest:.1f} s")
    return 0 if told.is_fine else 1


if __name__ == "__main__":
    sys.exit(main(dict(each.split("=", 1) for each in sys.argv[1:])))
