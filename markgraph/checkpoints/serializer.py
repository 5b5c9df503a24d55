"""Makes of a row what was written, and nothing else."""

from typing import Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from markgraph.errors import StorageError

_FORMATS = ("msgpack", "null", "bytes", "bytearray")


class _Strict(JsonPlusSerializer):
    """Reads what it writes: the older JSON rows may name any serialisable class of langchain-core."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        if data[0] not in _FORMATS:
            raise StorageError(
                f"A thread holds a value of format {data[0]!r}. Allowed: {', '.join(_FORMATS)}. MARK never "
                "wrote it: don't trust that file, go on with another."
            )
        return super().loads_typed(data)


def serializer() -> JsonPlusSerializer:
    """Return a serializer that makes plain data and LangChain's messages, and no other object, from a row.

    LangGraph's own list of safe types is all that is allowed, whatever LANGGRAPH_STRICT_MSGPACK says.
    """
    return _Strict(pickle_fallback=False, allowed_msgpack_modules=None)
