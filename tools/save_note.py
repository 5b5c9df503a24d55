"""Writes a note to a file of the caller's own."""

from hashlib import sha256
from pathlib import Path

from langchain.tools import ToolRuntime, tool
from langchain_core.tools import BaseTool

from markgraph.sandbox.files import FileJail
from markgraph.security.caller import Caller, caller_of, readers_of
from markgraph.security.effects import labelled


def save_note(folder: Path) -> BaseTool:
    """Return a tool that writes notes below `folder`, in a folder for each tenant and subject."""
    folder = Path(folder).expanduser()

    @tool("save_note")
    def save(text: str, runtime: ToolRuntime[Caller]) -> str:
        """Save a note for the caller. `text`: what it says."""
        caller = caller_of(runtime)
        readers_of(caller)  # nobody has no notes
        # Names are hashed: an identity may hold characters that mean something in a path. The call's
        # id makes the file's name, so a run that is resumed writes the same note again, not a second.
        owner = sha256(f"{caller.tenant}\0{caller.subject}".encode()).hexdigest()[:16]
        name = sha256(str(runtime.tool_call_id).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        FileJail(folder).write(f"{owner}/{name}.txt", text.encode())
        return f"Saved as {name}.txt."

    return labelled(save, reads_private=False, ingests_untrusted=False, egress=False, side_effects=True)
