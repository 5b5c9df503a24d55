"""Seals what a graph remembers beyond its threads, before a LangGraph store gets it.

No graph of MARK's has such memory. One of an app's, with one of MARK's as a node, is compiled with this, on
the keyring that seals MARK's own:

    keyring = make_service(compose("embed", ["seal=keyring"]), "seal")
    graph.compile(store=SealedStore(SqliteStore(connection), keyring))
"""

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from typing import Any

from langgraph.store.base import BaseStore, GetOp, Item, Op, PutOp, Result, SearchItem, SearchOp

from markgraph.errors import UsageError
from markgraph.security.sealing.keyring import Keyring

SEALED = "sealed"
Namespace = tuple[str, ...]


class SealedStore(BaseStore):
    """A store whose namespaces begin with a tenant, and whose values open only where they were put.

    The tenant stays in clear; the rest of a namespace, and keys, are kept as HMACs, values sealed. It can't
    search by meaning, which needs the text, nor list namespaces.
    """

    def __init__(self, kept: BaseStore, seal: Keyring) -> None:
        """Wrap any store."""
        self.kept, self.seal = kept, seal
        self.supports_ttl = kept.supports_ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several things at once."""
        asked = list(ops)
        found = self.kept.batch([self._stored(op) for op in asked])
        return [self._result(op, result) for op, result in zip(asked, found, strict=True)]

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the same without blocking."""
        asked = list(ops)
        found = await self.kept.abatch([self._stored(op) for op in asked])
        return [self._result(op, result) for op, result in zip(asked, found, strict=True)]

    def _stored(self, op: Op) -> Op:
        """Return what the store is asked instead."""
        if isinstance(op, GetOp):
            return op._replace(namespace=self._namespace(op.namespace), key=self._key(op.namespace, op.key))
        if isinstance(op, PutOp):
            key = self._key(op.namespace, op.key)
            value = None if op.value is None else self._sealed(op.namespace, op.key, op.value)
            return op._replace(namespace=self._namespace(op.namespace), key=key, value=value, index=False)
        if isinstance(op, SearchOp) and op.query is None and not op.filter:
            return op._replace(namespace_prefix=self._namespace(op.namespace_prefix))
        raise UsageError(
            "A sealed store gets, puts, and lists the items below a namespace. What is in them is sealed, so "
            "it can't search by meaning or by value, and names are HMACs, so it can't list namespaces."
        )

    def _result(self, op: Op, result: Any) -> Result:
        if isinstance(result, Item) and isinstance(op, GetOp):
            return self._opened(op.namespace[0], result)
        if isinstance(result, list) and isinstance(op, SearchOp):
            return [self._found(op.namespace_prefix[0], item) for item in result]
        return result  # type: ignore[no-any-return]

    def _found(self, tenant: str, item: Item) -> SearchItem:
        opened = self._opened(tenant, item)
        named = (opened.namespace, opened.key, opened.value)
        return SearchItem(*named, created_at=opened.created_at, updated_at=opened.updated_at)

    def _opened(self, tenant: str, item: Item) -> Item:
        sealed = b64decode(str(item.value.get(SEALED, "")))
        namespace, key, value = json.loads(self.seal.open(tenant, _about(item.namespace, item.key), sealed))
        return Item(
            namespace=tuple(namespace),
            key=key,
            value=value,
            created_at=item.created_at,
            updated_at=item.updated_at,
        )

    def _sealed(self, namespace: Namespace, key: str, value: Mapping[str, Any]) -> dict[str, Any]:
        about = _about(self._namespace(namespace), self._key(namespace, key))
        plain = json.dumps([namespace, key, value]).encode()
        return {SEALED: b64encode(self.seal.seal(namespace[0], about, plain)).decode()}

    def _namespace(self, namespace: Namespace) -> Namespace:
        """Return a namespace as it is kept: each part depends on those before it."""
        if not namespace:
            raise UsageError("A namespace begins with a tenant; got an empty one.")
        hasher = self.seal.hasher(namespace[0], "namespace")
        parts = (json.dumps(namespace[:depth]) for depth in range(2, len(namespace) + 1))
        return (SEALED, namespace[0], *(_name(hasher(part)) for part in parts))

    def _key(self, namespace: Namespace, key: str) -> str:
        return _name(self.seal.hasher(namespace[0], "key")(json.dumps([*namespace, key])))


def _about(namespace: Namespace, key: str) -> tuple[str, ...]:
    return ("item of a store", *namespace, key)


def _name(digest: bytes) -> str:
    return urlsafe_b64encode(digest[:24]).decode()
