"""Chat models behind a server with OpenAI's protocol: vLLM, SGLang, Ollama, llama.cpp, Triton, TensorRT-LLM.

What is asked goes to this machine only, unless the config says otherwise: passages that not everybody may
read are in it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markgraph.errors import MissingExtraError, UsageError
from markgraph.security.doors import is_loopback

if TYPE_CHECKING:
    from markgraph.models.openai_chat import OpenAIChatModel


def connect(
    base_url: str,
    model: str,
    *,
    start: str = "the server's own command",
    remote: bool = False,
    api_key: str | None = None,
    max_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | None = None,
    stop: Sequence[str] = (),
    timeout: float = 120.0,
    max_retries: int = 2,
    stream_usage: bool = True,
    extra_body: dict[str, Any] | None = None,
) -> "OpenAIChatModel":
    """Return a chat model that asks a server; nothing is sent before the first question.

    What the settings mean is said in conf/model/openai.yaml.

    Raises:
        UsageError: `base_url` is no address, or one of another machine without `remote`.
        MissingExtraError: langchain-openai is not installed.
    """
    check_address(base_url, remote)
    chat_model = _chat_model()
    server = {"base_url": base_url, "model": model, "start": start, "max_retries": max_retries}
    sampling = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
    form = {"stop_sequences": list(stop) or None, "stream_usage": stream_usage, "extra_body": extra_body}
    # Otherwise the key of OPENAI_API_KEY, which is another server's, would be sent.
    key = api_key or "none"
    return chat_model(api_key=key, timeout=timeout, **server, **sampling, **form, **_clients(timeout))


def check_address(base_url: str, remote: bool) -> None:
    """Refuse an address that questions and passages should not be sent to.

    Raises:
        UsageError: it is no http address, or one of another machine without `remote`.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"model.base_url is {base_url!r}. Allowed: http://HOST:PORT/PATH or https://. Correct it."
        )
    if not remote and not is_loopback(parts.hostname):
        raise UsageError(
            f"model.base_url is {base_url!r}, another machine. Allowed: 127.0.0.1, ::1, localhost. Questions "
            "and passages would leave this machine; if they may, say so with model.remote=true."
        )


def _chat_model() -> "Callable[..., OpenAIChatModel]":
    try:
        from markgraph.models.openai_chat import OpenAIChatModel
    except ImportError as error:
        raise MissingExtraError(
            f"Models behind a server need langchain-openai: pip install 'markgraph[openai]' ({error})."
        ) from error
    return OpenAIChatModel


def _clients(timeout: float) -> dict[str, Any]:
    """Return the HTTP clients, which go where they are told and nowhere else."""
    import httpx2
    import openai

    # The environment may name a proxy, and a server may answer with an address elsewhere.
    direct: dict[str, Any] = {"trust_env": False, "follow_redirects": False, "timeout": timeout}
    # A connection that is kept belongs to one event loop, and fails in the next.
    direct["limits"] = httpx2.Limits(max_keepalive_connections=0)
    return {
        "http_client": openai.DefaultHttpxClient(**direct),
        "http_async_client": openai.DefaultAsyncHttpxClient(**direct),
    }
