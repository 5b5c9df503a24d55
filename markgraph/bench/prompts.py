"""What the engines are asked: pieces of a contract, and requests to copy from it."""

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import count
from typing import Any

import yaml


@dataclass(frozen=True)
class Prompts:
    """Prompts as tokens of one model."""

    tokenizer: Any
    """A transformers tokenizer."""

    def text(self, tokens: int, start: int = 0) -> list[int]:
        """Return so many tokens of the contract from `start` on; after its end it begins again."""
        turns = (start + tokens) // len(self._contract) + 1
        return (self._contract * turns)[start : start + tokens]

    def many(self, count: int, tokens: int) -> list[list[int]]:
        """Return prompts of one length that begin differently."""
        apart = len(self._contract) // count
        return [self.text(tokens, at * apart) for at in range(count)]

    def about(self, tokens: int, question: str) -> list[int]:
        """Return `tokens` of the contract, and a question after them."""
        ids: list[int] = self.tokenizer.encode(f"\n\n{question}\n", add_special_tokens=False)
        return self.text(tokens) + ids

    def copies(self, most: int) -> list[list[int]]:
        """Return requests to copy from clauses that are pasted in, in the model's own chat format.

        Of each, at most the last `most` tokens.
        """
        asked = self._texts["copies"]
        return [self._chat(self._clauses(each["clauses"]), each["ask"])[-most:] for each in asked]

    def next_question(self) -> str:
        """Return a question that was not asked before."""
        return f"Question {next(self._count)}: {self._texts['question']}"

    def questions(self) -> list[str]:
        """Return different questions about the contract."""
        return [each["ask"] for each in self._texts["copies"]]

    @cached_property
    def _count(self) -> "count[int]":
        return count(1)

    @cached_property
    def _texts(self) -> dict[str, Any]:
        texts: dict[str, Any] = yaml.safe_load(
            files("markgraph.bench").joinpath("prompts.yaml").read_text("utf-8")
        )
        return texts

    @cached_property
    def _contract(self) -> list[int]:
        ids: list[int] = self.tokenizer.encode(self._texts["contract"], add_special_tokens=False)
        return ids

    def _clauses(self, numbers: list[int]) -> str:
        parts = self._texts["contract"].split("\n\n")
        return "\n\n".join(part for part in parts if part.split(". ")[0] in map(str, numbers))

    def _chat(self, context: str, question: str) -> list[int]:
        messages = [{"role": "user", "content": f"{context}\n\n{question}"}]
        ids: list[int] = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        return ids
