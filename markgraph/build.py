"""Composes conf/ and builds graphs by name: the one door in."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import NoneType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, get_args, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from langgraph.graph.state import CompiledStateGraph
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from markgraph.audit.configs import composed, redacted
from markgraph.collection import check_collection, check_data_dir
from markgraph.config_errors import check_settings, explain, locate, nearest, no_object
from markgraph.environment import CONFIG_MODULE, check_environment, search_path
from markgraph.errors import ConfigError, MarkError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from markgraph.audit.types import Audit
    from markgraph.citations.types import CitationGraph
    from markgraph.feedback.store import FeedbackStore
    from markgraph.ingestion.corpora import Corpus
    from markgraph.ingestion.ledger import Ledger
    from markgraph.retrieval.dense import Embedder
    from markgraph.retrieval.search import Refine
    from markgraph.retrieval.types import Index
    from markgraph.security.limits import Limits
    from markgraph.security.policy import Policy
    from markgraph.security.sealing.keyring import Keyring

Graph = CompiledStateGraph[Any, Any, Any, Any]


class Services(TypedDict, total=False):
    """Objects to build a graph with, instead of those that its config describes."""

    embedder: "Embedder"
    """Makes vectors of texts: a LangChain `Embeddings` with a `name`."""
    seal: "Keyring | None"
    """Seals what is kept on disk."""
    model: "BaseChatModel"
    index: "Index"
    citations: "CitationGraph | None"
    """Which passages cite which."""
    rerank: "Refine | None"
    """What is done with passages after they were found."""
    ledger: "Ledger"
    corpus: "Corpus"
    checkpoint: "BaseCheckpointSaver[Any] | None"
    """Where threads are kept."""
    policy: "Policy"
    """What callers may do."""
    audit: "Audit | None"
    """Where it is taken down who did what."""
    limits: "Limits | None"
    """How much a caller, and one run, may use."""
    ratings: "FeedbackStore | None"
    """Where it is kept what people say of answers."""


SERVICES = tuple(Services.__annotations__)
"""What several nodes share. Each is made at most once, when something first asks for it."""
_HYDRA_LOCK = threading.Lock()
_MAKING: ContextVar["_Services"] = ContextVar("services of the graph under construction")


def load_graph(name: str, overrides: Sequence[str] = (), **services: Unpack[Services]) -> Graph:
    """Compose the config of graph `name` and build it.

    Args:
        name: a file of `conf/graph/`: `qa`, `agent`, or `ingest` (with `["path=FOLDER"]`).
        overrides: Hydra overrides, for example `["graph.retrieve.k=8", "model=fake"]`.
        services: objects to use instead of the configured ones, which are then never made.

    Raises:
        ConfigError: an override names what does not exist, or a service is unknown.
    """
    return build_graph(compose("embed", [f"graph={name}", *overrides]), **services)


def compose(job: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Return the config of `job` (a file of `conf/`) with `overrides`; safe within an outer `@hydra.main`.

    Raises:
        ConfigError: naming the key or option, what is allowed, and the nearest match.
    """
    check_environment()
    own = search_path(overrides)
    try:
        # A person may change their own files at any time.
        config = _compose_anew(job, (*own, *overrides)) if own else _compose(job, tuple(overrides)).copy()
        check_collection(config)
        check_data_dir(config)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: GROUP=null
        raise explain(error, with_chosen_groups(job, overrides)) from error
    return config


def with_chosen_groups(job: str, overrides: Sequence[str]) -> DictConfig:
    """Return the config of `job` with the options that `overrides` choose, or the plain one without any.

    Which keys are allowed depends on them.
    """
    folder = files(CONFIG_MODULE)
    keys = [(each.partition("=")[0], each) for each in overrides]
    groups = [each for key, each in keys if key.isidentifier() and folder.joinpath(key).is_dir()]
    try:
        return _compose_anew(job, (*search_path(overrides), *groups))
    except (HydraException, OmegaConfBaseException, ValueError):
        return _compose(job, ())


def build_graph(config: DictConfig, **services: Unpack[Services]) -> Graph:
    """Build `config.graph`, each service once; `services` take the place of configured ones.

    A service that the graph has no use for is not made.
    """
    if unknown := sorted(services.keys() - set(SERVICES)):
        raise ConfigError(f"Unknown service {unknown[0]!r}.{nearest(unknown[0], SERVICES)}")
    _refuse_missing_stages(config)
    token = _MAKING.set(_Services(config, dict(services), tuple(services)))
    try:
        return make(_sharing(config), "graph")  # type: ignore[no-any-return]
    finally:
        _MAKING.reset(token)


def service(name: str) -> Any:
    """Return the service that the graph under construction shares under `name`; config refers to it."""
    making = _MAKING.get()
    made = making.get(name)
    if name == "audit" and made is not None:
        return made.of(composed(making.config, making.given))
    return made


def settings(keys: Sequence[str]) -> dict[str, Any]:
    """Return groups of the config of the graph under construction, as plain data without secrets.

    What one refers to in another group stays a reference, so that they can take the place of a config's
    groups later: a run goes on with the settings that it began with, and with the services of then.
    """
    config = _MAKING.get().config
    plain: Any = OmegaConf.to_container(config)
    groups = {str(key) for key, value in plain.items() if isinstance(value, dict)} | set(SERVICES)
    return {key: _by_itself(config, key, groups) for key in keys}


def _by_itself(config: DictConfig, key: str, groups: Set[str]) -> Any:
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for name in groups - {key}:
        config[name] = f"\\${{{name}}}"
    plain = OmegaConf.to_container(config[key], resolve=True)
    return redacted(plain, OmegaConf.to_container(config[key]))


def make_service(config: DictConfig, name: str) -> Any:
    """Make one service of `config` by itself, with those that it refers to."""
    return make_services(config, name)[0]


def make_services(config: DictConfig, *names: str, **services: Unpack[Services]) -> list[Any]:
    """Make some services of `config`, with those that they refer to; what they share is made once.

    `services` take the place of configured ones.
    """
    made = _Services(config, dict(services))
    token = _MAKING.set(made)
    try:
        return [made.get(name) for name in names]
    finally:
        _MAKING.reset(token)


@dataclass(frozen=True)
class _Services:
    """The services of the graph under construction: those that were given, and those made so far."""

    config: DictConfig
    made: dict[str, Any]
    given: tuple[str, ...] = ()
    """Those that an app passed in."""

    def get(self, name: str) -> Any:
        if name not in self.made:
            self.made[name] = make(_sharing(self.config, own=name), name)
        return self.made[name]


def _sharing(config: DictConfig, own: str | None = None) -> DictConfig:
    """Return `config` where every `${name}` of a service, except `own`, means the shared object."""
    config = config.copy()
    OmegaConf.set_struct(config, False)
    for name in SERVICES:
        if name != own:
            config[name] = {"_target_": f"{__name__}.service", "name": name}
    return config


def make_embedder(option: str, settings: Mapping[str, Any]) -> "Embedder":
    """Return the embedder of `conf/embedder/OPTION.yaml` with `settings` changed, as a store's note names it.

    Raises:
        ConfigError: there is no such option or setting, or a value is not plain.
    """
    config = compose("embed", [f"embedder={option if option.isidentifier() else 'none'}"])
    for key, value in settings.items():
        plain = value is None or isinstance(value, bool | int | float | str)
        if key.startswith("_") or key not in config.embedder or not plain or "${" in str(value):
            raise ConfigError(
                f"The collection's embedder {option!r} can't be made: it has no setting {key!r} "
                f"that could be {value!r}.{nearest(key, map(str, config.embedder))}"
            )
        config.embedder[key] = value
    embedder: Embedder = make(config, "embedder")
    return embedder


@lru_cache(maxsize=128)
def _compose(job: str, overrides: tuple[str, ...]) -> DictConfig:
    return _compose_anew(job, overrides)


def _compose_anew(job: str, overrides: tuple[str, ...]) -> DictConfig:
    with _HYDRA_LOCK, _own_hydra(), initialize_config_module(CONFIG_MODULE, version_base="1.3"):
        return hydra_compose(job, overrides=list(overrides))


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Set an outer Hydra aside, and put it back."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = outer  # not the instance from above: Hydra has replaced it


def make(config: DictConfig, key: str) -> Any:
    """Return the object that `config.KEY` describes.

    Raises:
        ConfigError: it describes none.
    """
    try:
        described = config[key]
        if not OmegaConf.is_config(described):
            raise no_object(described, str(config._get_full_key(key)))
        check_settings(OmegaConf.to_container(described), key)
        return instantiate(described, _convert_="all")
    except (HydraException, OmegaConfBaseException) as error:
        if isinstance(error.__cause__, MarkError):
            raise error.__cause__ from error
        raise explain(error, config) from error


def _refuse_missing_stages(config: DictConfig) -> None:
    """Refuse `graph.retrieve=null` where the builder has no way to leave that stage out."""
    settings: Any = OmegaConf.to_container(config.graph)
    target = settings.get("_target_")
    builder = locate(str(target))
    if not callable(builder):
        raise ConfigError(f"graph._target_ is {target!r}, which is no function that can be imported.")
    hints, stages = get_type_hints(builder), stages_of(builder)
    optional = [name for name in hints if NoneType in get_args(hints[name])]
    for name, value in settings.items():
        if value is None and name in hints and name not in optional:
            able = ", ".join(f"graph.{each}" for each in stages) or "none of this graph's"
            raise ConfigError(f"graph.{name} can't be left out. Stages that can: {able}.")


def stages_of(builder: Callable[..., Any]) -> list[str]:
    """Return the stages that a builder can leave out: what it takes as None instead of a node's class."""
    hints = get_type_hints(builder)
    return [name for name, hint in hints.items() if NoneType in get_args(hint) and "Callable" in str(hint)]
