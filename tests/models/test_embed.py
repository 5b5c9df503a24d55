"""Embedders pass LangChain's suites and keep what an index relies on.

Behaviour is tested over a BERT of random weights, made here; the suites over the embedded model, too.
"""

import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from markgraph.build import compose
from markgraph.errors import ConfigError, WeightsError
from markgraph.models.embed import HashEmbeddings, TransformerEmbeddings
from markgraph.models.source import resolve

pytestmark = pytest.mark.anyio

WORDS = [
    "the",
    "notice",
    "is",
    "due",
    "in",
    "72",
    "hours",
    "buyer",
    "pays",
    "cats",
    "sleep",
    "on",
    "contracts",
]
TEXTS = ["notice", "the notice is due in 72 hours", "cats sleep on the notice " * 6, "", "buyer pays"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def tiny_bert(folder: Path, dtype: torch.dtype = torch.float32) -> str:
    """Save a random BERT that reads at most 32 tokens, and return the reference to it."""
    torch.set_num_threads(1)
    vocabulary = {word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    roles = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **roles).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).to(dtype).save_pretrained(folder)
    return f"file:{folder}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(params=["hash", "tiny", pytest.param("minilm", marks=pytest.mark.weights)], scope="module")
def embedder(request: pytest.FixtureRequest, source: str) -> Embeddings:
    if request.param == "hash":
        return HashEmbeddings()
    return TransformerEmbeddings(source) if request.param == "tiny" else TransformerEmbeddings(**minilm())


def minilm() -> dict[str, Any]:
    """Return the settings of conf/embedder/minilm.yaml."""
    settings = compose("embed", ["embedder=minilm"]).embedder
    return {name: settings[name] for name in ("source", "sha256", "max_tokens", "batch_size")}


class HashSuite:
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return HashEmbeddings


class TinySuite:
    @pytest.fixture(autouse=True)
    def _source(self, source: str) -> None:
        self.source = source

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return TransformerEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"source": self.source}


class MiniLMSuite:
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return TransformerEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return minilm()


class TestHashUnit(HashSuite, EmbeddingsUnitTests):
    """Made as LangChain makes it."""


class TestHash(HashSuite, EmbeddingsIntegrationTests):
    """Embeds as LangChain expects it."""


class TestTinyUnit(TinySuite, EmbeddingsUnitTests):
    """Made as LangChain makes it."""


class TestTiny(TinySuite, EmbeddingsIntegrationTests):
    """Embeds as LangChain expects it."""


class TestMiniLMUnit(MiniLMSuite, EmbeddingsUnitTests):
    """Made as LangChain makes it, without its weights."""


@pytest.mark.weights
class TestMiniLM(MiniLMSuite, EmbeddingsIntegrationTests):
    """Embeds as LangChain expects it."""


def test_vectors_have_length_1(embedder: Embeddings) -> None:
    for vector in embedder.embed_documents([*TEXTS, "... ---", "日本語"]):
        assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-5)


def test_a_batch_gives_what_each_text_gives_alone(embedder: Embeddings) -> None:
    together = embedder.embed_documents(TEXTS)
    alone = [embedder.embed_query(text) for text in TEXTS]
    assert np.abs(np.array(together) - np.array(alone)).max() < 1e-5


def test_no_texts_give_no_vectors(embedder: Embeddings) -> None:
    assert embedder.embed_documents([]) == []


def test_a_text_that_is_too_long_is_cut(embedder: Embeddings) -> None:
    assert math.hypot(*embedder.embed_query("notice is due " * 2000)) == pytest.approx(1.0, abs=1e-5)


def test_two_at_once_get_what_each_gets_alone(embedder: Embeddings) -> None:
    alone = embedder.embed_documents(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(embedder.embed_query, TEXTS * 4))
    assert np.abs(np.array(found) - np.array(alone * 4)).max() < 1e-5


def test_batches_keep_the_order(source: str) -> None:
    one, many = TransformerEmbeddings(source, batch_size=2), TransformerEmbeddings(source)
    assert np.allclose(one.embed_documents(TEXTS), many.embed_documents(TEXTS), atol=1e-5)


def test_two_embedders_over_one_folder_agree(source: str) -> None:
    first, second = TransformerEmbeddings(source), TransformerEmbeddings(source)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda embedder: embedder.embed_query("notice"), [first, second]))
    assert found[0] == found[1]
    assert first.name == second.name == source


def test_what_is_cut_off_does_not_count(source: str) -> None:
    embedder = TransformerEmbeddings(source, max_tokens=6)
    assert embedder.embed_query("notice is due in 72 hours") == embedder.embed_query("notice is due in")


def test_the_limit_of_the_model_goes_before_ours(source: str) -> None:
    assert len(TransformerEmbeddings(source, max_tokens=4096).embed_query("notice " * 100)) == 32


def test_tells_how_much_it_reads_and_how_long_texts_are(source: str) -> None:
    embedder = TransformerEmbeddings(source, max_tokens=4096)
    assert embedder.context_tokens == 32
    assert TransformerEmbeddings(source, max_tokens=6).context_tokens == 6
    assert embedder.count_tokens(["", "notice is due", "notice " * 100]) == [2, 5, 102]
    embedder.embed_query("notice " * 100)
    assert embedder.count_tokens(["notice " * 100]) == [102]


def test_hashing_reads_so_many_words_and_no_more() -> None:
    embedder = HashEmbeddings(max_tokens=2)
    assert embedder.embed_query("notice due hours") == embedder.embed_query("notice due")
    assert (embedder.context_tokens, embedder.count_tokens(["a b c", ""])) == (2, [3, 0])


@pytest.mark.parametrize("name", ["dimensions", "max_tokens"])
def test_hashing_makes_no_vector_of_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"embedder\.{name} is 0; allowed: 1 or more"):
        HashEmbeddings(**{name: 0})


def test_weights_of_half_precision_are_computed_in_single(tmp_path: Path) -> None:
    vectors = TransformerEmbeddings(tiny_bert(tmp_path, torch.bfloat16)).embed_documents(TEXTS)
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * len(TEXTS), abs=1e-5)


def test_reads_its_weights_at_the_first_use(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    embedder = TransformerEmbeddings(f"file:{tmp_path}")
    with pytest.raises(WeightsError, match=f"Could not load the model in {re.escape(str(tmp_path))}"):
        embedder.embed_query("notice")


@given(st.text(max_size=200))
def test_any_text_has_a_hash_vector(text: str) -> None:
    vector = HashEmbeddings().embed_query(text)
    assert math.hypot(*vector) == pytest.approx(1.0)


def test_hash_vectors_of_texts_that_share_words_are_near() -> None:
    question, near, far = HashEmbeddings().embed_documents(
        ["When is the notice due?", "Notices are due in 72 hours.", "Cats sleep on contracts."]
    )
    assert np.dot(question, near) > 0.5 > np.dot(question, far)


def test_hash_vectors_do_not_depend_on_the_process() -> None:
    assert np.flatnonzero(HashEmbeddings(dimensions=64).embed_query("notice")).tolist() == [29]


@pytest.mark.weights
def test_minilm_puts_synonyms_together() -> None:
    question, near, far = TransformerEmbeddings(**minilm()).embed_documents(
        ["My car is broken.", "The automobile needs repair.", "Cats sleep on contracts."]
    )
    assert np.dot(question, near) > np.dot(question, far) + 0.1


@pytest.mark.weights
def test_the_pinned_minilm_is_what_the_index_has() -> None:
    assert (resolve(minilm()["source"], minilm()["sha256"]) / "model.safetensors").exists()
