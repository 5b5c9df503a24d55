"""Where a request comes from."""

from starlette.requests import HTTPConnection


def address_of(request: HTTPConnection) -> str | None:
    """Return the address that a request comes from; behind a proxy on this machine, the one it forwards."""
    return request.client.host if request.client else None
