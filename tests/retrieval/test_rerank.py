"""A cross-encoder reads question and passage together: a tiny one, that was taught what is binding."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from markgraph.errors import ConfigError, WeightsError
from markgraph.retrieval.rerank import CrossEncoder, rerank
from markgraph.retrieval.types import Hit, Place
from tests.retrieval.index_suite import chunk

TOPICS = ["payment", "delivery", "binding"]
FILLER = ["the", "party", "shall", "under", "this", "agreement", "of", "within"]
LIMIT = 32


def save_tiny(folder: Path, labels: int = 1) -> BertForSequenceClassification:
    """Save a tiny random cross-encoder with its tokenizer, and return it."""
    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TOPICS, *FILLER]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=LIMIT)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LIMIT,
        num_labels=labels,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForSequenceClassification(config)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return model


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread: threads cost more than such a model does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def teach(folder: Path) -> None:
    """Teach the model in `folder` that passages are relevant which say what is binding."""
    model = BertForSequenceClassification.from_pretrained(folder)
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    draw = random.Random(0)
    for _ in range(60):
        topics = [draw.choice(TOPICS) for _ in range(16)]
        passages = [" ".join(draw.sample([*draw.sample(FILLER, 2), topic], 3)) for topic in topics]
        labels = torch.tensor([float(topic == "binding") for topic in topics])
        batch = tokenizer([draw.choice(TOPICS) for _ in topics], passages, padding=True, return_tensors="pt")
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**batch).logits[:, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


@pytest.fixture
def random_model(tmp_path: Path) -> CrossEncoder:
    save_tiny(tmp_path / "model")
    return CrossEncoder(f"file:{tmp_path / 'model'}")


def test_a_taught_model_puts_relevant_passages_first(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    teach(tmp_path / "model")
    texts = [
        "the party payment",
        "shall under delivery",
        "this agreement binding",
        "binding of party",
        "the of",
    ]
    hits = [Hit(chunk(text, source=text), 1.0 - at / 10) for at, text in enumerate(texts)]
    found = rerank(hits, "payment", CrossEncoder(f"file:{tmp_path / 'model'}"), "hybrid")
    assert {hit.chunk.text for hit in found[:2]} == {"this agreement binding", "binding of party"}
    assert {hit.chunk.text for hit in found} == set(texts)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


def test_keeps_the_rank_and_score_that_a_hit_had(random_model: CrossEncoder) -> None:
    dense = Place("dense", 3, 0.5)
    hits = [Hit(chunk("payment", source="a"), 0.9, (dense,)), Hit(chunk("delivery", source="b"), 0.8)]
    found = rerank(hits, "binding", random_model, "hybrid")
    [first] = [hit for hit in found if hit.chunk.source == "a"]
    rank = found.index(first) + 1
    assert first.places == (dense, Place("hybrid", 1, 0.9), Place("rerank", rank, first.score))


def test_scores_depend_on_question_and_passage_and_not_on_the_batch(random_model: CrossEncoder) -> None:
    texts = ["payment", "delivery of the party", "binding " * 9, "party", "within"]
    scores = random_model.scores("payment", texts)
    assert len(set(scores)) == len(texts)
    assert random_model.scores("binding", texts) != pytest.approx(scores)
    one_by_one = [random_model.scores("payment", [text])[0] for text in texts]
    small = CrossEncoder(random_model.source, batch_size=2)
    assert small.scores("payment", texts) == pytest.approx(scores, abs=1e-5)
    assert one_by_one == pytest.approx(scores, abs=1e-5)
    assert random_model.scores("payment", []) == []


def test_cuts_the_passage_at_the_models_limit_and_never_the_whole_of_it(random_model: CrossEncoder) -> None:
    start = "payment " * (LIMIT - 4)
    long, longer = random_model.scores("binding", [start, start + "delivery " * 50])
    assert long == pytest.approx(longer)
    question = "binding " * (3 * LIMIT)
    one, other = random_model.scores(question, ["payment", "delivery"])
    assert one != pytest.approx(other)
    shorter = CrossEncoder(random_model.source, max_tokens=8)
    assert shorter.scores("binding", ["payment " * 9]) == pytest.approx(
        shorter.scores("binding", ["payment " * 5])
    )


def test_reads_the_headings_of_a_passage(random_model: CrossEncoder) -> None:
    bare, headed = (
        Hit(chunk("party"), 1.0),
        Hit(chunk("party", source="payment"), 1.0),
    )
    scores = [rerank([hit], "binding", random_model, "dense")[0].score for hit in (bare, headed)]
    assert scores[0] != pytest.approx(scores[1])


def test_two_labels_are_odds_and_three_are_refused(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "two", labels=2)
    tokenizer = BertTokenizerFast.from_pretrained(tmp_path / "two")
    with torch.inference_mode():
        [logits] = model.eval()(**tokenizer("payment", "party", return_tensors="pt")).logits.tolist()
    [score] = CrossEncoder(f"file:{tmp_path / 'two'}").scores("payment", ["party"])
    assert score == pytest.approx(logits[1] - logits[0], abs=1e-5)
    save_tiny(tmp_path / "three", labels=3)
    with pytest.raises(WeightsError, match="3 labels; a reranker has one or two"):
        CrossEncoder(f"file:{tmp_path / 'three'}").scores("payment", ["party"])


def test_names_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match=r"batch_size is 0; allowed: 1 or more"):
        CrossEncoder("file:x", batch_size=0)
    with pytest.raises(WeightsError, match="file:nowhere is not there"):
        CrossEncoder("file:nowhere").scores("payment", ["party"])
