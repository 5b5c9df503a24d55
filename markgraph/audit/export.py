"""Chooses records of an audit log, and writes them as OCSF has them.

Each becomes an event of class API Activity (class_uid 6003, category Application Activity) of OCSF 1.3: what
was decided stands in `actor.authorizations`, what was touched in `resources`, and the record's number and
hash in `metadata`, so that it can be looked up in the log.
https://schema.ocsf.io/1.3.0/classes/api_activity
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any, NamedTuple

OCSF = "1.3.0"
CATEGORY, CLASS = 6, 6003
CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
ACTIVITIES = {CREATE: "Create", READ: "Read", UPDATE: "Update", DELETE: "Delete", OTHER: "Other"}
SUCCESS, FAILURE = 1, 2
INFORMATIONAL, MEDIUM = 1, 3


class Filter(NamedTuple):
    """Which records are wanted; None is all."""

    tenant: str | None = None
    """Records of the log itself, which belong to no tenant, are always among them."""
    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    document: str | None = None
    """The source of a document that the record says was read or changed."""

    def chosen(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield the records that are wanted."""
        return (record for record in records if self._wants(record))

    def _wants(self, record: Mapping[str, Any]) -> bool:
        time = datetime.fromisoformat(record["time"])
        return (
            (self.tenant is None or record.get("tenant", self.tenant) == self.tenant)
            and (self.since is None or time >= self.since)
            and (self.until is None or time < self.until)
            and (self.actor is None or record.get("actor") == self.actor)
            and (self.document is None or self.document in record.get("documents", {}))
        )


def to_ocsf(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as an event of class API Activity."""
    activity = _activity(record)
    bad = record.get("outcome") in ("denied", "failed")
    return {
        "category_uid": CATEGORY,
        "class_uid": CLASS,
        "activity_id": activity,
        "activity_name": ACTIVITIES[activity],
        "type_uid": CLASS * 100 + activity,
        "time": int(datetime.fromisoformat(record["time"]).timestamp() * 1000),
        "severity_id": MEDIUM if bad else INFORMATIONAL,
        "status_id": FAILURE if bad else SUCCESS,
        "status": record.get("outcome", "done"),
        "actor": _actor(record),
        "api": {"operation": record["action"], "service": {"name": record.get("graph", "markgraph")}},
        "resources": _resources(record),
        "src_endpoint": {"svc_name": "markgraph"},
        "metadata": {
            "version": OCSF,
            "product": {"name": "MARK", "vendor_name": "MARK", "version": version("markgraph")},
            "sequence": record["seq"],
            "uid": record["mac"],
            "correlation_uid": record.get("run", ""),
        },
        "unmapped": {key: record[key] for key in UNMAPPED if key in record},
    }


UNMAPPED = (
    "question",
    "answer",
    "config",
    "model",
    "weights",
    "seed",
    "usage",
    "counts",
    "error",
    "what",
    "from",
)


def _activity(record: Mapping[str, Any]) -> int:
    if record["action"] == "documents:write":
        return {"write": CREATE, "permit": UPDATE, "remove": DELETE}.get(record.get("what", ""), UPDATE)
    return READ if record["action"].endswith(":read") else OTHER


def _actor(record: Mapping[str, Any]) -> dict[str, Any]:
    user = {"uid": record.get("actor", ""), "org": {"uid": record.get("tenant", "")}}
    decided = record.get("outcome") in ("allowed", "denied")
    policy = {"name": record.get("rule", ""), "uid": record.get("policy", "")}
    authorizations = [{"decision": record["outcome"], "policy": policy}] if decided else []
    return {"user": user, "authorizations": authorizations}


def _resources(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    kind, _, name = str(record.get("resource", "log:audit")).partition(":")
    return [
        {"type": kind, "name": name},
        *({"type": "document", "name": source} for source in record.get("documents", {})),
    ]
