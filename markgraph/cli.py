"""The command line: one verb per primary config, everything after it is Hydra's override grammar."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple


class Verb(NamedTuple):
    """A verb of the command line."""

    line: str
    """What it does, in one line."""
    job: str
    """Its primary config, `conf/JOB.yaml`, and its module, `markgraph.commands.JOB`."""
    words: str | None
    """What the first words, before any option, are the value of."""
    lists: tuple[str, ...] = ()
    """Settings that hold several names: `KEY=a,b` is a list, where Hydra would ask for -m."""
    flags: tuple[str, ...] = ()
    """Settings that may be given as `--KEY VALUE` beside `KEY=VALUE`."""
    switches: tuple[str, ...] = ()
    """Settings that may be given as `--KEY`, which is true, beside `KEY=VALUE`."""


EXPLAINED = ("caller", "resource", "action")
VERBS = {
    "ask": Verb("Ask a question over the documents you may read; get a checked answer.", "ask", "question"),
    "ingest": Verb("Index documents: a folder, a file, or a corpus such as corpus=eu_law.", "ingest", "path"),
    "reindex": Verb("Move a collection to another embedder while it serves.", "reindex", None),
    "search": Verb(
        "Rank the passages you may read, with what each part of the index says.", "search", "query"
    ),
    # Not conf/graph.yaml: that name is the config group's.
    "graph": Verb("Draw a graph as Mermaid, or as a picture with png=FILE.", "draw", "graph"),
    "serve": Verb("Serve a graph over HTTP with LangServe, playground included.", "serve", None),
    "token": Verb(
        "Issue and revoke tokens and API keys; add clients, rotate keys.",
        "token",
        "what",
        ("roles", "groups", "scopes"),
        ("scope", "days", "tenant", "clearance", "output"),
    ),
    "verify": Verb("Prove that no run of any configuration can break the policy.", "verify", None),
    "doctor": Verb(
        "Say what this machine has, and which models fit; --security: what protects it.",
        "doctor",
        None,
        switches=("security",),
    ),
    "models": Verb(
        "List, show, promote, quantize or export models, or write a manifest.", "models", "action"
    ),
    "policy": Verb("Explain what somebody may do, and which rule decides.", "policy", "what", (), EXPLAINED),
    # Not conf/audit.yaml: that name is a config group's, too.
    "audit": Verb("Verify, list or export the log of who did what.", "audit_log", "action"),
    "replay": Verb("Run a question of the audit log again, and compare.", "replay", "record"),
    "evaluate": Verb(
        "Measure rankings, answers or models, side by side and with intervals.",
        "evaluate",
        "suite",
        ("retrievers",),
    ),
    "feedback": Verb(
        "Rate an answer of a thread of yours; list or export what was said.", "feedback", "what"
    ),
    "tune": Verb("Fit the weight of a hybrid index to judged questions.", "tune", "what"),
    "train": Verb("Train a model on your documents or feedback: plan, confirm, gate.", "train", None),
    "keys": Verb("Make, rotate and shred the keys that seal what is kept on disk.", "keys", "action"),
    "bench": Verb("Measure MARK and its rivals in turns.", "bench", "suite", ("rival", "rows")),
}
_OVERRIDE = re.compile(r"^(?:[+~]{0,2}[A-Za-z_][\w./@:-]*=|~[A-Za-z_][\w./@:-]*$)")
INTERRUPTED = 130
HYDRAS = (
    "--help",
    "--hydra-help",
    "--version",
    "--cfg",
    "--resolve",
    "--package",
    "--run",
    "--multirun",
    "--shell-completion",
    "--config-path",
    "--config-name",
    "--config-dir",
    "--experimental-rerun",
    "--info",
)
"""Options that every verb has."""


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run `markgraph ARGUMENTS` and return its exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())  # noqa: T201
        return 0
    if arguments[0] == "--version":
        print(f"markgraph {version('markgraph')}")  # noqa: T201
        return 0
    if list(arguments[:2]) == ["ingest", "reindex"]:  # a folder of that name is ./reindex
        arguments = arguments[1:]
    verb, *rest = arguments
    if verb not in VERBS:
        return _fail(f"Unknown command {verb!r}.{_nearest(verb)}", 2)
    return _guarded(verb, rest)


def usage() -> str:
    """Return the overview of all verbs."""
    verbs = "\n".join(f"  {name:8} {verb.line}" for name, verb in VERBS.items())
    return (
        "Usage: markgraph VERB [WORDS] [KEY=VALUE ...]\n\n"
        f"{verbs}\n\n"
        "markgraph VERB --help lists a verb's groups and settings. Everything after the words is Hydra's\n"
        "override grammar: KEY=VALUE, GROUP=NAME, --cfg job to print the config, -m to sweep.\n"
        "MARKGRAPH_HOME holds your indexes, threads and trained models, MARKGRAPH_CACHE fetched weights."
    )


def overrides_of(verb: str, arguments: Sequence[str]) -> list[str]:
    """Return `arguments` with the bare words in front turned into an override of their own.

    Options go last: Hydra's parser knows one row of overrides only, and takes a second one for an error.
    """
    if VERBS[verb].flags or VERBS[verb].switches:
        arguments = _without_flags(VERBS[verb], arguments)
    words = 0
    while words < len(arguments) and not (_OVERRIDE.match(arguments[words]) or arguments[words][:1] == "-"):
        words += 1
    rest = [_listed(VERBS[verb].lists, argument) for argument in arguments[words:]]
    rest = sorted(rest, key=lambda argument: not _OVERRIDE.match(argument))
    if not words:
        return rest
    text = " ".join(arguments[:words])
    key = VERBS[verb].words
    # Hydra resolves twice what it makes an object from, as it does a corpus from its path.
    value = text if verb == "graph" else quoted(_unresolved(text) if key == "path" else text)
    return [f"{key}={value}" if key else text, *rest]


def _without_flags(verb: Verb, arguments: Sequence[str]) -> list[str]:
    """Return `arguments` with each `--KEY VALUE`, `--KEY=VALUE` and `--KEY` of a verb as an override.

    Raises:
        UsageError: a value is missing, or an option is neither the verb's nor Hydra's.
    """
    from markgraph.errors import UsageError

    plain: list[str] = []
    rest = list(arguments)
    while rest:
        key, given, value = rest.pop(0).partition("=")
        name = key.removeprefix("--")
        if name not in (*verb.flags, *verb.switches) or key == name:
            _check_option(verb, key)
            plain.append(key + given + value)
        elif name in verb.switches:
            plain.append(f"{name}={value}" if given else f"{name}=true")
        elif given:
            plain.append(f"{name}={quoted(value)}")
        elif rest and rest[0][:1] != "-" and not _OVERRIDE.match(rest[0]):
            plain.append(f"{name}={quoted(rest.pop(0))}")
        else:
            raise UsageError(f"{key} needs a value; got {rest[0] if rest else 'none'}. Write {key}=VALUE.")
    return plain


def _check_option(verb: Verb, option: str) -> None:
    """Refuse a misspelt `--KEY`; Hydra's parser takes its own options cut short, too."""
    from markgraph.config_errors import nearest
    from markgraph.errors import UsageError

    if option[:2] == "--" and not any(each.startswith(option) for each in HYDRAS):
        own = [f"--{name}" for name in (*verb.flags, *verb.switches)]
        raise UsageError(f"Unknown option {option}.{nearest(option, own)} Hydra's own: {', '.join(HYDRAS)}.")


def _listed(lists: Sequence[str], argument: str) -> str:
    """Return `KEY=a,b` as `KEY=[a,b]` for the keys in `lists`; anything else as it is."""
    key, _, value = argument.partition("=")
    return f"{key}=[{value}]" if key in lists and "," in value and value[:1] not in "['\"" else argument


def quoted(text: str) -> str:
    """Return `text` as a Hydra string that means exactly these characters."""
    if text == "???":  # what OmegaConf calls a value that is still to be given
        return "'${oc.decode:???}'"
    # Hydra's lexer takes a quote or a run of backslashes before it apart.
    escaped = re.sub(r"(\\*)'", lambda match: match.group(1) * 2 + "\\'", _unresolved(text))
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def _unresolved(text: str) -> str:
    """Return `text` as OmegaConf writes it, which would resolve `${...}`."""
    return re.sub(r"(\\*)(\$\{)", lambda match: match.group(1) * 2 + "\\${", text)


def _guarded(verb: str, arguments: Sequence[str]) -> int:
    """Run a verb; whatever goes wrong becomes one message and an exit code."""
    try:
        return _run_verb(verb, arguments)
    except SystemExit as end:  # Hydra's help, and its complaints about options
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _fail("Interrupted. What was finished is kept.", INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`| head`): not an error, and nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _run_verb(verb: str, arguments: Sequence[str]) -> int:
    from markgraph.commands.hydra_app import run_app
    from markgraph.errors import MarkError

    try:
        return run_app(verb, VERBS[verb].job, overrides_of(verb, arguments))
    except MarkError as error:
        return _fail(f"{error}{_as_word(verb, arguments, error)}", error.exit_code)


def _as_word(verb: str, arguments: Sequence[str], error: Exception) -> str:
    """Say how a first word is written that was taken for an override: a path, or one with an unknown key."""
    word, key, message = next(iter(arguments), ""), VERBS[verb].words, str(error)
    name = word.lstrip("+~").partition("=")[0]
    unknown = message.startswith(f"Unknown config key {name!r}.")
    given = any(each.startswith(f"{key}=") for each in arguments)
    if not key or given or not _OVERRIDE.match(word) or not (unknown or os.path.exists(word)):
        return ""
    end = "" if message.endswith((".", "?", ")")) else "."
    return f'{end} If {word!r} is no setting but the {key}, write "{key}={quoted(word)}".'


def _nearest(verb: str) -> str:
    from markgraph.config_errors import nearest

    return nearest(verb, VERBS)


def _fail(message: str, code: int) -> int:
    print(f"markgraph: {message}", file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    main()
