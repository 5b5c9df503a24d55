"""`markgraph doctor`: what this machine has, what of it would serve, and which tier of models fits."""

import json
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from markgraph.commands.checks import OUTPUTS, check_choice, check_number
from markgraph.errors import UsageError
from markgraph.models.machine import describe_machine, processor, read_bandwidth
from markgraph.models.tiers import best_tier, gigabytes, tiers
from markgraph.security.checks import security_checks


def run(config: DictConfig) -> int:
    """Print the machine, and return 0; or the security checks, and return 1 where one failed."""
    check_choice(config, "output", OUTPUTS)
    check_number(config, "threads", 1, 1024, optional=True)
    check_choice(config, "security", (True, False))
    check_choice(config, "production", (True, False))
    if config.security:
        return _security(config)
    if config.production:
        raise UsageError("production=true says which security checks fail. Add --security.")
    found = examine(config.threads or processor().threads)
    if config.output == "json":
        print(json.dumps(found, ensure_ascii=False))  # noqa: T201
    else:
        _print(found)
    return 0


def _security(config: DictConfig) -> int:
    checks = security_checks(config)
    if config.output == "json":
        print(json.dumps([asdict(check) for check in checks], ensure_ascii=False))  # noqa: T201
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:  # one line each, for grep
            print(f"{check.name:{width}}  {check.state:6}  {check.said}")  # noqa: T201
    return int(any(check.state == "failed" for check in checks))


def examine(threads: int) -> dict[str, Any]:
    """Return what this machine has, as plain data: sizes in bytes, bandwidth in GB/s, speeds in tokens/s."""
    machine = describe_machine()
    room, bandwidth = machine["memory"]["room"], read_bandwidth(threads)
    known = tiers()
    best = best_tier(known, room, bandwidth)
    return machine | {
        "bandwidth": {"gigabytes_per_second": round(bandwidth, 1), "threads": threads},
        "engine": _serving(),
        "tiers": [
            asdict(tier) | {"fits": tier.fits(room), "speed": round(tier.speed(bandwidth), 1)}
            for tier in known
        ],
        "tier": best.name if best else None,
    }


def _serving() -> dict[str, Any]:
    """Return what would compute in each mode, and whether its steps are compiled."""
    from markgraph.engines.native.kernels import library
    from markgraph.engines.native.load import MODES

    return {"modes": MODES, "compiled": library() is not None}


def _print(found: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, text in _facts(found):
        facts.add_row(name, text)
    console.print(facts)
    table = Table(
        "tier", "model", "memory", "fits", "tokens/s at most, about", box=None, padding=(0, 2, 0, 0)
    )
    for tier in found["tiers"]:
        fits = "yes" if tier["fits"] else "no"
        table.add_row(tier["name"], tier["model"], gigabytes(tier["memory"]), fits, f"{tier['speed']:.0f}")
    console.print("\n", table, sep="")
    if found["tier"]:
        console.print(f'\nChoose tier={found["tier"]}: markgraph ask "..." tier={found["tier"]}')
    else:
        console.print(
            "\nNo tier fits into the memory that is free. Free some, or raise the container's limit."
        )


def _facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return each fact in words."""
    cores, memory, speed = found["processor"], found["memory"], found["bandwidth"]
    quota = "" if cores["quota"] is None else f", a quota of {cores['quota']:g}"
    limit = "" if memory["limit"] is None else f", {gigabytes(memory['limit'])} for this container"
    masks = [
        ("masked by", f"{name}={value}: not all units may be used") for name, value in cores["masks"].items()
    ]
    return [
        ("processor", cores["name"]),
        (
            "cores",
            f"{cores['physical_cores']}, {cores['logical_cores']} logical, "
            f"{cores['allowed_cores']} for this process{quota}: {cores['threads']} threads compute",
        ),
        ("matrix units", ", ".join(cores["matrix_units"]) or "none known"),
        *masks,
        ("memory", f"{gigabytes(memory['total'])}{limit}; {gigabytes(memory['room'])} free"),
        ("read at", f"{speed['gigabytes_per_second']} GB/s by {speed['threads']} threads"),
        ("GPUs", "; ".join(map(_gpu, found["gpus"])) or "none that torch uses"),
        ("served as", ", ".join(f"{form} (mode={mode})" for mode, form in found["engine"]["modes"].items())),
        ("steps", _compiled(found["engine"]["compiled"])),
        ("load", f"{found['load_average'][0]}; other work makes the figures above smaller"),
        ("software", f"{found['os']}, Python {found['python']}, torch {found['torch']}"),
    ]


def _gpu(gpu: dict[str, Any]) -> str:
    capability = ".".join(map(str, gpu["capability"]))
    return f"{gpu['name']}, {gigabytes(gpu['memory'])}, {capability}: {', '.join(gpu['formats'])}"


def _compiled(compiled: bool) -> str:
    if compiled:
        return "compiled for this processor, where a model's form and sizes allow it (mode=fast)"
    return "not compiled, and slower: there is no C compiler. Install gcc"
