"""Chat models behind a server with OpenAI's protocol: vLLM, SGLang, Ollama, llama.cpp, Triton, TensorRT-LLM.

What is asked goes to this machine only, unless the config says otherwise: passages that not everybody may
read are in it.
"""

from collections.abc import Mapping, Sequence
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
    extra_body: Mapping[str, Any] | None = None,
) -> "OpenAIChatModel":
    """Return a chat model that asks a server; nothing is sent before the first question.

    Args:
        base_url: where the protocol begins: http://127.0.0.1:8000/v1.
        model: the model's name at the server.
        start: the command that starts the server, for who finds it missing.
        remote: whether `base_url` may be another machine.
        api_key: what the server asks for; none of the environment is sent.
        timeout: seconds without a byte after which an answer is given up.
        max_retries: further tries when the server is busy or gone.
        stream_usage: ask for the number of tokens at the end of a stream; some servers refuse that.
        extra_body: settings of this server's own: `{top_k: 20}` for vLLM.

    Raises:
        UsageError: `base_url` is no address, or one of another machine without `remote`.
        MissingExtraError: langchain-openai is not installed.
    """
    check_address(base_url, remote)
    try:
        import httpx2
        import openai

        from markgraph.models.openai_chat import OpenAIChatModel
    except ImportError as error:
        raise MissingExtraError(
            f"Models behind a server need langchain-openai: pip install 'markgraph[openai]' ({error})."
        ) from error
    # The environment may name a proxy, and a server may answer with an address elsewhere.
    direct: dict[str, Any] = {"trust_env": False, "follow_redirects": False, "timeout": timeout}
    # A connection that is kept belongs to one event loop, and fails in the next.
    direct["limits"] = httpx2.Limits(max_keepalive_connections=0)
    return OpenAIChatModel(
        base_url=base_url,
        model=model,
        start=start,
        # Otherwise the key of OPENAI_API_KEY, which is another server's, would be sent.
        api_key=api_key or "none",
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        stop_sequences=list(stop) or None,
        timeout=timeout,
        max_retries=max_retries,
        stream_usage=stream_usage,
        extra_body=dict(extra_body) if extra_body else None,
        http_client=openai.DefaultHttpxClient(**direct),
        http_async_client=openai.DefaultAsyncHttpxClient(**direct),
    )


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
