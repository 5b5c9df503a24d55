"""The graphs that `langgraph.json` names, built at import: the only module of graphs that may.

MARKGRAPH_OVERRIDES holds Hydra overrides for them, as on a command line: `model=fake embedder=hash`.
"""

from markgraph.build import load_graph
from markgraph.environment import server_overrides
from markgraph.verification.verify import require_safe

qa = require_safe(load_graph("qa", ["audit=file", *server_overrides()]))
agent = require_safe(load_graph("agent", ["audit=file", *server_overrides()]))
