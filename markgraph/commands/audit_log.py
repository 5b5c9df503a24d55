"""`markgraph audit`: verifies, lists and exports the log of who did what."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from omegaconf import DictConfig

from markgraph.audit.chain import Head
from markgraph.audit.export import Filter, to_ocsf
from markgraph.audit.file import FileAudit
from markgraph.audit.verify import Report, check_there, records, verify
from markgraph.build import make, make_services
from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.commands.guarded import journal_of
from markgraph.commands.terminal import printable
from markgraph.errors import UsageError
from markgraph.security.caller import Caller
from markgraph.security.policy import Need, Policy, Resource

ACTIONS = ("verify", "list", "export")
CHANGED = 1


def run(config: DictConfig) -> int:
    """Do what `config.action` says, and return 0, or 1 for a log that is not as it was written.

    Raises:
        StorageError: there is no log; that ends with 1, too.
    """
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "action", ACTIONS)
    caller: Caller = make(config, "auth").caller
    log = log_of(config)
    need = Need("audit:read", Resource("audit", config.action))
    if config.action == "verify":  # of a copy, too, which nothing may be written to
        policy: Policy = make_services(config, "policy")[0]
        policy.require(caller, *need)
        return _verify(config, log)
    check_there(log.folder)  # to look into a log makes none
    journal_of(config, "audit", caller).require(need)
    since, until = _time(config, "since"), _time(config, "until")
    wanted = Filter(caller.tenant, since, until, config.actor, config.document)
    for record in wanted.chosen(records(log.folder)):
        print(_shown(record, config))  # noqa: T201
    return 0


def log_of(config: DictConfig) -> FileAudit:
    """Return the log that the config names.

    Raises:
        UsageError: it names none.
    """
    (log,) = make_services(config, "audit")
    if not isinstance(log, FileAudit):
        raise UsageError("There is no log to read with audit=none. Allowed: audit=file.")
    return log


def _verify(config: DictConfig, log: FileAudit) -> int:
    report = verify(log.folder, log.keys, _head(config.head))
    if config.output == "json":
        print(json.dumps(_as_json(report)))  # noqa: T201
    else:
        for seq, what in report.problems:
            print(f"record {seq}: {what}")  # noqa: T201
        verdict = "NOT as it was written" if report.problems else "as it was written"
        counted = f"{report.records} records, {report.heads} signed heads, {report.unsigned} not signed yet"
        print(f"{counted}: {verdict}.\nhead={report.last.seq}:{report.last.mac}")  # noqa: T201
    return CHANGED if report.problems else 0


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "records": report.records,
        "heads": report.heads,
        "unsigned": report.unsigned,
        "head": f"{report.last.seq}:{report.last.mac}",
        "problems": [problem._asdict() for problem in report.problems],
    }


def _shown(record: Mapping[str, Any], config: DictConfig) -> str:
    """Return a record in one line."""
    if config.action == "export":
        return json.dumps(to_ocsf(record), ensure_ascii=False)
    if config.output == "json":
        return json.dumps(record, ensure_ascii=False)
    why = record.get("rule") or record.get("error") or record.get("what") or ""
    columns = [record["seq"], record["time"][:19], record.get("actor", "-"), record["action"]]
    columns += [record.get("resource", "-"), record.get("outcome", "-"), why, record.get("run", "")[:8]]
    return printable("  ".join(map(str, columns)))


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    seq, _, mac = str(text).partition(":")
    if not seq.isdigit() or len(mac) != 64:
        raise UsageError(f"Config 'head' has value {text!r}. Allowed: NUMBER:HASH, as verify prints it.")
    return Head(int(seq), mac)


def _time(config: DictConfig, key: str) -> datetime | None:
    if config[key] is None:
        return None
    try:
        time = datetime.fromisoformat(str(config[key]))
    except ValueError as error:
        raise UsageError(
            f"Config {key!r} has value {config[key]!r}. Allowed: a date or a time, 2026-11-27T13:00 (UTC)."
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
