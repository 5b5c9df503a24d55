"""Ask a running `markgraph serve` with LangServe's client, streaming.

python examples/remote_runnable.py "When must a breach be notified?" [http://127.0.0.1:8000]
"""

import sys

from langserve import RemoteRunnable


def main(question: str, server: str = "http://127.0.0.1:8000") -> None:
    """Print the answer as it comes, then what each mark stands for."""
    citations: list[dict[str, object]] = []
    for piece in RemoteRunnable(f"{server}/qa/").stream({"question": question}):
        print(piece.get("answer", ""), end="", flush=True)
        citations = piece.get("citations", citations)
    print()
    for citation in citations:
        print(f"[{citation['mark']}] {citation['title']}: “{citation['quote']}”")


if __name__ == "__main__":
    main(*sys.argv[1:])
