"""A trainer of whole models, which keeps them as MARK loads them."""

from typing import Any

from transformers import PrinterCallback, Trainer, TrainingArguments

from markgraph.models.bars import bars_for_people
from markgraph.training.port import Job
from markgraph.training.settings import Settings, arguments


class WholeTrainer(Trainer):
    """Saves weights, config and tokenizer; transformers' own adds its settings as a pickle."""

    def __init__(self, settings: Settings, job: Job, **parts: Any) -> None:
        """Take the rest as `transformers.Trainer` does; all that is in a row goes to the collator."""
        args = TrainingArguments(**arguments(settings, job), remove_unused_columns=False)
        super().__init__(args=args, callbacks=list(job.callbacks), **parts)
        self.remove_callback(PrinterCallback)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the model into `output_dir`, on the first of several processes."""
        if _internal_call:
            with bars_for_people():
                super().save_model(output_dir, _internal_call=True)
        elif self.args.should_save:
            folder = output_dir or self.args.output_dir
            tokenizer: Any = self.processing_class
            with bars_for_people():
                self.accelerator.unwrap_model(self.model).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
