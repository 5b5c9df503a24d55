"""A scripted model that takes its time, and says in a file when it has begun."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langchain_core.outputs import ChatGenerationChunk

from markgraph.models.fake import FakeChatModel


class SlowModel(FakeChatModel):
    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        with Path(os.environ["SLOW_MODEL_LOG"]).open("a") as log:
            log.write("asked\n")
        time.sleep(float(os.environ["SLOW_MODEL_SECONDS"]))
        yield from super()._stream(*args, **kwargs)
