"""``carnet bench``"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from carnet.bench import credentials as verification
from carnet.bench import decisions as rights
from carnet.bench import processes, report, stage
from carnet.bench.scenarios import Bench, Plan
from carnet.console import JSON, Misuse, Refused, table
from carnet.workers import wanted


@click.command("bench")
@click.option("--entries", default="10000,1000000", show_default=True,
              help="Sizes of the registries that are queried; deposits go to the first.")
@click.option("--size", default=1024, show_default=True, type=click.IntRange(0),
              help="Large document, MiB; 0 for none.")
@click.option("--rounds", default=7, show_default=True, type=click.IntRange(1, 50), help="Rounds of each scenario.")
@click.option("--quick", is_flag=True, help="Small and soon done: 2 000 entries, 64 MiB, 3 rounds of 50 requests.")
@click.option("--decisions", is_flag=True, help="Only what a decision on rights costs, in microseconds; no services.")
@click.option("--credentials", is_flag=True, help="Only what verifying a credential costs a request; no services.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False),
              help="Folder that keeps the filled registries for the next run; default: a temporary one.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the JSON to this file.")
@click.option("--enforce", is_flag=True, help="Exit status 1 when a mark is missed.")
@JSON
def command(
    entries: str, size: int, rounds: int, quick: bool, decisions: bool, credentials: bool, work: Path | None,
    out: Path | None, enforce: bool, as_json: bool,
) -> None:
    """Measure this machine: deposits, queries, retrieves and a large document, each beside its floor.

    \b
    Everything runs here: both services, mutual TLS, a newly signed assertion in every request, 8 clients.
    Examples:
      carnet bench
      carnet bench --quick --json
      carnet bench --work bench-data --out figures.json
      CARNET__REGISTRY__WORKERS=1 CARNET__REPOSITORY__WORKERS=1 carnet bench
      carnet bench --decisions
      carnet bench --credentials --json
    """
    if decisions and credentials:
        raise Misuse("--decisions and --credentials: one at a time")
    try:
        sizes = tuple(int(part) for part in entries.split(","))
    except ValueError as error:
        raise Misuse(f"--entries {entries!r}: numbers separated by commas") from error
    plan = Plan(entries=sizes, rounds=rounds, size=size << 20)
    if quick:
        counts = {"rounds": 3, "deposits": 50, "queries": 50, "retrieves": 50, "warm": 10}
        plan = Plan(entries=(2_000,), size=64 << 20, transfers=1, **counts)
    if min(plan.entries) < 1000:
        raise Misuse("--entries: at least 1000")
    with ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="carnet-bench-")))
        if decisions or credentials:
            facts, text = _decisions(rounds) if decisions else _credentials(rounds)
        else:
            facts, text = _measure(plan, work.absolute())
    if out is not None:
        out.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else text)
    if enforce and not all(line["met"] for line in facts["results"]):
        raise SystemExit(1)


def _decisions(rounds: int) -> tuple[dict[str, Any], str]:
    with tempfile.TemporaryDirectory(prefix="carnet-bench-") as folder:
        results = rights.measure(Path(folder), rounds)
    facts = {"machine": processes.machine(), "plan": {"rounds": rounds}, "results": results}
    return facts, table(rights.as_table(results), ("", "measured", "mark", "met"))


def _credentials(rounds: int) -> tuple[dict[str, Any], str]:
    with tempfile.TemporaryDirectory(prefix="carnet-bench-") as folder:
        results = verification.measure(Path(folder), rounds)
    facts = {"machine": processes.machine(), "plan": {"rounds": rounds}, "results": results}
    return facts, table(verification.as_table(results), ("", "key", "measured", "floors", "mark", "met"))


def _measure(plan: Plan, work: Path) -> tuple[dict[str, Any], str]:
    """Prepare, measure; the facts and the table. Raises Refused when a request was not answered as it must be."""

    def tell(text: str) -> None:
        click.echo(text, err=True)

    stages = []
    for count in plan.entries:
        label = f"registry of {count} entries"
        with click.progressbar(length=count, label=label, file=sys.stderr, update_min_steps=1000) as bar:
            stages.append(stage.prepare(work / f"entries-{count}", count, bar.update))
    served = stages[0].settings
    workers = [wanted(one.workers) for one in (served.registry, served.repository)]
    machine = processes.machine() | {"workers of each service": min(workers)}
    try:
        with tempfile.TemporaryDirectory(prefix="floor-", dir=work) as floors:
            results = Bench(plan, stages, Path(floors), tell).run()
    except (processes.ChildFailed, RuntimeError) as error:
        raise Refused(str(error)) from error
    facts = {"machine": machine, "plan": {name: getattr(plan, name) for name in plan.__slots__},
             "results": [one.facts() for one in results]}
    return facts, report.as_table(results, machine)
