"""Says what is wrong with a config: the key, what was allowed, the nearest match."""

import re
import sys
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module
from importlib.resources import files
from inspect import Parameter, signature
from typing import Any

from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, InterpolationKeyError, MissingMandatoryValue

from markgraph.errors import ConfigError

PLAIN = (bool, int, float, str)
_NOT_FOUND = re.compile(r"Could not (?:override|delete from config\.) '([^']+)'")
_DANGLING = re.compile(r"Interpolation key '([^']+)' not found")
_FULL_KEY = re.compile(r"full_key: (\S+)")
_NOISE = re.compile(r"See https?://\S+.*|, set env var HYDRA_FULL_ERROR=1.*|full_key: .*|object_type=.*")


def explain(error: Exception, config: DictConfig) -> ConfigError:
    """Return `error`, which Hydra or OmegaConf raised, in words that help; `config` is one that composes."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _unknown_option(error)
    if isinstance(error, OverrideParseException):
        return ConfigError(_not_an_override(error.override))
    if isinstance(error, InstantiationException):
        return ConfigError(_not_built(error))
    if isinstance(error, InterpolationKeyError) and (match := _DANGLING.search(str(error))):
        return ConfigError(_dangling(match.group(1), error.full_key, config))
    if isinstance(error, MissingMandatoryValue) and (key := error.full_key or error.key):
        return ConfigError(f"{key} is not set. Set {key}=VALUE.")
    if type(error) is ValueError:
        return ConfigError("A config group takes the name of one of its files, not null: GROUP=NAME.")
    key = _missing_key(error)
    if key and not _exists(config, key):
        return ConfigError(_unknown_key(key, config))
    return ConfigError(f"Could not read the config: {_first_lines(error)}")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return a sentence with the names that are allowed, and the one that is nearest to `name`."""
    names = sorted(set(allowed))
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f" Allowed: {', '.join(names) or 'none'}.{hint}"


def check_settings(settings: Any, key: str) -> None:
    """Refuse a setting at or below `key` that its `_target_` doesn't take, or whose type is another.

    `settings` is plain data: dicts, lists, and strings for interpolations. What can't be imported is left
    to Hydra. Types are compared where a target asks for a plain one: bool, int, float, str.

    Raises:
        ConfigError: naming the key, what is allowed, and the nearest match.
    """
    if isinstance(settings, list):
        for at, item in enumerate(settings):
            check_settings(item, f"{key}.{at}")
    if isinstance(settings, dict):
        parameters = _parameters(settings["_target_"]) if "_target_" in settings else None
        if parameters is not None:
            _check_call(settings, parameters, key)
        for name, value in settings.items():
            check_settings(value, f"{key}.{name}")


def no_object(value: object, key: str) -> ConfigError:
    """Return what is wrong with `value`, from which no object can be made."""
    got = "null" if value is None else repr(value)
    return ConfigError(
        f"Config {key!r} has value {got}. Allowed: a mapping with _target_. Leave {key}=... out to have the "
        f"one that the config has, or change a setting of it: {key}.NAME=VALUE."
    )


def locate(target: str) -> Any:
    """Return what the dotted name `target` stands for, or None if there is no such thing.

    The standard library counts as nothing: Hydra decides which of it a config may call, and says why not.
    """
    module, _, name = str(target).lstrip(".").rpartition(".")
    if module.partition(".")[0] in sys.stdlib_module_names:
        return None
    try:
        return vars(import_module(module)).get(name) if module else None
    except ImportError:
        return None


def _parameters(target: str) -> dict[str, Parameter] | None:
    """Return the parameters that `target` takes by name, or None where anything goes."""
    try:
        parameters = dict(signature(locate(target)).parameters)
    except (TypeError, ValueError):  # not a callable, or one in C that doesn't say
        return None
    anything = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())
    return None if anything else parameters


def _check_call(settings: dict[str, Any], parameters: dict[str, Parameter], key: str) -> None:
    for name, value in settings.items():
        if name in ("_target_", "_partial_", "_convert_", "_recursive_", "_args_"):
            continue
        if name not in parameters:
            allowed = [f"{key}.{each}" for each in _own(parameters, settings.get("_partial_", False))]
            raise ConfigError(f"Unknown config key '{key}.{name}'.{nearest(f'{key}.{name}', allowed)}")
        wanted = parameters[name].annotation
        if wanted in PLAIN and not _fits(value, wanted):
            raise ConfigError(f"Config '{key}.{name}' has value {value!r}. Not a valid {wanted.__name__}.")


def _own(parameters: dict[str, Parameter], partial: bool) -> list[str]:
    """Return what a config sets: the builder completes what a partial has no default for."""
    return [
        name
        for name, parameter in parameters.items()
        if not name.startswith("_") and (parameter.default is not Parameter.empty or not partial)
    ]


def _fits(value: Any, wanted: type) -> bool:
    if isinstance(value, str) and ("${" in value or value == "???"):
        return True
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is wanted


def _unknown_option(error: MissingConfigException) -> ConfigError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    return ConfigError(f"There is no {group}={option}.{nearest(option, error.options or ())}")


def _not_an_override(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return (
            f"{override!r} is not KEY=VALUE. Allowed: KEY=VALUE, GROUP=NAME, +KEY=VALUE, ~KEY. "
            "Words go before all of them."
        )
    quote = "'" if "'" not in value else '"'
    return (
        f"The value of {key!r} does not follow Hydra's override grammar: {value}. Allowed: a word, a number, "
        f"[a,list], {{a:mapping}}, 'a quoted text'. Did you mean {key}={quote}{value}{quote}? "
        "(A shell needs double quotes around it all.)"
    )


def _not_built(error: InstantiationException) -> str:
    where = _FULL_KEY.search(str(error))
    cause = error.__cause__
    why = f"{type(cause).__name__}: {_first_lines(cause)}" if cause else _first_lines(error)
    return f"Could not build {where.group(1) if where else 'the config'}: {why}"


def _dangling(missing: str, where: object, config: DictConfig) -> str:
    allowed = nearest(missing, map(str, config))
    return f"{where or 'The config'} refers to {missing!r}, which is not in it.{allowed}"


def _missing_key(error: Exception) -> str | None:
    """Return the dotted key that does not exist, if that is what went wrong."""
    if match := _NOT_FOUND.search(str(error)):
        return match.group(1)
    if isinstance(error, ConfigKeyError) and error.full_key:
        return str(error.full_key)
    return None


def _unknown_key(key: str, config: DictConfig) -> str:
    """Follow `key` as far as it goes, and list what would have gone on from there."""
    walked: list[str] = []
    here: object = config
    parts = key.split(".")
    for part in parts:
        if not isinstance(here, DictConfig) or part not in here:
            break
        walked.append(part)
        here = here._get_node(part)
    where = ".".join(walked)
    if not isinstance(here, DictConfig):
        return f"Unknown config key {key!r}: {where} is a value, and has no keys of its own."
    names = [".".join([*walked, str(name)]) for name in here if not str(name).startswith("_")]
    begun, rest = ".".join(parts[: len(walked) + 1]), parts[len(walked) + 1 :]
    beside = [".".join([name, *rest]) for name in get_close_matches(begun, names, n=3, cutoff=0.6)]
    candidates = [name for name in beside if _exists(config, name)] or list(_keys(config))
    close = get_close_matches(key, candidates, n=1, cutoff=0.6)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if others := _options_with(key):
        hint = f" It is a setting of {' and of '.join(others)}."
    return f"Unknown config key {key!r}. Allowed: {', '.join(sorted(names))}.{hint}"


def _options_with(key: str) -> list[str]:
    """Return the options of a group, as GROUP=NAME, that have `key`."""
    group, _, rest = key.partition(".")
    folder = files("markgraph.conf").joinpath(group)
    if not (group.isidentifier() and rest and folder.is_dir()):
        return []
    found = []
    for file in folder.iterdir():
        option = OmegaConf.create(file.read_text("utf-8")) if file.name.endswith(".yaml") else None
        if isinstance(option, DictConfig) and _exists(option, rest):
            found.append(f"{group}={file.name.removesuffix('.yaml')}")
    return sorted(found)


def _exists(config: DictConfig, key: str) -> bool:
    return key in _keys(config)


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in config:
        key = prefix + str(name)
        yield key
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from _keys(node, f"{key}.")


def _first_lines(error: BaseException) -> str:
    lines = [_NOISE.sub("", line).strip() for line in str(error).splitlines()]
    return " ".join([line for line in lines if line][:3])
