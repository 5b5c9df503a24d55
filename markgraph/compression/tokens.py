"""Counts the tokens of the model that will read a text."""

from collections.abc import Callable

from langchain_core.language_models import BaseChatModel, BaseLanguageModel

CHARACTERS_PER_TOKEN = 4
"""English prose in the vocabularies of small models; an estimate that needs no tokenizer."""

Count = Callable[[str], int]
"""Returns how many tokens a text takes."""


def estimate(text: str) -> int:
    """Return about how many tokens `text` takes."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def counter_of(model: BaseChatModel | None) -> Count:
    """Return what counts the tokens of `model`: itself, where it knows how, and else an estimate.

    What a model inherits from LangChain counts with GPT-2's tokenizer, which it would fetch from a hub.
    """
    if model is None or type(model).get_num_tokens is BaseLanguageModel.get_num_tokens:
        return estimate
    return model.get_num_tokens
