"""Compares ways to fuse search by meaning and by words, over the collections of `retrieval_collections.py`.

    python benchmarks/fusion.py FOLDER_OF_COLLECTIONS [HYDRA OVERRIDES]

Prints nDCG@10 of each part and fusion on each collection; how each stands to the best part there, with 95 %
of the paired bootstrap; and what a weight is worth on a collection that had no say in it (leave one out).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from markgraph.build import compose
from markgraph.commands.judged import judged
from markgraph.evaluation.beir import Dataset
from markgraph.evaluation.intervals import interval_of
from markgraph.evaluation.tuning import Asked, ask_parts, gains_of
from markgraph.retrieval.fusion import Convex, Fusion, ReciprocalRank
from markgraph.retrieval.hybrid import HybridIndex

DEPTH = 50
WEIGHTS = (0.5, 0.7, 0.8, 0.85, 0.88, 0.89, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96)
SHOWN = (0.5, 0.7, 0.8, 0.85, 0.9, 0.91, 0.95)
Gains = dict[str, "np.ndarray"]
"""nDCG@10 of each query, by the name of what ranked it."""


@dataclass(frozen=True)
class Part:
    """One part alone, as a fusion."""

    at: int

    def __call__(self, rankings: Sequence[Mapping[str, float]], asked: int) -> dict[str, float]:  # noqa: ARG002
        """Return the scores of the part."""
        return dict(rankings[self.at])


FUSIONS: dict[str, Fusion] = {"dense": Part(0), "words": Part(1), "reciprocal rank": ReciprocalRank()}
FUSIONS |= {f"convex {weight:g}": Convex(weight) for weight in WEIGHTS}


def ask(folder: Path, overrides: Sequence[str]) -> tuple[list[Asked], Dataset]:
    """Return what both parts of the index find for each query of a collection."""
    ready = judged(compose("evaluate", [f"dataset='{folder}'", *overrides]), "evaluate")
    if not isinstance(ready.index, HybridIndex):
        raise SystemExit(f"{ready.index.name} has no parts.")
    parts = ready.index.parts
    return [ask_parts(parts, query, ready.caller, DEPTH) for query in ready.queries], ready.dataset


def gains(asked: Sequence[Asked], dataset: Dataset) -> Gains:
    """Return what each fusion makes of the parts' rankings."""
    return {name: np.array(gains_of(asked, dataset, fusion, DEPTH)) for name, fusion in FUSIONS.items()}


def best_part(found: Gains) -> str:
    """Return which part ranks a collection better."""
    return max("dense", "words", key=lambda name: float(found[name].mean()))


def difference(found: Gains, name: str) -> float:
    """Return how a fusion stands to the best part of a collection."""
    return float((found[name] - found[best_part(found)]).mean())


def chosen(collections: Sequence[Gains]) -> str:
    """Return the weight that loses to the best part on the fewest collections, and among those gains most."""

    def worth(name: str) -> tuple[int, float]:
        found = [difference(each, name) for each in collections]
        return -sum(each < 0 for each in found), sum(found)

    return max((f"convex {weight:g}" for weight in WEIGHTS), key=worth)


def report(measured: Mapping[str, Gains]) -> None:
    """Print both tables."""
    shown = ["dense", "words", "reciprocal rank", *(f"convex {weight:g}" for weight in SHOWN)]
    print("".ljust(17), *(name[:10].rjust(10) for name in measured), "      mean")
    for name in shown:
        means = [float(found[name].mean()) for found in measured.values()]
        print(name.ljust(17), *(f"{mean:10.4f}" for mean in means), f"{np.mean(means):10.4f}")
    print("\nagainst the best part")
    for collection, found in measured.items():
        best = best_part(found)
        print(f"{collection} ({len(found[best])} queries; {best} {found[best].mean():.4f})")
        for name in shown[2:]:
            mean, low, high = interval_of((found[name] - found[best]).tolist())
            print(f"    {name:16} {mean:+.4f} [{low:+.4f}, {high:+.4f}]")
    print("\na weight that was chosen on the other collections")
    for collection, found in measured.items():
        name = chosen([each for other, each in measured.items() if other != collection])
        print(f"    {collection:16} {name:14} {difference(found, name):+.4f}")


def main() -> None:
    """Measure every collection."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    folders = sorted(folder for folder in given.folder.iterdir() if folder.is_dir())
    report({folder.name: gains(*ask(folder, given.overrides)) for folder in folders})


if __name__ == "__main__":
    main()
