"""The route by which people rate answers of theirs."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from markgraph.config_errors import nearest
from markgraph.errors import UsageError
from markgraph.feedback.desk import LONGEST, RUN_ID, Desk
from markgraph.feedback.types import Opinion, Rating
from markgraph.serving.runnable import ASKING
from markgraph.text import HALF

Words = Annotated[str | None, Field(min_length=1, max_length=LONGEST)]


class Said(BaseModel):
    """What a client sends: which answer, and what is thought of it. Nothing of the answer itself."""

    model_config = ConfigDict(extra="forbid", title="Feedback")

    run_id: Annotated[str, Field(pattern=f"^{RUN_ID.pattern}$", description="`run_id` of the answer.")]
    graph: Annotated[str, Field(max_length=64, description="The graph that answered.")] = "qa"
    rating: Rating
    correction: Annotated[Words, Field(description="What the answer should have been.")] = None
    comment: Annotated[Words, Field(description="Anything else.")] = None

    @field_validator("run_id", "graph", "correction", "comment")
    @classmethod
    def is_text(cls, text: str | None) -> str | None:
        """Refuse what says nothing, and half characters, which nothing can keep."""
        if text is not None and (not text.strip() or HALF.search(text)):
            raise ValueError("Say something, or leave it out.")
        return text


class Kept(BaseModel):
    """What a client gets back."""

    id: str


class Problem(BaseModel):
    """Why something was not kept."""

    detail: str | list[Any]


def feedback_routes(
    desk: Desk, graphs: Collection[str], admitted: Callable[[Request], Awaitable[None]]
) -> APIRouter:
    """Return the route; `admitted` is what lets requests in."""
    routes = APIRouter()

    @routes.post("/feedback", dependencies=[Depends(admitted)], responses={422: {"model": Problem}})
    async def rate(said: Said) -> Kept:
        """Rate an answer that you got in the thread that the header `X-Thread-Id` names.

        Answers outside of threads are not kept, so they can't be rated.
        """
        caller, thread, _ = ASKING.get()
        if said.graph not in graphs:
            raise UsageError(f"No graph {said.graph!r} is served.{nearest(said.graph, graphs)}")
        if thread is None:
            raise UsageError(
                "Say in which thread the answer was given: the header X-Thread-Id. Answers outside of "
                "threads are not kept, so they can't be rated."
            )
        opinion = Opinion(rating=said.rating, correction=said.correction, comment=said.comment)
        kept = await asyncio.to_thread(desk.take, said.graph, caller, thread, said.run_id, opinion)
        return Kept(id=kept["id"])

    return routes
