"""A tiny random BERT, and rows in which other words ask than answer."""

import random
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from markgraph.training.base import Base
from markgraph.training.rows import Row

TOPICS = {"pay": "invoice", "deliver": "parcel", "bind": "contract", "leave": "notice"}
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


def searches(count: int, seed: int) -> list[Row]:
    """Return questions, each with the passage on its topic and one on each other topic."""
    draw = random.Random(seed)
    rows = []
    for at in range(count):
        topic = draw.choice(list(TOPICS))
        texts = {other: _sentence(draw, answer) for other, answer in TOPICS.items()}
        rows.append(
            Row(
                id=f"{seed}-{at}",
                source="test",
                documents=[],
                readers=["public"],
                query=_sentence(draw, topic),
                positive=texts[topic],
                negatives=[text for other, text in texts.items() if other != topic],
            )
        )
    return rows


def entailments(count: int, seed: int) -> list[Row]:
    """Return premises and hypotheses: half of them are on one topic."""
    made = []
    for at, row in enumerate(searches(count, seed)):
        label = at % 2
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
