"""LangGraph Server reads rows strictly: it imports langgraph before MARK, so its own config has to say so."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_servers_config_sets_what_langgraph_reads_when_it_is_imported() -> None:
    server = json.loads((ROOT / "langgraph.json").read_text("utf-8"))
    assert server["env"] == {"LANGGRAPH_STRICT_MSGPACK": "true"}
