"""The graphs that `langgraph.json` names, built at import: the only module of graphs that may.

MARKGRAPH_OVERRIDES holds Hydra overrides for them, as on a command line: `model=fake embedder=hash`.
MARKGRAPH_TRAIN holds those of `markgraph train`, and says what `train` trains: `method=sft data.path=FILE`.
"""

from markgraph.build import Graph, build_graph, compose, load_graph, make_services
from markgraph.environment import server_overrides, training_overrides
from markgraph.graphs import closed
from markgraph.verification.verify import require_safe

NOTHING = (
    "This server trains nothing. Whoever runs it says what is trained, with the overrides of `markgraph "
    "train`, and starts it again: MARKGRAPH_TRAIN='method=sft data.path=FILE.jsonl'."
)


def _training() -> Graph:
    """Return the training graph, over the policy and the audit log of the other graphs."""
    overrides = training_overrides()
    if overrides is None:
        return closed.build("train", NOTHING)
    policy, audit = make_services(compose("embed", ["audit=file", *server_overrides()]), "policy", "audit")
    return build_graph(compose("train", overrides), policy=policy, audit=audit, checkpoint=None)


qa = require_safe(load_graph("qa", ["audit=file", *server_overrides()]))
agent = require_safe(load_graph("agent", ["audit=file", *server_overrides()]))
train = require_safe(_training())
