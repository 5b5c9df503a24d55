"""How progress and answers look: alive on a terminal, plain when piped."""

import json
import sys
from time import perf_counter
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

STEPS = {
    "route": "choosing an expert",
    "rewrite": "understanding the question",
    "retrieve": "searching",
    "rerank": "weighing what was found",
    "follow": "looking up what is cited",
    "compress": "choosing what to read",
    "generate": "writing",
    "validate": "checking against the sources",
    "quote": "quoting the sources",
    "approve": "waiting for your word",
    "call_tools": "using tools",
}
"""What goes on in each node."""


class Draft:
    """Shows, on a terminal only, what happens and what the model writes until the checked answer is there."""

    def __init__(self, *, show: bool, show_updates: bool = False) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True, refresh_per_second=12)
        self._shown = show and self._console.is_terminal
        self._show_updates = show_updates
        self._step, self._text = "starting", ""
        self.first_token: float | None = None

    def __enter__(self) -> Self:
        if self._shown:
            self._live.start()
            self._render()
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Take the draft off the screen."""
        if self._live.is_started:
            self._live.stop()

    def token(self, text: str) -> None:
        """Show a piece of what the model writes."""
        if text and self.first_token is None:
            self.first_token = perf_counter()
        self._text += text
        self._render()

    def step(self, node: str) -> None:
        """Show what the node that has just begun is about."""
        self._step = STEPS.get(node, self._step)
        if node == "generate":
            self._text = ""
        self._render()

    def update(self, update: dict[str, Any]) -> None:
        """Print what nodes have written, where that was asked for."""
        for node, written in update.items() if self._show_updates else ():
            print(json.dumps({node: written}, default=str), file=sys.stderr)  # noqa: T201

    def _render(self) -> None:
        if self._live.is_started:
            draft = Text(f"\n{self._text}", style="dim italic") if self._text else Text("")
            self._live.update(Text(f"… {self._step}", style="cyan") + draft)


def print_answer(answer: dict[str, Any]) -> None:
    """Print an answer, what each mark stands for, and the verdict, to stdout."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty(), markup=False)
    console.print(Text(printable(answer["answer"]), style="bold" if not answer["refused"] else ""))
    for citation in answer["citations"]:
        page = f", page {citation['page']}" if citation["page"] else ""
        console.print(Text(f"\n[{citation['mark']}] {printable(citation['title'])}{page}", style="cyan"))
        console.print(Text(f"    {printable(citation['source'])}", style="dim"))
        console.print(Text(f"    “{printable(citation['quote'])}”"))
    console.print(Text(f"\n{verdict_line(answer)}", style="green" if not answer["refused"] else "yellow"))


def verdict_line(answer: dict[str, Any]) -> str:
    """Return the verdict in one line."""
    verdict = answer["verdict"]
    seconds = f"{answer['timings']['total'] / 1000:.1f} s"
    model = answer["model"] or "no model asked"
    if answer["refused"]:
        return f"Refused: nothing supports an answer. ({model}, {seconds})"
    rest = "each sentence rests on the source it cites"
    dropped = len(verdict["unsupported"])
    if dropped:
        rest += f"; {dropped} unsupported sentence{'s' * (dropped > 1)} of the model left out"
    return f"Grounded: {rest}. (score {verdict['score']:.2f}, {model}, {seconds})"


def printable(text: str) -> str:
    """Return `text` without characters that would steer a terminal."""
    return "".join(mark if mark.isprintable() or mark == "\n" else " " for mark in text)
