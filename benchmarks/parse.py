"""Measures reading: hostile files, OCR against gold text, tables of small files, and two PDF libraries.

    python benchmarks/parse.py hostile FOLDER [FOLDER ...] [--bombs]   every file through the sandbox
    python benchmarks/parse.py ocr DATA/documents                      error rates of the OCR engines
    python benchmarks/parse.py small --files 10000                     what the child process costs
    python benchmarks/parse.py text DATA/documents                     PDFium against pypdf

`hostile` ends with 1 when a file hung, the parent lost its children, or a failure was not a DocumentError.
PDFs made to test other libraries lie in the source packages of pikepdf and pypdf.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bombs import write_all  # type: ignore[import-not-found]  # beside this script

from markgraph.documents.load import SUFFIXES, load
from markgraph.documents.options import ReadOptions
from markgraph.documents.sandbox import Sandbox
from markgraph.errors import DocumentError

REASONS = {
    "took too long": "took longer than",
    "killed its reader": "ended the process",
    "too much memory": "needs more than",
    "too large": "are allowed",
    "encrypted": "is encrypted with",
    "no text": "holds no text|is a scan|is a picture",
    "damaged": "Cannot read",
    "empty or not text": "is empty|is not text|no encoding",
}
"""What failures are counted under, by what their messages hold; the first that fits."""
LATE = 30
"""Seconds beyond all limits after which a file counts as a hang."""
OCR_FILES = {"ocr/linn.png": "ocr/linn.txt", "ocr/linn.pdf": "ocr/linn.txt", "ocr/skew.pdf": "ocr/linn.txt"}
"""Scans by their gold text, in the data folder."""
SAYS = "Docling bundles PDF document conversion to JSON and Markdown in an easy self contained package"
OCR_SAYS = {"docling/ocr_test.pdf": SAYS, "docling/ocr_test_rotated_90.pdf": SAYS}


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    path: Path
    kind: str
    seconds: float
    message: str


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = parser.add_subparsers(dest="job", required=True)
    hostile = jobs.add_parser("hostile", help="every file of folders through the sandbox")
    hostile.add_argument("folders", nargs="*", type=Path)
    hostile.add_argument("--bombs", action="store_true", help="and the files of bombs.py")
    hostile.add_argument("--seconds", type=float, default=60)
    hostile.add_argument("--memory", type=int, default=2048, help="MiB")
    hostile.add_argument("--workers", type=int, default=2)
    hostile.add_argument("--ocr", default="none", choices=["auto", "tesseract", "rapidocr", "none"])
    for job in ("ocr", "text"):
        jobs.add_parser(job).add_argument("data", type=Path, help="the folder `documents` of the data")
    jobs.add_parser("small").add_argument("--files", type=int, default=10_000)
    arguments = parser.parse_args()
    return {"hostile": run_hostile, "ocr": run_ocr, "small": run_small, "text": run_text}[arguments.job](
        arguments
    )


def run_hostile(arguments: argparse.Namespace) -> int:
    """Read every file of the folders; print counts, the slowest and the odd ones."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [path for root in arguments.folders for path in sorted(root.rglob("*")) if path.is_file()]
        paths = [path for path in paths if path.suffix.lower() in SUFFIXES]
        if arguments.bombs:
            paths += map(Path, write_all(folder))
        limits = {"seconds": arguments.seconds, "page_seconds": arguments.seconds, "memory": arguments.memory}
        started = time.monotonic()
        with (
            Sandbox(workers=arguments.workers, ocr=arguments.ocr, **limits) as sandbox,
            ThreadPoolExecutor(arguments.workers) as pool,
        ):
            outcomes = list(pool.map(lambda path: outcome(sandbox, path), paths))
    return report(outcomes, time.monotonic() - started, 2 * arguments.seconds + LATE)


def outcome(sandbox: Sandbox, path: Path) -> Outcome:
    """Read one file, whatever comes of it."""
    started = time.monotonic()
    try:
        kind, message = "read", f"{len(sandbox.read(path, path.name).text)} characters"
    except DocumentError as error:
        message = str(error)
        kind = next(
            (kind for kind, pattern in REASONS.items() if re.search(pattern, message)), "other DocumentError"
        )
    except Exception as error:
        kind, message = "NOT TYPED", f"{type(error).__name__}: {error}"
    return Outcome(path, kind, time.monotonic() - started, message)


def report(outcomes: Iterable[Outcome], seconds: float, most: float) -> int:
    """Print the counts, and return 1 when there is something that must not be."""
    outcomes = list(outcomes)
    counts = Counter(each.kind for each in outcomes)
    hangs = [each for each in outcomes if each.seconds > most]
    for kind, count in counts.most_common():
        print(f"{count:6} {kind}")
    print(
        f"{len(outcomes)} files in {seconds:.0f} s, {len(hangs)} hangs, "
        f"{counts['NOT TYPED']} failures not typed"
    )
    for each in sorted(outcomes, key=lambda each: -each.seconds)[:5]:
        print(f"  slowest: {each.seconds:6.1f} s  {each.path.name}: {each.message[:100]}")
    for each in outcomes:
        if each.kind in ("NOT TYPED", "killed its reader", "took too long", "too much memory"):
            print(f"  {each.kind}: {each.path}: {each.message[:200]}")
    return int(bool(hangs or counts["NOT TYPED"]))


def run_ocr(arguments: argparse.Namespace) -> int:
    """Print character error rate and word recall of each engine, white space counted as one space."""
    gold = {name: (arguments.data / text).read_text("utf-8") for name, text in OCR_FILES.items()} | OCR_SAYS
    print(f"{'engine':10} {'file':34} {'error':>7} {'recall':>7} {'s':>6}")
    for engine in ("tesseract", "rapidocr"):
        for name, text in gold.items():
            started = time.monotonic()
            try:
                read = load(arguments.data / name, name, ReadOptions(ocr=engine)).text
            except DocumentError as error:
                print(f"{engine:10} {name:34} {error}")
                continue
            seconds = time.monotonic() - started
            wrong, recall = error_rate(read, text), word_recall(read, text)
            print(f"{engine:10} {name:34} {wrong:7.2%} {recall:7.1%} {seconds:6.1f}")
    return 0


def error_rate(read: str, gold: str) -> float:
    """Return the edit distance in characters, divided by the length of `gold`."""
    read, gold = " ".join(read.split()), " ".join(gold.split())
    row = list(range(len(read) + 1))
    for number, wanted in enumerate(gold, start=1):
        before, row[0] = row[0], number
        for at, got in enumerate(read, start=1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (got != wanted))
    return row[-1] / len(gold)


def word_recall(read: str, gold: str) -> float:
    """Return the part of the words of `gold` that are there, each as often as it should be."""
    wanted, got = (Counter(re.findall(r"\w+", text.lower())) for text in (gold, read))
    return (wanted & got).total() / wanted.total()


def run_small(arguments: argparse.Namespace) -> int:
    """Compare the child processes with reading in this one, over small Markdown files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}.md") for number in range(arguments.files)]
        for path in paths:
            path.write_text(f"# Title {path.stem}\n\n" + "A sentence of some words. " * 80)
        started = time.monotonic()
        for path in paths:
            load(path, path.name)
        here = time.monotonic() - started
        for workers in (1, 2):
            with Sandbox(workers=workers) as sandbox, ThreadPoolExecutor(workers) as pool:
                started = time.monotonic()
                list(pool.map(lambda path: sandbox.read(path, path.name), paths))
                there = time.monotonic() - started
            print(f"{len(paths)} files: {here:.2f} s in this process, {there:.2f} s in {workers} children")
    return 0


def run_text(arguments: argparse.Namespace) -> int:
    """Compare words that PDFium and pypdf find in the PDFs of a folder, and their time."""
    print(f"{'file':40} {'pages':>5} {'split by pypdf':>15} {'by PDFium':>10} {'pypdf s':>8} {'ours s':>7}")
    for path in sorted(arguments.data.rglob("*.pdf")):
        started = time.monotonic()
        theirs, pages = pypdf_text(path)
        middle = time.monotonic()
        try:
            ours = load(path, path.name, ReadOptions(ocr="none")).text
        except DocumentError:
            continue
        end = time.monotonic()
        split = [sum(fragments(text, other)) for text, other in ((theirs, ours), (ours, theirs))]
        print(
            f"{path.name:40} {pages:5} {split[0]:15} {split[1]:10} {middle - started:8.2f} "
            f"{end - middle:7.2f}"
        )
    return 0


def pypdf_text(path: Path) -> tuple[str, int]:
    """Return what pypdf reads, and the number of pages."""
    from pypdf import PdfReader

    pages = PdfReader(path).pages
    return "\n".join(page.extract_text() for page in pages), len(pages)


def fragments(text: str, other: str) -> Iterator[int]:
    """Yield 1 for every two neighbours in `text` that are one word in `other` and never one here."""
    whole = set(re.findall(r"[^\W\d_]+", other)) - set(re.findall(r"[^\W\d_]+", text))
    words = re.findall(r"[^\W\d_]+", text)
    yield from (1 for first, second in pairwise(words) if first + second in whole)


if __name__ == "__main__":
    sys.exit(main())
