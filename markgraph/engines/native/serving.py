"""Puts the native engine together: decoder, caches, scheduler, thread."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from markgraph.engines.native.admission import Limits
from markgraph.engines.native.decoder import Decoder
from markgraph.engines.native.draft import Drafting, DraftModel
from markgraph.engines.native.load import check_mode, load_decoder, native
from markgraph.engines.native.pipe import End, Pipe
from markgraph.engines.native.prefix import PrefixCache
from markgraph.engines.native.request import Request
from markgraph.engines.native.scheduler import Scheduler
from markgraph.engines.native.speculate import Speculator
from markgraph.engines.native.worker import Worker
from markgraph.engines.port import Sampling
from markgraph.engines.requests import answer_room
from markgraph.engines.sampler import end_tokens
from markgraph.errors import QualityError, TooLargeError, UsageError
from markgraph.models.gate import bounds_of, compared, require_room_for_exact
from markgraph.models.machine import usual_threads
from markgraph.models.merge import weights_with
from markgraph.models.source import digest as content_digest
from markgraph.models.source import resolve
from markgraph.models.weights import load_tokenizer, safetensors_folder

if TYPE_CHECKING:
    from markgraph.engines.native.engine import NativeEngine
    from markgraph.engines.native.state_cache import StateCache

SPECULATION = ("auto", "off")

log = logging.getLogger(__name__)


@dataclass
class Serving:
    """A model in memory, and the thread that answers with it."""

    tokenizer: Any
    worker: Worker
    adapters: frozenset[str]

    @property
    def window(self) -> int:
        """Return how many tokens prompt and answer may have together."""
        return self.worker.scheduler.decoder.window

    @property
    def prefixes(self) -> PrefixCache | None:
        """Return the cache of what was read before, if there is one."""
        return self.worker.scheduler.prefixes

    def ask(self, prompt: list[int], sampling: Sampling, scope: str) -> Request:
        """Queue a request.

        Raises:
            UsageError: the prompt is empty or too long, has tokens that the model doesn't know, needs more
                memory than there may be, or there is no such adapter.
            OverloadedError: too many wait.
        """
        if sampling.adapter is not None and sampling.adapter not in self.adapters:
            raise UsageError(
                f"There is no adapter {sampling.adapter!r}. "
                f"Known: {', '.join(sorted(self.adapters)) or 'none'}. "
                "Add it to the engine's adapters, with the reference to its files."
            )
        vocabulary = self.worker.scheduler.decoder.vocab_size
        if prompt and not 0 <= min(prompt) <= max(prompt) < vocabulary:
            raise UsageError(
                f"The prompt has tokens from {min(prompt)} to {max(prompt)}. "
                f"Allowed: 0 to {vocabulary - 1}. Use the model's own tokenizer."
            )
        room = answer_room(prompt, sampling, self.window)
        request = Request(sampling, scope, Pipe(self.worker.wake), list(prompt), len(prompt) + room)
        if room > 0:
            self.worker.submit(request)
        else:
            request.say(End())
        return request

    def close(self) -> None:
        """End the thread, and what it is doing."""
        self.worker.close()


def serve(settings: "NativeEngine") -> Serving:
    """Load what `settings` name.

    Raises:
        UsageError: a setting is not allowed, or the model is of a kind that the native engine doesn't know.
        WeightsError: the model is not there, or is damaged.
    """
    _check(settings)
    weights = weights_with(settings.source, settings.sha256, settings.adapter)
    tokenizer = load_tokenizer(weights)
    adapters = {name: resolve(reference) for name, reference in settings.adapters.items()}
    worker = Worker(
        partial(_scheduler, settings, weights, adapters, tokenizer), settings.threads or usual_threads()
    )
    return Serving(tokenizer, worker, frozenset(adapters))


def _scheduler(
    settings: "NativeEngine", weights: Path, adapters: Mapping[str, Path], tokenizer: Any
) -> Scheduler:
    folder = safetensors_folder(weights)
    mode = settings.mode
    if settings.gate and native(folder):
        mode = passing_mode(folder, mode, torch.get_num_threads())
    decoder = load_decoder(folder, mode, adapters)
    states = _states(settings, folder, mode, adapters)
    prefixes = PrefixCache(decoder, settings.prefix_bytes, states)
    return Scheduler(
        decoder,
        end_tokens(tokenizer, _ends(folder)),
        Limits(settings.max_batch, settings.cache_bytes, settings.queue_limit, settings.prefill_chunk),
        prefixes if settings.prefix_bytes or states else None,
        _speculator(settings, decoder),
    )


def passing_mode(folder: Path, mode: str, threads: int) -> str:
    """Return the mode to serve in: `mode`, or `exact` where that is too far from it on this machine.

    Raises:
        TooLargeError: there is no room for `exact`, which has to serve.
        UsageError: there is no such mode.
        WeightsError: the model's files are damaged.
    """
    check_mode(mode)
    if mode == "exact":
        return mode
    try:
        broken = bounds_of(mode).broken_at(compared(folder, mode, threads))
    except TooLargeError as error:
        log.warning("%s Mode %s serves without a comparison.", str(error), mode)
        return mode
    except QualityError as error:
        broken = [str(error)]
    if not broken:
        return mode
    found = f"{folder.name} in mode {mode} is too far from the unquantised model: {'; '.join(broken)}"
    require_room_for_exact(f"{found}. Mode exact, which has to serve instead,", folder)
    log.warning("%s. Mode exact serves instead; with gate=false of the engine, mode %s.", found, mode)
    return "exact"


def _check(settings: "NativeEngine") -> None:
    if settings.speculation not in SPECULATION:
        raise UsageError(f"speculation is {settings.speculation!r}. Allowed: {', '.join(SPECULATION)}.")
    for name in ("max_batch", "prefill_chunk"):
        if (value := vars(settings)[name]) < 1:
            raise UsageError(f"{name} is {value}. Allowed: 1 or more.")


def _ends(folder: Path) -> int | list[int] | None:
    """Return the tokens that end an answer, as the model's own files name them."""
    name = "generation_config.json" if (folder / "generation_config.json").exists() else "config.json"
    ends: int | list[int] | None = json.loads((folder / name).read_text("utf-8")).get("eos_token_id")
    return ends


def _speculator(settings: "NativeEngine", decoder: Decoder) -> Speculator | None:
    if settings.speculation == "off":
        return None
    if settings.draft is None:
        return Speculator()
    draft = load_decoder(safetensors_folder(resolve(settings.draft)), settings.mode)
    if draft.vocab_size != decoder.vocab_size:
        raise UsageError(
            f"The draft model {settings.draft} has {draft.vocab_size} tokens, and {settings.source} has "
            f"{decoder.vocab_size}. Allowed: a model with the same tokenizer. Choose one of the same family."
        )
    return Speculator(Drafting(DraftModel(draft)))


def _states(
    settings: "NativeEngine", folder: Path, mode: str, adapters: Mapping[str, Path]
) -> "StateCache | None":
    if settings.state_folder is None:
        return None
    from markgraph.engines.native.state_cache import StateCache

    files = sorted(folder.glob("*.safetensors"))
    told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    digest = sha256(json.dumps([str(folder), told, mode, torch.__version__]).encode()).hexdigest()
    return StateCache(
        Path(settings.state_folder).expanduser(),
        settings.state_bytes,
        digest,
        {name: content_digest(each) for name, each in adapters.items()},
    )
