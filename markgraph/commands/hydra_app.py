"""Runs one verb as a Hydra application, so that --help, --cfg, and -m are Hydra's own."""

import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from markgraph.build import with_chosen_groups
from markgraph.collection import check_collection, check_data_dir, collections_in
from markgraph.config_errors import explain, nearest
from markgraph.environment import check_environment, search_path
from markgraph.errors import ConfigError, EmptyIndexError, MarkError
from markgraph.launching.outcome import Outcome, collecting, note, tell
from markgraph.security.doors import TOKEN


def run_app(verb: str, job: str, overrides: Sequence[str]) -> int:
    """Compose `conf/JOB.yaml` with `overrides`, run the verb, and return the worst exit code of its runs.

    Raises:
        MarkError: whatever the verb raises, and ConfigError for overrides that don't fit.
    """
    check_environment()
    _prepare_process(verb)
    faults: list[BaseException] = []

    def task(config: DictConfig) -> float | None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            print(f"[{HydraConfig.get().job.override_dirname}]", file=sys.stderr)  # noqa: T201
        try:
            _set_log_level(config.get("debug", {}).get("log_level", "WARNING"))
            outcome = _run(job, config)
        except KeyboardInterrupt:  # no other job of a sweep begins
            raise
        except BaseException as fault:  # Hydra would print it as its own
            faults.append(fault)
            note(Outcome(getattr(fault, "exit_code", MarkError.exit_code)))
            return None
        note(outcome)
        return outcome.figure

    umask = os.umask(0o077)  # documents and threads are nobody else's, on a shared machine too
    arguments, sys.argv = sys.argv, [f"markgraph {verb}", *search_path(overrides), *overrides]
    try:
        with collecting() as outcomes:
            hydra.main(version_base="1.3", config_path="pkg://markgraph.conf", config_name=job)(task)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain(error, with_chosen_groups(job, overrides)) from error
    finally:
        sys.argv = arguments
        os.umask(umask)
    if faults:
        raise _explained(faults[0], job, overrides)
    tell(outcomes)
    return max((outcome.code for outcome in outcomes), default=0)


def _prepare_process(verb: str) -> None:
    """Set what libraries read from the environment when they are imported."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints errors itself, and exits
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait make a busy machine ten times slower. Sleeping at once costs
    # a third of the speed on an idle one, so only a server, which is busy with itself, does that.
    if verb == "serve":
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def _explained(fault: BaseException, job: str, overrides: Sequence[str]) -> BaseException:
    """Return what a verb raised, in words that help where it read a setting that can't be resolved."""
    if isinstance(fault, OmegaConfBaseException):
        return explain(fault, with_chosen_groups(job, overrides))
    return fault


def _run(job: str, config: DictConfig) -> Outcome:
    """Run a verb; where it found its collection empty, say which, and which others there are."""
    check_collection(config)
    check_data_dir(config)
    if os.environ.get(TOKEN) and "caller" in (config.get("auth") or {}):
        print(f"{TOKEN} is not read with auth=none. Say auth=dev or auth=oidc.", file=sys.stderr)  # noqa: T201
    try:
        ran: int | Outcome = import_module(f"markgraph.commands.{job}").run(config)
    except EmptyIndexError as error:
        others = ", ".join(collections_in(config.data_dir)) or "none"
        raise EmptyIndexError(
            f"Nothing has been ingested yet into collection {config.collection!r}. Collections in "
            f"{config.data_dir}: {others}. Choose one with collection=NAME, or run "
            f"`markgraph ingest FOLDER collection={config.collection}` first."
        ) from error
    return ran if isinstance(ran, Outcome) else Outcome(ran)


def _set_log_level(level: str) -> None:
    levels = logging.getLevelNamesMapping()
    if level not in levels:
        raise ConfigError(f"Config 'debug.log_level' has value {level!r}.{nearest(str(level), levels)}")
    logging.basicConfig(level=level)
