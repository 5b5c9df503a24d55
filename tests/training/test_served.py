"""What was trained is what is served: by PEFT, merged, and by MARK's own engine."""

from pathlib import Path

import torch

from markgraph.engines.native.engine import NativeEngine
from markgraph.engines.port import Sampling
from markgraph.training.lora import Lora
from markgraph.training.render import completion_ids, prompt_ids
from markgraph.training.sft import Sft
from tests.training.facts import FACTS, chat_rows, job, row, tiny_base


def test_an_adapter_answers_in_the_native_engine_as_it_was_trained(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    method = Sft(lora=Lora(r=8, alpha=16), batch_size=3, learning_rate=0.02, warmup=0.0, epochs=40)
    training = method.training(job(base, chat_rows(), tmp_path, 40))
    training.train()
    training.save_model(str(tmp_path / "model"))

    engine = NativeEngine(base.source, mode="exact", adapters={"facts": f"file:{tmp_path / 'model'}"})
    for question, fact in FACTS.items():
        prompt = prompt_ids(base, row(question)["messages"])
        said = [token.id for token in engine.stream(prompt, Sampling(max_tokens=30, adapter="facts"))]
        assert [*said, completion_ids(base, fact)[-1]] == completion_ids(base, fact)


def test_all_weights_are_saved_with_the_ids_of_the_base(tmp_path: Path) -> None:
    base = tiny_base("llama", tmp_path)
    training = Sft(batch_size=3).training(job(base, chat_rows(), tmp_path, 1))
    training.train()
    training.save_model(str(tmp_path / "model"))

    for name in ("tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (tmp_path / "model" / name).read_bytes() == (base.folder / name).read_bytes()
    engine = NativeEngine(f"file:{tmp_path / 'model'}", mode="exact")
    prompt = prompt_ids(base, row("Who pays?")["messages"])
    said = [token.id for token in engine.stream(prompt, Sampling(max_tokens=5))]
    model = training.model.eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        best = model(input_ids=torch.tensor([prompt])).logits[0, -1].argmax()
    assert said[0] == int(best)
