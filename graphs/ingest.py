"""The ingestion graph: what is new or changed in a corpus goes into the index, what has left goes out.

authorize, scan, index_documents until nothing is pending, sweep; link, where citations are kept.
"""

from collections.abc import Callable, Sequence
from functools import partial

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from markgraph.citations.index import with_citations
from markgraph.citations.types import CitationGraph
from markgraph.graphs.wiring import add
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.corpora import Corpus
from markgraph.ingestion.ledger import Ledger
from markgraph.nodes.authorize import Authorize
from markgraph.nodes.index_documents import IndexDocuments
from markgraph.nodes.link import Link
from markgraph.nodes.scan import Listing, Scan
from markgraph.nodes.sweep import Sweep
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.permissions import check_readers
from markgraph.state import IngestReport, IngestRequest, IngestState

AUTHORIZE_WRITER = partial(Authorize, role="writer")
IngestGraph = CompiledStateGraph[IngestState, Caller, IngestRequest, IngestReport]


def build(
    *,
    corpus: Corpus,
    index: Index,
    ledger: Ledger,
    readers: Sequence[str],
    citations: CitationGraph | None = None,
    chunker: Chunker | None = None,
    authorize: Callable[..., Authorize] = AUTHORIZE_WRITER,
    batch_size: int = 8,
) -> IngestGraph:
    """Return the compiled graph. Not a checkpointer but the ledger lets an interrupted run go on."""
    readers = check_readers(readers)
    index = with_citations(index, citations)
    chunker = chunker or Chunker()
    settings = f"{chunker!r} {sorted(readers)!r}"
    listing = Listing(corpus)
    graph = StateGraph(IngestState, Caller, input_schema=IngestRequest, output_schema=IngestReport)
    add(graph, "authorize", authorize(begin=dict))
    add(graph, "scan", Scan(listing, ledger, readers, settings))
    add(
        graph,
        "index_documents",
        IndexDocuments(listing, chunker, index, ledger, settings, readers, batch_size),
    )
    add(graph, "sweep", Sweep(index, ledger))
    if citations is not None:
        add(graph, "link", Link(citations, index))
        graph.add_edge("sweep", "link")

    graph.add_edge(START, "authorize")
    graph.add_edge("authorize", "scan")
    graph.add_conditional_edges("scan", next_step, ["index_documents", "sweep"])
    graph.add_conditional_edges("index_documents", next_step, ["index_documents", "sweep"])
    graph.add_edge("sweep" if citations is None else "link", END)
    return graph.compile(name="ingest")


def next_step(state: IngestState) -> str:
    """Go on as long as something is pending."""
    return "index_documents" if state["pending"] else "sweep"
