"""An engine that says what it is told, for your tests and ours."""

import threading
import time
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markgraph.engines.port import Sampling, Token
from markgraph.engines.requests import answer_room, refuse
from markgraph.engines.sampler import Sampler
from markgraph.engines.threaded import StepThread

if TYPE_CHECKING:
    from torch import Tensor

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CERTAINTY = 12.0
"""The scripted token's logit; the others have 0. At temperature 1 it gets 3/4, even among 50,000 tokens."""


def byte_tokenizer() -> Any:
    """Return a tokenizer with a token for each byte, two control tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    controls = ["<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={piece: n for n, piece in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(controls)
    roles = {"bos_token": controls[0], "eos_token": controls[1]}
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, chat_template=CHATML, **roles
    )


@dataclass
class FakeEngine:
    """Says `answers` in turn, then repeats the last; a model whose likeliest next token is the script's.

    So all settings have their meaning: a mask leads it off the script, a temperature too, log-probabilities
    are those of what it would have said. It computes one step at a time, when it is asked for a token.
    """

    answers: Sequence[str]
    tokenizer: Any = field(default_factory=byte_tokenizer)
    """Any tokenizer of transformers that has an end-of-text token."""
    context_tokens: int = 4096
    seconds: float = 0.0
    """How long a step takes, for who wants to interrupt it."""
    prompts: list[list[int]] = field(default_factory=list)
    """What it was asked so far."""
    samplings: list[Sampling] = field(default_factory=list)
    """How it was asked."""
    steps: int = 0
    """How many steps it has computed."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    _thread: StepThread = field(default_factory=lambda: StepThread("fake"), repr=False, compare=False)

    def stream(self, prompt: list[int], sampling: Sampling) -> Generator[Token, None, None]:
        """Yield the tokens of the next answer, or where the settings lead."""
        refuse("fake", sampling, "adapter")
        room = answer_room(prompt, sampling, self.context_tokens)
        with self._lock:
            self.prompts.append(prompt)
            self.samplings.append(sampling)
            answer = self.answers[min(len(self.prompts), len(self.answers)) - 1]
        script = [*self.tokenizer(answer, add_special_tokens=False).input_ids, self.tokenizer.eos_token_id]
        sampler = Sampler(sampling)
        for place in range(room):
            token = sampler.pick(self._logits(script[min(place, len(script) - 1)]))
            if token.id == self.tokenizer.eos_token_id:
                return
            yield token

    def astream(self, prompt: list[int], sampling: Sampling) -> AsyncIterator[Token]:
        """Do the same without holding a thread between tokens."""
        return self._thread.follow(self.stream(prompt, sampling))

    def _logits(self, likeliest: int) -> "Tensor":
        import torch

        time.sleep(self.seconds)
        with self._lock:
            self.steps += 1
        logits = torch.zeros(len(self.tokenizer))
        logits[likeliest] = _CERTAINTY
        return logits
