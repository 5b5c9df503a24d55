"""TRL's trainers, without what they tell others, and saving what MARK serves."""

import json
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from transformers import PrinterCallback

from markgraph.errors import UsageError
from markgraph.models.bars import bars_for_people
from markgraph.models.weights import load_tokenizer
from markgraph.training.base import Base
from markgraph.training.extra import peft
from markgraph.training.lora import Lora
from markgraph.training.port import Job
from markgraph.training.settings import Settings


class Local:
    """What a trainer leaves out here: telemetry, cards for a hub, and settings as pickle beside the model."""

    base: Base
    kept: float
    """Part of an adapter's change that is kept, as in `Lora`."""
    model: Any
    args: Any
    accelerator: Any

    def _send_telemetry(self) -> None:
        """Tell nobody."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: the registry does, and it knows the data."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write what was trained into `output_dir`, on the first of several processes."""
        with bars_for_people():
            if _internal_call:
                super().save_model(output_dir, _internal_call=True)  # type: ignore[misc]
            elif self.args.should_save:
                folder = Path(output_dir or self.args.output_dir)
                save(self.accelerator.unwrap_model(self.model), self.base, folder, self.kept)


def trainer(
    kind: type, job: Job, *parts: type, lora: Lora | None, task: str = "CAUSAL_LM", **settings: Any
) -> Any:
    """Return a trainer of TRL's for a job; methods of `parts` come before its own."""
    kept, adapter = (lora.kept, lora.config(job.base.family, task)) if lora else (1.0, None)
    ours = type(kind.__name__, (*parts, Local, kind), {"base": job.base, "kept": kept})
    # A tokenizer of its own: TRL gives it a padding token.
    tokenizer, callbacks = load_tokenizer(job.base.folder), list(job.callbacks)
    made = ours(processing_class=tokenizer, callbacks=callbacks, peft_config=adapter, **settings)
    made.remove_callback(PrinterCallback)
    return made


def start(settings: Settings, base: Base) -> Any:
    """Return the model that a training begins with, on the processor, or quantised on a GPU.

    Raises:
        UsageError: it is to be quantised, and there is no GPU.
        MissingExtraError: bitsandbytes is not installed.
    """
    if settings.quantization is None:
        return base.causal()
    if not torch.cuda.is_available():
        raise UsageError(
            f"method.quantization={settings.quantization} needs an NVIDIA GPU. Got: none that torch uses. "
            "Leave it out: an adapter over a base in float32 is trained on processors, too."
        )
    return base.causal("bfloat16", settings.quantization)


def save(model: Any, base: Base, folder: Path, kept: float = 1.0) -> None:
    """Write an adapter as PEFT saves it, or a whole model with the tokenizer of its base.

    Args:
        kept: the part of the adapter's change that is kept.

    Raises:
        UsageError: the model is quantised, and no adapter.
    """
    if isinstance(model, peft().PeftModel):
        # Where the base lies on this machine is nobody's business, and of no use elsewhere.
        settings = model.peft_config["default"]
        settings.base_model_name_or_path = base.source
        settings.lora_alpha, learned = settings.lora_alpha * kept, settings.lora_alpha
        model.save_pretrained(folder, save_embedding_layers=False)
        settings.lora_alpha = learned
        (folder / "README.md").unlink(missing_ok=True)  # a form with nothing filled in
        return
    if getattr(model, "is_quantized", False):
        raise UsageError(f"{base.name} is quantised. Allowed: an adapter over it. Choose method.lora.")
    model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    _restore_ids(base.folder, folder)


def _restore_ids(base: Path, folder: Path) -> None:
    """Write the ids that begin, end and pad as the base has them: trainers set them to what they pad with."""
    was, now = (json.loads((each / "config.json").read_text("utf-8")) for each in (base, folder))
    ids = {key: was.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (folder / "config.json").write_text(json.dumps(now | ids, indent=2) + "\n", "utf-8")
    if (ends := base / "generation_config.json").exists():
        copyfile(ends, folder / ends.name)
