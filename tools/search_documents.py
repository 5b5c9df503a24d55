"""Looks passages up in the index, with the caller's permissions."""

from langchain.tools import ToolRuntime, tool
from langchain_core.tools import BaseTool

from markgraph.nodes.respond import place_of
from markgraph.nodes.retrieve import find_passages
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller, caller_of
from markgraph.security.effects import labelled
from markgraph.state import Passage


def search_documents(index: Index, k: int = 4) -> BaseTool:
    """Return a tool that searches `index` for at most `k` passages."""

    @tool("search_documents", response_format="content_and_artifact")
    def search(query: str, runtime: ToolRuntime[Caller]) -> tuple[str, list[Passage]]:
        """Find passages of the documents that the caller may read. `query`: what to look for, in words."""
        passages = find_passages(index, query, caller_of(runtime), k)
        text = "\n\n".join(f"{place_of(passage)}\n{passage['text']}" for passage in passages)
        return text or "Nothing was found.", passages

    return labelled(search, reads_private=True, ingests_untrusted=True, egress=False, side_effects=False)
