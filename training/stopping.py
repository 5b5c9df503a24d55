"""Lets a node that works in a thread end soon when its run is cancelled."""

import asyncio
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any

from langgraph.runtime import Runtime

from markgraph.ingestion.interrupt import interruptible
from markgraph.security.caller import Caller
from markgraph.training.state import TrainState

PATIENCE = 60.0
"""Seconds that a cancelled run waits for what its node keeps; it ends behind that in any case."""
Node = Callable[[TrainState, Runtime[Caller]], Mapping[str, Any]]


async def stopped_when_cancelled(
    node: Node, state: TrainState, runtime: Runtime[Caller]
) -> Mapping[str, Any]:
    """Call a node in a thread; when the run is cancelled, interrupt it, and wait until it has ended."""
    with interruptible() as interrupted:
        # No task: what the thread raises when it was interrupted would end the event loop.
        loop, context = asyncio.get_running_loop(), copy_context()
        working = loop.run_in_executor(None, context.run, node, state, runtime)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            interrupted.set()
            await asyncio.wait([working], timeout=PATIENCE)
            raise
