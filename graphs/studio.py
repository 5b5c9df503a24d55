"""The graphs that `langgraph.json` names, built at import: the only module that may.

MARKGRAPH_OVERRIDES holds Hydra overrides for them, as on a command line: `model=fake embedder=hash`.
"""

import os
import shlex

from markgraph.build import load_graph

_OVERRIDES = shlex.split(os.environ.get("MARKGRAPH_OVERRIDES", ""))

qa = load_graph("qa", _OVERRIDES)
agent = load_graph("agent", _OVERRIDES)
