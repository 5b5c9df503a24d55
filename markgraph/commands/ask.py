"""`markgraph ask`: one question, one checked answer."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from omegaconf import DictConfig

from markgraph.build import Graph, build_graph, make
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.guarded import journal_of
from markgraph.commands.terminal import Draft, print_answer
from markgraph.errors import UsageError
from markgraph.launching.outcome import Outcome
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import Caller, thread_key
from markgraph.security.policy import Need, Resource
from markgraph.verification.verify import require_safe

REFUSED = 3


def run(config: DictConfig) -> Outcome:
    """Ask `config.question`, print the answer, and return 0, or 3 for a refusal, with the verdict's score."""
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "approve", (None, True, False))
    graph = require_safe(build_graph(config))
    caller: Caller = make(config, "auth").caller
    thread: RunnableConfig = {
        "configurable": {"thread_id": thread_key(caller, f"{graph.get_name()}:{config.thread}")}
    }
    if config.thread is not None:
        journal_of(config, "ask", caller).require(Need("threads:write", Resource("thread")))
    else:
        graph = graph.copy(update={"checkpointer": InMemorySaver()})
    answer = _ask(graph, caller, thread, config)
    if config.output == "json":
        print(json.dumps(answer, ensure_ascii=False))  # noqa: T201
    else:
        print_answer(answer)
    return Outcome(REFUSED if answer["refused"] else 0, answer["verdict"]["score"], "score")


def _ask(graph: Graph, caller: Caller, thread: RunnableConfig, config: DictConfig) -> dict[str, Any]:
    """Run the graph to its end, as often as a person's word is asked for."""
    with (
        storage_errors(Path(config.data_dir)),
        Draft(show=config.output == "text", show_updates=config.debug.show_updates) as draft,
    ):
        start = _starting_point(graph, thread, config)
        began = perf_counter()
        answer, asked = _run(graph, start, caller, thread, draft)
        while asked:
            word = _approval(asked, config.approve, draft)
            answer, asked = _run(graph, Command(resume=word), caller, thread, draft)
        ended = perf_counter()
    if draft.first_token is not None:
        answer["timings"]["first_token"] = round((draft.first_token - began) * 1000, 1)
    answer["timings"]["total"] = round((ended - began) * 1000, 1)
    return answer


def _run(
    graph: Graph, start: Any, caller: Caller, thread: RunnableConfig, draft: Draft
) -> tuple[dict[str, Any], Any]:
    """Return the answer so far, and what a person is asked, if the run stopped for that."""
    answer: dict[str, Any] = {}
    asked: Any = None
    stream: Iterator[Any] = graph.stream(
        start,
        thread,
        context=caller,
        stream_mode=["messages", "tasks", "updates", "values"],
        durability="sync" if graph.checkpointer else None,
    )
    for mode, part in stream:
        if mode == "messages" and isinstance(part[0], AIMessageChunk):
            draft.token(part[0].text)
        elif mode == "tasks" and "input" in part:
            draft.step(part["name"])
        elif mode == "updates":
            asked = part["__interrupt__"][0].value if "__interrupt__" in part else asked
            draft.update(part)
        elif mode == "values":
            answer = {key: part[key] for key in graph.output_channels if key in part}
    return answer, asked


def _starting_point(graph: Graph, thread: RunnableConfig, config: DictConfig) -> Any:
    """Return what the graph starts with: a question, or None to go on with an interrupted run."""
    unfinished = None
    if graph.checkpointer:
        snapshot = graph.get_state(thread)
        # `next` leaves out tasks whose writes are stored already; `tasks` doesn't.
        unfinished = snapshot.values.get("question") if snapshot.tasks else None
    if config.question is None and unfinished is None:
        raise UsageError(
            'There is no question, and no interrupted run to go on with. Try: markgraph ask "QUESTION"'
            + (f" thread={config.thread}" if config.thread else "")
        )
    if unfinished is not None and config.question in (None, unfinished):
        print(f"Going on with: {unfinished}", file=sys.stderr)  # noqa: T201
        return None
    question = str(config.question)
    if not question.strip():
        raise UsageError("The question is empty.")
    if not question.isascii() and question.encode(errors="replace").decode() != question:
        raise UsageError("The question is not valid UTF-8. Check your terminal's encoding.")
    return {"question": question}


def _approval(asked: Any, configured: bool | None, draft: Draft) -> bool:
    """Return whether the tools in `asked` may run."""
    if configured is not None:
        return configured
    calls = "; ".join(f"{call['tool']}({json.dumps(call['args'])})" for call in asked["calls"])
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            f"The run waits for your word on {calls}. Name a thread (thread=NAME), and go on in it with "
            "approve=true or approve=false."
        )
    draft.clear()
    try:
        return input(f"May this run? {calls} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
