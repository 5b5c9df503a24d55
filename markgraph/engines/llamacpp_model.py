"""A GGUF model in llama.cpp, through its C interface: token ids in, logits out.

Does NOT include: sampling, text, several sequences in one batch.
"""

import ctypes
import importlib.util
import logging
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markgraph.errors import EngineError, MissingExtraError, WeightsError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

logger = logging.getLogger(__name__)

_ERROR = 4
"""GGML_LOG_LEVEL_ERROR, ggml.h."""
_told: deque[str] = deque(maxlen=4)
"""llama.cpp's latest complaints: it returns null, and says why on the side."""
_kept: list[Any] = []
"""The function that it calls with them; it keeps no more than a pointer."""


@dataclass(frozen=True)
class LlamaCppOptions:
    """How llama.cpp computes."""

    threads: int
    n_batch: int = 512
    """Tokens of a prompt that are read in one step."""
    flash_attn: bool | None = None
    """None leaves it to llama.cpp."""
    n_gpu_layers: int = -1
    """Layers on the GPU, where the installed build has one; -1 for all."""


class LlamaCppModel:
    """The weights, shared by all sequences.

    Raises:
        MissingExtraError: llama-cpp-python is not installed.
        WeightsError: llama.cpp can't load the file.
    """

    def __init__(self, path: Path, options: LlamaCppOptions) -> None:
        self._lib = lib = library()
        self.options = options
        settings = lib.llama_model_default_params()
        settings.n_gpu_layers = options.n_gpu_layers
        self.handle = lib.llama_model_load_from_file(str(path).encode(), settings)
        if not self.handle:
            raise WeightsError(
                f"llama.cpp could not load {path}: {'; '.join(_told)}. Allowed: a .gguf file of an "
                "architecture that the installed llama-cpp-python knows. Correct the source, or install a "
                "newer one."
            )
        weakref.finalize(self, lib.llama_model_free, self.handle)
        self._vocab = lib.llama_model_get_vocab(self.handle)
        self.vocab_size: int = lib.llama_vocab_n_tokens(self._vocab)
        self.window: int = lib.llama_model_n_ctx_train(self.handle)

    def ends(self, token: int) -> bool:
        """Tell whether `token` ends an answer, by the GGUF's own list."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def open(self, capacity: int) -> "LlamaCppSequence":
        """Return an empty sequence with room for `capacity` tokens."""
        return LlamaCppSequence(self, self._lib, capacity, self.options)


class LlamaCppSequence:
    """One text that is read, with memory of its own that `close` gives back.

    Not safe for several threads at once.
    """

    def __init__(self, model: LlamaCppModel, lib: Any, capacity: int, options: LlamaCppOptions) -> None:
        self._model, self._lib = model, lib  # the weights must outlive what reads them
        settings = lib.llama_context_default_params()
        settings.n_ctx = capacity
        settings.n_batch = settings.n_ubatch = min(options.n_batch, capacity)
        settings.n_threads = settings.n_threads_batch = options.threads
        settings.flash_attn_type = -1 if options.flash_attn is None else int(options.flash_attn)
        self._handle = lib.llama_init_from_model(model.handle, settings)
        if not self._handle:
            raise EngineError(
                f"llama.cpp could not reserve memory for {capacity} tokens: {'; '.join(_told)}. "
                "Ask for fewer tokens, or wait until other answers are done."
            )
        self.close = weakref.finalize(self, lib.llama_free, self._handle)

    def read(self, ids: "Sequence[int]") -> "npt.NDArray[np.float32]":
        """Read up to `n_batch` tokens, and return the logits after the last of them, (v,)."""
        import numpy as np

        tokens = (self._lib.llama_token * len(ids))(*ids)  # the batch only points to it
        code = self._lib.llama_decode(self._handle, self._lib.llama_batch_get_one(tokens, len(ids)))
        if code != 0:
            raise EngineError(
                f"llama.cpp could not compute the next token: {'; '.join(_told)} (llama_decode returned "
                f"{code}). Ask again; if it fails again, choose another engine."
            )
        logits = self._lib.llama_get_logits_ith(self._handle, -1)
        return np.ctypeslib.as_array(logits, (self._model.vocab_size,)).copy()


@cache
def library() -> Any:
    """Return the C interface, with its talk sent to this module's logger."""
    build_folder()
    from llama_cpp import llama_cpp as lib

    def note(level: int, text: bytes, _: ctypes.c_void_p) -> None:
        line = text.decode(errors="replace").strip()
        if level == _ERROR:
            _told.append(line)
        logger.debug("llama.cpp: %s", line)

    _kept.append(lib.llama_log_callback(note))
    lib.llama_log_set(_kept[-1], ctypes.c_void_p(0))
    lib.llama_backend_init()
    return lib


def build_folder() -> Path:
    """Return where the installed llama-cpp-python is, without loading it.

    Raises:
        MissingExtraError: it is not installed.
    """
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "The llamacpp engine needs llama-cpp-python: pip install 'markgraph[llamacpp]'. It is built from "
            "source, which takes a C++ compiler and some ten minutes."
        )
    return Path(spec.origin).parent
