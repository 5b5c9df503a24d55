"""What LangServe's playground hands out: the files of its page, and nothing else."""

from pathlib import Path

import langserve
from starlette.exceptions import HTTPException

_PAGE = Path(langserve.__file__).parent / "playground" / "dist"


def check_file(name: str) -> None:
    """Refuse what is no file of the page: LangServe would open a folder, or a name that no file can have.

    Args:
        name: what a client asks for; nothing stands for the page itself.

    Raises:
        HTTPException: 404.
    """
    files = {file.relative_to(_PAGE).as_posix() for file in _PAGE.rglob("*") if file.is_file()}
    if name and name not in files:
        raise HTTPException(404)
