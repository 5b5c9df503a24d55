"""Measures what a policy check costs, and what door, policy and audit log add to a request.

    python benchmarks/security.py                       both
    python benchmarks/security.py --only check          a check, with more and more rules
    python benchmarks/security.py --only request        a request, with and without
    python benchmarks/security.py --only request --auth auth=dev --header "authorization: Bearer TOKEN"

`check`: microseconds of `Policy.check` for a caller with five roles; the rival in the same run looks at one
rule after the other. `request`: a question to `qa` over three passages with a scripted model, in turns: with
a policy that allows everything, no log and no door, and with all three as `markgraph serve` has them. What is
added is the median of the differences within a turn. The disk that the log is on counts: --folder. On a
machine that others use, look at the CPU time of the process, the log's thread included.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markgraph.audit.file import FileAudit
from markgraph.build import Graph, compose, load_graph, make, make_service
from markgraph.models.embed import HashEmbeddings
from markgraph.models.fake import FakeChatModel
from markgraph.retrieval.types import Chunk
from markgraph.retrieval.words import WordsIndex
from markgraph.security.caller import Caller
from markgraph.security.permissions import Permissions
from markgraph.security.policy import Decision, Policy, Resource

SIZES = (10, 100, 1_000, 10_000)
CHECKS = 20_000
TURNS = 200
MOST_MICROSECONDS, MOST_MILLISECONDS = 20.0, 2.0
PAYMENT = "The customer shall pay each invoice within 30 days of receipt."
PAY = {"question": "Within how many days must the customer pay an invoice?"}


class Open(Policy):
    """Allows everything."""

    def check(self, caller: Caller, action: str, resource: Resource) -> Decision:  # noqa: ARG002
        return Decision(True, "open", "")


def rules(roles: int) -> dict[str, list[str]]:
    """Return so many roles, each with ten permissions that are limited to a resource, and one that isn't."""
    return {
        f"role{role}": [*(f"tools:call:tool{role}-{at}" for at in range(10)), "documents:read"]
        for role in range(roles)
    }


def one_after_the_other(given: Mapping[str, Sequence[str]], caller: Caller, wanted: Sequence[str]) -> bool:
    """Decide as a list of rules would."""
    return any(
        permission in wanted for role, each in given.items() if role in caller.roles for permission in each
    )


def microseconds(call: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the median and the 99th percentile of one call."""
    spent = []
    for _ in range(times):
        began = time.perf_counter_ns()
        call()
        spent.append((time.perf_counter_ns() - began) / 1000)
    spent.sort()
    return spent[times // 2], spent[int(times * 0.99)]


def measure_checks() -> bool:
    """Print what checks cost, and tell whether each is as fast as it should be."""
    print("roles    rules     allowed us (p99)   denied us (p99)   document us (p99)   rival, denied us")
    good = True
    for roles in SIZES:
        given = rules(roles)
        policy = Policy("bench", given)
        held = random.Random(0).sample(sorted(given), 5)  # noqa: S311
        caller = Caller("bench", held, groups=["legal"], scopes=["tools:call", "documents:read"])
        tool, other = Resource("tool", f"tool{held[-1][4:]}-9"), Resource("tool", "other")
        document = Resource("document", "d", Permissions("default", ("g:legal",)))
        policy.check(caller, "tools:call", tool)
        found = [
            microseconds(lambda: policy.check(caller, "tools:call", tool), CHECKS),  # noqa: B023
            microseconds(lambda: policy.check(caller, "tools:call", other), CHECKS),  # noqa: B023
            microseconds(lambda: policy.check(caller, "documents:read", document), CHECKS),  # noqa: B023
        ]
        wanted = ("tools:call", "tools:call:other")
        rival, _ = microseconds(lambda: one_after_the_other(given, caller, wanted), CHECKS // 100)  # noqa: B023
        columns = "   ".join(f"{median:7.2f} ({tail:6.2f})" for median, tail in found)
        print(f"{roles:6} {roles * 11:8}   {columns}   {rival:10.1f}")
        good &= all(median <= MOST_MICROSECONDS for median, _ in found)
    print(f"at most {MOST_MICROSECONDS} us: {'yes' if good else 'NO'}")
    return good


def graph_with(index: WordsIndex, **services: Any) -> Graph:
    model = FakeChatModel(responses=[f"{PAYMENT} [1]"])
    return load_graph(
        "qa",
        ["domain=none", "citations=none"],
        model=model,
        embedder=HashEmbeddings(),
        index=index,
        **services,
    )


def measure_requests(auth: Sequence[str], headers: Mapping[str, str], folder: Path) -> bool:
    """Print what door, policy and log add to a request, and tell whether that is little enough."""
    index = WordsIndex(folder / "words.sqlite")
    index.add([Chunk(PAYMENT, f"{name}.md", name, 0, len(PAYMENT), readers=("public",)) for name in "abc"])
    config = compose("serve", auth)
    door, policy = make(config, "auth"), make_service(config, "policy")
    log = FileAudit(str(folder / "audit"), str(folder / "audit/keys"))
    bare, full = graph_with(index, policy=Open("open", {})), graph_with(index, policy=policy, audit=log)
    caller = door.admit("127.0.0.1", headers)
    spent: dict[str, list[float]] = {"without": [], "with": [], "without, CPU": [], "with, CPU": []}
    for turn in range(TURNS + 10):
        began = time.perf_counter(), time.process_time()
        bare.invoke(PAY, context=caller)
        between = time.perf_counter(), time.process_time()
        full.invoke(PAY, context=door.admit("127.0.0.1", headers))
        ended = time.perf_counter(), time.process_time()
        if turn >= 10:
            for at, kind in enumerate(("", ", CPU")):
                spent[f"without{kind}"].append((between[at] - began[at]) * 1000)
                spent[f"with{kind}"].append((ended[at] - between[at]) * 1000)
    log.close()
    added = difference(spent["without"], spent["with"])
    added_cpu = difference(spent["without, CPU"], spent["with, CPU"])
    for name, times in (*spent.items(), ("added", added), ("added, CPU", added_cpu)):
        tail = sorted(times)[int(TURNS * 0.95)]
        print(f"{name:12} p50 {statistics.median(times):6.2f} ms   p95 {tail:6.2f} ms")
    good = statistics.median(added) <= MOST_MILLISECONDS
    print(f"at most {MOST_MILLISECONDS} ms added, p50: {'yes' if good else 'NO'}")
    return good


def difference(less: Sequence[float], more: Sequence[float]) -> list[float]:
    """Return by how much each of `more` is more."""
    return [much - little for little, much in zip(less, more, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=["check", "request"])
    parser.add_argument("--auth", action="append", default=[], help="an override, such as auth=oidc")
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE, sent with each request")
    parser.add_argument("--folder", type=Path, help="where the log is written")
    options = parser.parse_args()
    headers = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in options.header)
    }
    good = options.only == "request" or measure_checks()
    if options.only != "check":
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            good &= measure_requests(options.auth, headers, Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
