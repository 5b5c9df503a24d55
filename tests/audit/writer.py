"""Writes to an audit log until it is killed: `python -m tests.audit.writer FOLDER NAME`."""

import sys
from itertools import count

from markgraph.audit.file import FileAudit

if __name__ == "__main__":
    folder, name = sys.argv[1:]
    log = FileAudit(folder, f"{folder}/keys", max_mib=1)
    for number in count():
        log.write({"action": "graph:run", "actor": name, "number": number, "padding": "x" * 3000}, "written")
        print(number, flush=True)
