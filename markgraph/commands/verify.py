"""`markgraph verify`: proves that no run of any configuration can break the policy."""

import json
import sys

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm import tqdm

from markgraph.commands.checks import OUTPUTS, check_choice
from markgraph.verification.configurations import GraphReport, failed, verify_all

OWN = ("all", "output", "path")
"""Settings of the command, and what it sets itself."""
FOUND = 1
"""The exit code where something was found."""


def run(config: DictConfig) -> int:
    """Verify what the overrides leave open, and return 0 if nothing was found."""
    check_choice(config, "output", OUTPUTS)
    check_choice(config, "all", (False, True))
    overrides = [
        each for each in HydraConfig.get().overrides.task if each.partition("=")[0].lstrip("+") not in OWN
    ]
    with tqdm(unit="config", desc="verifying", disable=None, file=sys.stderr) as bar:

        def tick(total: int) -> None:
            bar.total = total if bar.total is None or bar.n >= bar.total else bar.total
            bar.update()

        reports = verify_all(overrides, everything=config.all, begins=_say, tick=tick)
    if config.output == "json":
        print(json.dumps(_plain(reports), ensure_ascii=False))  # noqa: T201
    else:
        for report in reports:
            _print(report)
        print(_verdict(reports))  # noqa: T201
    return FOUND if any(failed(reports)) else 0


def _say(graph: str) -> None:
    """Say on stderr what is verified, where no bar shows that anything is."""
    if not sys.stderr.isatty():
        print(f"verifying {graph}", file=sys.stderr)  # noqa: T201


def _print(report: GraphReport) -> None:
    """Print what was tried of one graph, and what was found."""
    print(  # noqa: T201
        f"{report.graph}: {report.composed} configurations composed and built, {report.distinct} distinct "
        f"graphs.\n    crossed: {', '.join(report.shaping) or 'nothing'}"
        f"\n    each option, changing nothing: {', '.join(report.choosing) or 'none'}"
    )
    for reason, overrides in report.not_built.items():
        print(f"    can't be built, {' '.join(overrides)}: {reason}")  # noqa: T201
    for finding, overrides in report.found.items():
        print(f"  {finding}\n    with {' '.join(overrides) or 'the defaults'}")  # noqa: T201


def _verdict(reports: list[GraphReport]) -> str:
    findings = len(list(failed(reports)))
    if findings:
        return f"Not proven: {findings} finding{'s' * (findings > 1)}."
    composed = sum(report.composed for report in reports)
    return (
        f"Proven: in {composed} configurations with {sum(report.distinct for report in reports)} distinct "
        "graphs, no run can break the policy."
    )


def _plain(reports: list[GraphReport]) -> dict[str, object]:
    return {
        "proven": not any(failed(reports)),
        "graphs": [
            {
                "graph": report.graph,
                "composed": report.composed,
                "distinct": report.distinct,
                "crossed": report.shaping,
                "not_crossed": report.choosing,
                "not_built": [
                    {"overrides": list(overrides), "reason": reason}
                    for reason, overrides in report.not_built.items()
                ],
                "findings": [
                    {
                        "rule": finding.rule.value,
                        "node": finding.node,
                        "why": finding.why,
                        "path": list(finding.path),
                        "overrides": list(overrides),
                    }
                    for finding, overrides in report.found.items()
                ],
            }
            for report in reports
        ],
    }
