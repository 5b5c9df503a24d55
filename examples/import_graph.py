"""Import a graph, and use it three ways: as a runnable, in a chain, and as a node of a graph of your own.

    python examples/import_graph.py "When must a breach be notified?" [KEY=VALUE ...]

Whoever your app has authenticated goes in as `context`; without one, MARK answers nobody.
"""

import sys

from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from markgraph import Caller, load_graph


class MyState(TypedDict):
    """The state of your graph: what it shares with MARK's by name goes in and out."""

    question: str
    answer: str
    shouted: str


def shout(state: MyState) -> dict[str, str]:
    """Stand for whatever your graph does with an answer."""
    return {"shouted": state["answer"].upper()}


def main(question: str, overrides: list[str]) -> None:
    """Ask `question` in three ways."""
    qa = load_graph("qa", overrides)
    me = Caller("ada", roles=("reader",), groups=("legal",))

    answer = qa.invoke({"question": question}, context=me)
    print("runnable:", answer["answer"])

    chain = RunnableLambda(lambda text: {"question": text}) | qa | RunnableLambda(lambda out: out["answer"])
    print("chain:", chain.invoke(question, {"configurable": {"caller": me}}))

    graph = StateGraph(MyState, Caller)
    graph.add_node("qa", qa)
    graph.add_node("shout", shout)
    graph.add_edge(START, "qa")
    graph.add_edge("qa", "shout")
    graph.add_edge("shout", END)
    print("subgraph:", graph.compile().invoke({"question": question}, context=me)["shouted"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
