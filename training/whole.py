"""A trainer of whole models, which keeps them as MARK loads them."""

from typing import Any

from transformers import PrinterCallback, Trainer, TrainingArguments

from markgraph.training.port import Job
from markgraph.training.settings import Settings, arguments


class WholeTrainer(Trainer):
    """Saves weights, config and tokenizer; transformers' own adds its settings as a pickle."""

    def __init__(self, settings: Settings, job: Job, **changes: Any) -> None:
        super().__init__(
            args=TrainingArguments(**arguments(settings, job)), callbacks=list(job.callbacks), **changes
        )
        self.remove_callback(PrinterCallback)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model into `output_dir`, on the first of several processes."""
        if _internal_call:
            super().save_model(output_dir, _internal_call=True)
        elif self.args.should_save:
            folder = output_dir or self.args.output_dir
            self.accelerator.unwrap_model(self.model).save_pretrained(folder)
            self.processing_class.save_pretrained(folder)
