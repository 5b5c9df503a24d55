"""Runs what an audit log holds again, and compares."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from omegaconf import DictConfig, OmegaConf

from markgraph.audit.configs import WITHHELD
from markgraph.audit.file import CONFIGS, FileAudit
from markgraph.audit.journal import cited_in, documents_of
from markgraph.audit.verify import checked
from markgraph.build import Graph, Services, build_graph, make_services
from markgraph.errors import ApprovalNeededError, StorageError, UsageError
from markgraph.retrieval.types import Index
from markgraph.security.caller import Caller
from markgraph.security.classification import CLASSIFICATIONS
from markgraph.security.policy import Policy

ROLE = "replayed"


@dataclass(frozen=True)
class Difference:
    """Something that is not as it was."""

    what: str
    was: Any
    now: Any


def find(log: FileAudit, name: str, tenant: str) -> dict[str, Any]:
    """Return the end of a run of `tenant`, by its number in the log or by how the run's id begins.

    What a record says is believed only where it is as it was written: a config is code that runs.

    Raises:
        UsageError: there is none, or there are several, or it can't be replayed.
        StorageError: it was changed since, or the log's key can't be read.
    """
    found = [each for each in checked(log.folder, log.keys) if _is(each[0], name, tenant)]
    for _, wrong in found:
        if wrong:
            raise StorageError(f"Record {name} is not replayed: {wrong}. See `markgraph audit verify`.")
    if len(found) != 1:
        raise UsageError(
            f"{'Several finished questions have' if found else 'No finished question has'} the number or id "
            f"{name!r}. Allowed: that of one record with graph:run and done or refused; see `markgraph audit "
            "list`."
        )
    ((record, _),) = found
    if record.get("given"):
        raise UsageError(
            f"Record {name} can't be replayed: an app passed in its own {', '.join(record['given'])}, which "
            "no config describes."
        )
    return record


def _is(record: Mapping[str, Any], name: str, tenant: str) -> bool:
    is_end = "question" in record and "config" in record and record.get("tenant") == tenant
    number, run = str(record.get("seq")), str(record.get("run"))
    return is_end and (number == name or (len(name) >= 8 and run.startswith(name)))


def config_of(log: FileAudit, record: Mapping[str, Any]) -> DictConfig:
    """Return the config that a run was made with.

    Raises:
        StorageError: it is not there, or is another by now.
        UsageError: a secret was left out of it.
    """
    place = log.folder / CONFIGS / f"{record['config']}.json"
    try:
        text = place.read_text("utf-8")
    except OSError as error:
        raise StorageError(f"The config of record {record['seq']} can't be read: {error}.") from error
    if sha256(text.encode()).hexdigest() != record["config"]:
        raise StorageError(f"{place} is not the config that record {record['seq']} was made with.")
    if WITHHELD in text:
        raise UsageError(
            f"The config of record {record['seq']} held a secret, which the log left out. A secret that is "
            "read from the environment, as ${oc.env:NAME}, can be replayed."
        )
    config: DictConfig = OmegaConf.create(json.loads(text))
    return config


def caller_of_record(record: Mapping[str, Any]) -> tuple[Caller, Policy]:
    """Return whoever asked, with what they might do and read then, and a policy that gives just that."""
    grants: Sequence[str] = record["grants"]
    groups = [grant.removeprefix("g:") for grant in grants if grant.startswith("g:")]
    may = [grant.removeprefix("may:") for grant in grants if grant.startswith("may:")]
    levels = [CLASSIFICATIONS.index(grant[6:]) for grant in grants if grant.startswith("level:")]
    caller = Caller(record["actor"], (ROLE,), record["tenant"], groups, max(levels))
    return caller, Policy(ROLE, {ROLE: may})


def replay(log: FileAudit, record: Mapping[str, Any], question: str) -> list[Difference]:
    """Return what is not as it was when a question is asked again, as whoever asked it then.

    Raises:
        UsageError: it is another question.
    """
    if log.sealed(question) != record["question"]:
        raise UsageError(f"That is not the question of record {record['seq']}: each character counts.")
    config = config_of(log, record)
    caller, policy = caller_of_record(record)
    embedder, index = make_services(config, "embedder", "index")
    gone = _gone(record["documents"], index, caller)
    given = Services(embedder=embedder, index=index, policy=policy, audit=None, checkpoint=None, limits=None)
    graph = build_graph(config, **given)
    return [*gone, *_differences(log, record, _answer(graph, question, caller))]


def _answer(graph: Graph, question: str, caller: Caller) -> dict[str, Any]:
    """Return all that a run knows at its end, its passages included.

    Raises:
        ApprovalNeededError: it would change something again.
    """
    known: dict[str, Any] = {}
    for update in graph.stream({"question": question}, context=caller, stream_mode="updates"):
        if "__interrupt__" in update:
            raise ApprovalNeededError("This run called a tool with side effects, which nobody allows again.")
        for written in update.values():
            known |= written
    return known


def _gone(documents: Mapping[str, Sequence[str]], index: Index, caller: Caller) -> list[Difference]:
    """Return the documents of which something is not there any more, or closed: its hash finds nothing."""
    return [
        Difference(f"document {source}", len(ids), len(index.get(ids, caller)))
        for source, ids in documents.items()
        if len(index.get(ids, caller)) < len(ids)
    ]


def _differences(log: FileAudit, record: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    refused = "refused" if now["refused"] else "done"
    pairs = {
        "outcome": (record["outcome"], refused),
        "documents": (record["documents"], documents_of(now["passages"])),
        "cited": (record["cited"], cited_in(now["citations"])),
        "model": (record["model"], now["model"]),
        "answer": (record["answer"], log.sealed(now["answer"])),
    }
    return [Difference(what, was, is_now) for what, (was, is_now) in pairs.items() if was != is_now]
