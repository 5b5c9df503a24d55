"""`markgraph serve`: the graphs over HTTP."""

import socket
import sys
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from omegaconf import DictConfig

from markgraph.build import Services, build_graph, make, make_services
from markgraph.commands.checks import check_choice, check_number
from markgraph.errors import MissingExtraError, UsageError
from markgraph.feedback.desk import Desk
from markgraph.security.checks import refuse_unsafe
from markgraph.security.doors import Door, is_loopback
from markgraph.security.guard import Guard
from markgraph.verification.verify import require_safe

SHARED = ("policy", "audit", "limits", "ratings", "checkpoint")
CONNECTIONS = 256
"""At once; more get 503. A body is held before it is known whose it is, up to 1 MiB."""


def run(config: DictConfig) -> int:
    """Serve until interrupted."""
    check_number(config, "port", 0, 65535)
    check_choice(config, "production", (True, False))
    if config.production:
        refuse_unsafe(config)
    door: Door = make(config, "auth")
    door.check_host(str(config.host))
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtraError("Serving needs uvicorn: pip install 'markgraph[serve]'.") from error
    from markgraph.serving.app import create_app

    policy, audit, limits, ratings, threads = make_services(config, *SHARED)
    guard = Guard(policy, audit)
    services = Services(policy=policy, audit=audit, limits=limits, checkpoint=threads)
    graph = require_safe(build_graph(config, **services))
    name = graph.get_name()
    listener = _listen(config.host, config.port)
    desk = Desk(ratings, threads, guard) if ratings else None
    app = create_app({name: graph}, door, guard, limits, desk)
    where = f"http://{config.host}:{listener.getsockname()[1]}"
    print(f"MARK serves {where}/{name}/playground/ (Ctrl-C stops it)", file=sys.stderr)  # noqa: T201
    if door.issuer and (note := _elsewhere(door.issuer.url, listener.getsockname()[1])):
        print(note, file=sys.stderr)  # noqa: T201
    settings: dict[str, Any] = {"log_level": config.debug.log_level.lower(), "limit_concurrency": CONNECTIONS}
    server = uvicorn.Server(uvicorn.Config(app, **settings))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    return 0


def _elsewhere(url: str, port: int) -> str | None:
    """Return a warning if clients who follow the issuer's URL come to another port of this machine.

    The URL can't follow the port: it is the issuer's name in tokens, and `markgraph token` knows no port.
    """
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or "") or parts.port == port:
        return None
    return (
        f"The issuer says that it is at {url}, and this server is at port {port}. Give this server and "
        f"`markgraph token` the same auth.url=http://127.0.0.1:{port}."
    )


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen()  # whoever reads that it serves may connect at once, and waits until it does
    except OSError as error:
        listener.close()
        raise UsageError(
            f"Can't listen on {host}:{port}: {error.strerror}. Try another port=NUMBER."
        ) from error
    return listener
