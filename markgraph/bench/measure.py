"""Measures engines in turns: MARK, rival, rival, and again, so that a machine's moods meet all alike."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from markgraph.bench.kept import Kept
from markgraph.bench.processes import EngineFailedError, Process, Processes, Setting
from markgraph.bench.progress import Progress
from markgraph.bench.results import Figures, Results
from markgraph.bench.table import Row


@dataclass(frozen=True)
class Runner:
    """Somebody who takes part in a case."""

    name: str
    """Who it is; also in the rows."""
    settings: Callable[[], tuple[Setting, ...]]
    """Returns the ways to set it up: the best is found first, and used. None: it can't take part."""
    measure: Callable[[Process], Figures]
    cost: Callable[[Figures], float] = field(default=lambda figures: next(iter(figures.values())))
    """What is least for the best setting."""
    ours: bool = False
    """Its failure is the bench's failure."""
    needs: str = "needs a GGUF file; the model is a folder"
    """Why it can't take part, where there is no way to set it up."""


@dataclass(frozen=True)
class Case:
    """Something that is measured on several engines alike."""

    key: str
    """What `rows=` calls it."""
    title: str
    runners: tuple[Runner, ...]
    rows: Callable[[Results], list[Row]]
    seconds: float
    """What a round takes on two cores, roughly: for saying how much is left."""
    rounds: int | None = None
    """Fixed number of rounds; None for as many as are asked for."""


@dataclass
class Run:
    """A run of the bench: what was measured so far is always there."""

    cases: Sequence[Case]
    rounds: int
    progress: Progress
    kept: Kept
    results: list[tuple[Case, Results]] = field(default_factory=list)
    disturbed: float = 0.0
    """The most processor time that idle engines took, as a share of a measurement."""

    def rows(self) -> list[Row]:
        """Return the rows of what was measured."""
        return [row for case, results in self.results for row in case.rows(results)]

    def measure(self) -> None:
        """Measure all cases.

        Raises:
            EngineFailedError: MARK itself failed.
        """
        with Processes() as processes:
            for case in self.cases:
                found = self.kept.read(case.title)
                if found is None:
                    self._measure(case, processes)
                else:
                    self.results.append((case, found))
                    self.progress.skip(case.seconds * (case.rounds or self.rounds))

    def _measure(self, case: Case, processes: Processes) -> None:
        results = Results()
        chosen: dict[str, Setting] = {}
        self.results.append((case, results))
        self.progress.begin(case.title)
        processes.keep(each for runner in case.runners for each in runner.settings())
        for runner in case.runners:
            with _reasons(runner, results):
                chosen[runner.name] = self._best(runner, processes)
                results.words[runner.name] = chosen[runner.name].words
        rounds = case.rounds or self.rounds
        for turn in range(rounds):
            for runner in case.runners:
                if runner.name in results.reasons:
                    continue
                self.progress.turn(turn + 1, rounds, runner.name)
                with _reasons(runner, results):
                    figures = self._once(runner, chosen[runner.name], processes)
                    results.runs.setdefault(runner.name, []).append(figures)
            self.progress.spend(case.seconds)
        self.kept.write(case.title, results)

    def _best(self, runner: Runner, processes: Processes) -> Setting:
        """Return the setting that does best; each is warmed up by the way."""
        costs = {}
        failed = EngineFailedError(f"{runner.name}: {runner.needs}")
        settings = runner.settings()
        for setting in settings:
            if setting.fresh:
                return setting
            self.progress.trying(runner.name, setting.words)
            try:
                tries = 1 if len(settings) == 1 else 3
                found = [runner.cost(self._once(runner, setting, processes)) for _ in range(tries)]
                costs[setting.key] = min(found), setting
            except EngineFailedError as error:
                failed = error
        if not costs:
            raise failed
        return min(costs.values(), key=lambda pair: pair[0])[1]

    def _once(self, runner: Runner, setting: Setting, processes: Processes) -> Figures:
        process = processes.get(setting)
        before, begun = processes.idle_seconds(process), perf_counter()
        figures = runner.measure(process)
        idle, seconds = processes.idle_seconds(process) - before, perf_counter() - begun
        self.disturbed = max(self.disturbed, idle / seconds if seconds > 1 else 0.0)
        return figures


@contextmanager
def _reasons(runner: Runner, results: Results) -> Iterator[None]:
    """Note why a rival has no figures; whatever stops MARK stops the bench."""
    try:
        yield
    except EngineFailedError as error:
        if runner.ours:
            raise
        results.runs.pop(runner.name, None)
        results.reasons[runner.name] = str(error)
