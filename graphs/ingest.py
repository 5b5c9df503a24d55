"""The ingestion graph: what is new or changed in a corpus goes into the index, what has left goes out.

authorize; permit what others may read now; scan; index_documents until nothing is pending; sweep; link, where
citations are kept. A dry run goes from authorize to preview, and changes nothing.
"""

from collections.abc import Callable

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from markgraph.audit.types import Audit
from markgraph.citations.index import with_citations
from markgraph.citations.types import CitationGraph
from markgraph.graphs.wiring import Wiring
from markgraph.ingestion.chunk import Chunker
from markgraph.ingestion.compare import Comparison
from markgraph.ingestion.corpora import Corpus
from markgraph.ingestion.executor import Executor, LocalExecutor
from markgraph.ingestion.ledger import Ledger
from markgraph.ingestion.listing import Listing
from markgraph.ingestion.report import Details
from markgraph.ingestion.rules import Rules
from markgraph.ingestion.store import Store
from markgraph.models.registry import Registry
from markgraph.nodes.authorize import Authorize
from markgraph.nodes.index_documents import IndexDocuments
from markgraph.nodes.link import Link
from markgraph.nodes.permit import Permit
from markgraph.nodes.preview import Preview
from markgraph.nodes.scan import Scan
from markgraph.nodes.sweep import Sweep
from markgraph.retrieval.dense import Embedder
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.guard import Guard
from markgraph.security.policy import Policy
from markgraph.state import IngestReport, IngestRequest, IngestState

EXECUTOR, DETAILS = LocalExecutor(), Details(path=None)
STEPS = 10**9
"""A corpus may take any number of steps, each of which has something to do."""
IngestGraph = CompiledStateGraph[IngestState, Caller, IngestRequest, IngestReport]


def build(
    *,
    corpus: Corpus,
    index: Index,
    ledger: Ledger,
    rules: Rules,
    citations: CitationGraph | None = None,
    chunker: Chunker | None = None,
    embedder: Embedder | None = None,
    executor: Executor = EXECUTOR,
    details: Details = DETAILS,
    models: Registry | None = None,
    authorize: Callable[..., Authorize] = Authorize,
    index_documents: Callable[..., IndexDocuments] = IndexDocuments,
    policy: Policy,
    audit: Audit | None = None,
) -> IngestGraph:
    """Return the compiled graph. Not a checkpointer but the ledger lets an interrupted run go on.

    `embedder` is only asked for its name: documents are read again when it is another.
    `models` are told which documents are removed, or closed: some may have learned from them.
    """
    index = with_citations(index, citations)
    chunker = chunker or Chunker()
    settings = f"{chunker!r} {embedder.name if embedder else ''}"
    comparison = Comparison(corpus, ledger, rules, settings)
    store = Store(index, ledger, models)
    read = index_documents(comparison, Listing(corpus), executor, chunker, store, details)
    graph = StateGraph(IngestState, Caller, input_schema=IngestRequest, output_schema=IngestReport)
    wiring = Wiring(graph, "ingest", Guard(policy, audit))
    wiring.add("authorize", authorize(graph="ingest", policy=policy, begin=dict))
    wiring.add("preview", Preview(comparison, index, details.of_dry_run), ends=True)
    wiring.add("permit", Permit(comparison, store, details))
    wiring.add("scan", Scan(comparison, details))
    wiring.add("index_documents", read)
    wiring.add("sweep", Sweep(comparison, store, details), ends=citations is None)
    if citations is not None:
        wiring.add("link", Link(citations, index, ledger, corpus.name), ends=True)
    connect(graph)
    return graph.compile(name="ingest").with_config(recursion_limit=STEPS)


def connect(graph: StateGraph[IngestState, Caller, IngestRequest, IngestReport]) -> None:
    """Draw the edges."""
    graph.add_edge(START, "authorize")
    graph.add_conditional_edges("authorize", first_step, ["preview", "permit"])
    graph.add_edge("preview", END)
    graph.add_edge("permit", "scan")
    graph.add_conditional_edges("scan", next_step, ["index_documents", "sweep"])
    graph.add_conditional_edges("index_documents", next_step, ["index_documents", "sweep"])
    if "link" in graph.nodes:
        graph.add_edge("sweep", "link")
    graph.add_edge("link" if "link" in graph.nodes else "sweep", END)


def first_step(state: IngestState) -> str:
    """Only look, or begin."""
    return "preview" if state.get("dry_run") else "permit"


def next_step(state: IngestState) -> str:
    """Go on as long as something is pending."""
    return "index_documents" if state["pending"] else "sweep"
