"""A tiny random BERT, and rows in which other words ask than answer."""

import random
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from markgraph.training.base import Base
from markgraph.training.rows import Row

TOPICS = {f"ask{at}": f"answer{at}" for at in range(24)}
"""What a question on a topic says, and what a passage says that answers it."""
FILLER = ["the", "party", "shall", "under", "this", "agreement", "of", "within"]


def tiny_encoder(folder: Path) -> Base:
    """Return a random encoder, saved in `folder`, that knows these words."""
    folder.mkdir(parents=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TOPICS, *TOPICS.values(), *FILLER]
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    return Base("tiny", f"file:{folder}")


def _sentence(draw: random.Random, word: str) -> str:
    words = [*draw.choices(FILLER, k=3), word]
    draw.shuffle(words)
    return " ".join(words)


def searches(count: int, seed: int, topics: int = 24) -> list[Row]:
    """Return questions on one topic after the other, each with its passage and one on another topic.

    With fewer topics than there are, the others are those that nobody asks about: easily learned.
    """
    draw, known = random.Random(seed), list(TOPICS)
    asked = known[:topics]
    rows = []
    for at in range(count):
        topic = asked[at % topics]
        other = draw.choice(known[topics:] or [each for each in known if each != topic])
        rows.append(
            Row(
                id=f"{seed}-{at}",
                source="test",
                documents=[],
                readers=["public"],
                query=_sentence(draw, topic),
                positive=_sentence(draw, TOPICS[topic]),
                negatives=[_sentence(draw, TOPICS[other])],
            )
        )
    return rows


def entailments(count: int, seed: int) -> list[Row]:
    """Return premises, and hypotheses of which half are on their topic."""
    made = []
    for at, row in enumerate(searches(count, seed, topics=4)):
        label = at // 4 % 2
        hypothesis = row["positive"] if label else row["negatives"][0]
        made.append(
            Row(
                id=row["id"],
                source="test",
                documents=[],
                readers=["public"],
                premise=row["query"],
                hypothesis=hypothesis,
                label=label,  # type: ignore[typeddict-item]
            )
        )
    return made
