"""Every route of LangGraph Server, with a request that names what somebody else has there."""

from typing import Any

AGAIN = {"question": "And what else?"}
RUN = {"assistant_id": "qa", "input": AGAIN}
CRON = {**RUN, "schedule": "* * * * *"}
ITEM = {"namespace": ["notes"], "key": "k"}

NOBODYS = {
    ("GET", "/"), ("GET", "/info"), ("GET", "/ok"), ("GET", "/metrics"), ("GET", "/docs"),
    ("GET", "/openapi.json"), ("GET", "/profile"), ("POST", "/ui/{graph_id}"),
    ("GET", "/.well-known/agent-card.json"),
    *((method, f"/a2a/{{assistant_id}}{end}") for method in ("GET", "POST", "DELETE") for end in ("", "/")),
    ("GET", "/a2a/{assistant_id}/.well-known/agent-card.json"),
    ("GET", "/a2a/{assistant_id}/.well-known/agent.json"),
    *((method, "/mcp") for method in ("GET", "POST", "DELETE")),
}  # fmt: skip
"""Routes that hold nobody's data, or are closed."""
EVERYBODYS: dict[tuple[str, str], Any] = {
    ("POST", "/assistants/search"): {},
    ("POST", "/assistants/count"): {},
    ("GET", "/assistants/{assistant_id}"): None,
    ("GET", "/assistants/{assistant_id}/graph"): None,
    ("GET", "/assistants/{assistant_id}/schemas"): None,
    ("GET", "/assistants/{assistant_id}/subgraphs"): None,
    ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}"): None,
    ("POST", "/assistants/{assistant_id}/versions"): {},
    ("POST", "/threads"): {},
    ("POST", "/threads/search"): {},
    ("POST", "/threads/count"): {},
    ("POST", "/runs"): RUN,
    ("POST", "/runs/batch"): [RUN],
    ("POST", "/runs/stream"): RUN,
    ("POST", "/runs/wait"): RUN,
    ("PUT", "/store/items"): {**ITEM, "key": "mine", "value": {"text": "mine"}},
    ("GET", "/store/items"): None,
    ("DELETE", "/store/items"): ITEM,
    ("POST", "/store/items/search"): {"namespace_prefix": []},
    ("POST", "/store/namespaces"): {},
}
"""Routes that answer whoever has a token, with what is their own."""
REFUSED: dict[tuple[str, str], Any] = {
    ("POST", "/assistants"): {"graph_id": "qa"},
    ("DELETE", "/assistants/{assistant_id}"): None,
    ("PATCH", "/assistants/{assistant_id}"): {"name": "mine"},
    ("POST", "/assistants/{assistant_id}/latest"): {"version": 1},
    ("POST", "/runs/crons"): CRON,
    ("POST", "/runs/crons/count"): {},
    ("POST", "/runs/crons/search"): {},
    ("GET", "/runs/crons/{cron_id}"): None,
    ("PATCH", "/runs/crons/{cron_id}"): {"enabled": False},
    ("DELETE", "/runs/crons/{cron_id}"): None,
    ("POST", "/runs/cancel"): {"thread_id": "{thread_id}", "run_ids": ["{run_id}"]},
    ("POST", "/threads/{thread_id}/commands"): {
        "id": 1,
        "method": "run.start",
        "params": {"assistant_id": "qa", "input": AGAIN},
    },
    ("POST", "/threads/{thread_id}/runs"): RUN,
    ("GET", "/threads/{thread_id}/runs"): None,
    ("POST", "/threads/{thread_id}/runs/crons"): CRON,
    ("POST", "/threads/{thread_id}/runs/stream"): RUN,
    ("POST", "/threads/{thread_id}/runs/wait"): RUN,
    ("GET", "/threads/{thread_id}/runs/{run_id}"): None,
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): {},
    ("GET", "/threads/{thread_id}/runs/{run_id}/join"): None,
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream"): None,
    ("DELETE", "/threads/{thread_id}/runs/{run_id}"): None,
    ("POST", "/threads/prune"): {"thread_ids": ["{thread_id}"], "strategy": "delete"},
    ("GET", "/threads/{thread_id}"): None,
    ("PATCH", "/threads/{thread_id}"): {"metadata": {"owner": "mine"}},
    ("POST", "/threads/{thread_id}/copy"): {},
    ("GET", "/threads/{thread_id}/history"): None,
    ("POST", "/threads/{thread_id}/history"): {},
    ("GET", "/threads/{thread_id}/state"): None,
    ("POST", "/threads/{thread_id}/state"): {"values": {"answer": "forged"}},
    ("POST", "/threads/{thread_id}/state/checkpoint"): {"checkpoint": {"checkpoint_id": "{checkpoint_id}"}},
    ("GET", "/threads/{thread_id}/state/{checkpoint_id}"): None,
    ("GET", "/threads/{thread_id}/storage"): None,
    ("GET", "/threads/{thread_id}/stream"): None,
    ("DELETE", "/threads/{thread_id}"): None,
}
"""Routes that refuse whoever names another's thread or run, or what nobody may change."""
EVENTS = "/threads/{thread_id}/stream/events"
LIVE = {("POST", EVENTS), ("WS", EVENTS)}
"""Routes that go on for as long as the thread does; they show strangers nothing, and end."""
