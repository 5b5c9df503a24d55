"""`markgraph replay`: a run of the audit log once more, compared with what it was."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from omegaconf import DictConfig

from markgraph.audit.file import FileAudit
from markgraph.audit.replay import Difference, find, replay
from markgraph.audit.verify import check_there
from markgraph.build import make, make_services
from markgraph.commands.audit_log import log_of
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.guarded import journal_of
from markgraph.commands.terminal import printable
from markgraph.errors import UsageError
from markgraph.retrieval.storage import storage_errors
from markgraph.security.caller import Caller, thread_key
from markgraph.security.policy import Need, Resource

DIFFERENT = 1


def run(config: DictConfig) -> int:
    """Replay `config.record`, print what is not the same, and return 0, or 1 where something isn't."""
    check_choice(config, "output", OUTPUTS)
    if config.record is None:
        raise UsageError('Say what to replay: markgraph replay RECORD question="..."')
    caller: Caller = make(config, "auth").caller
    log = log_of(config)
    check_there(log.folder)  # to look into a log makes none
    journal_of(config, "replay", caller).require(Need("audit:read", Resource("audit", "replay")))
    record = find(log, str(config.record), caller.tenant)
    with storage_errors(Path(config.data_dir)):
        differences = replay(log, record, _question(config, caller, log, record))
    _print(config, record, differences)
    return DIFFERENT if differences else 0


def _print(config: DictConfig, record: Mapping[str, Any], differences: list[Difference]) -> None:
    caveats = _caveats(record)
    if config.output == "json":
        found = {"same": not differences, "differences": [asdict(each) for each in differences]}
        print(json.dumps(found | {"caveats": caveats}, ensure_ascii=False))  # noqa: T201
        return
    print("different" if differences else "the same: documents, model and answer")  # noqa: T201
    for each in differences:
        print(printable(f"  {each.what}: was {json.dumps(each.was)}, is {json.dumps(each.now)}"))  # noqa: T201
    for caveat in caveats:
        print(f"  note: {caveat}")  # noqa: T201


def _caveats(record: Mapping[str, Any]) -> list[str]:
    """Return what a replay can't do as it was."""
    now, then = version("markgraph"), record["versions"]["markgraph"]
    caveats = [] if now == then else [f"markgraph was {then}, and is {now}"]
    if record["turns"]:
        caveats.append(
            f"the question stood in a thread behind {record['turns']} others, which are not replayed"
        )
    return caveats


def _question(config: DictConfig, caller: Caller, log: FileAudit, record: Mapping[str, Any]) -> str:
    """Return what was asked: as it was typed, or as a thread remembers it.

    Raises:
        UsageError: neither is given, or the thread doesn't know it.
    """
    if config.question is not None:
        return str(config.question)
    if config.thread is None:
        raise UsageError('The log holds no words. Say what was asked: question="...", or thread=NAME.')
    (checkpointer,) = make_services(config, "checkpoint")
    key = thread_key(caller, f"{record['graph']}:{config.thread}")
    for question in _asked_in(checkpointer, key):
        if log.sealed(question) == record["question"]:
            return question
    raise UsageError(f"Thread {config.thread!r} does not hold the question of record {record['seq']}.")


def _asked_in(checkpointer: BaseCheckpointSaver[Any] | None, key: str) -> Iterator[str]:
    found = checkpointer.get_tuple({"configurable": {"thread_id": key}}) if checkpointer else None
    for turn in found.checkpoint["channel_values"].get("history", []) if found else []:
        yield turn["question"]
