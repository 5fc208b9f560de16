"""What is measured: product and floor in turn, several rounds in one run, on the same requests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carnet.bench import processes, stage
from carnet.bench.processes import Child
from carnet.bench.report import Figures, Mark, Result
from carnet.bench.stage import DEPOSITED, DOCUMENTS, QUERIED, Stage

LONGEST = 120.0
"""Seconds after which a timed part ends whether or not every request was sent."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured. ``size`` in bytes, of the large document; 0 leaves it out."""

    entries: Sequence[int] = (10_000, 1_000_000)
    rounds: int = 7
    deposits: int = 300
    queries: int = 200
    retrieves: int = 400
    size: int = 1 << 30
    transfers: int = 3
    clients: int = 8
    warm: int = 40
    """Requests sent before the first round, to each side, and not counted."""


@dataclass(frozen=True, slots=True)
class Side:
    """Something that answers: its port and the processes whose work is counted, by name."""

    port: int
    processes: dict[str, int]


@dataclass(slots=True)
class Bench:
    """One run over stages that are already filled. The first has a repository beside its registry."""

    plan: Plan
    stages: Sequence[Stage]
    work: Path
    tell: Tell

    def run(self) -> list[Result]:
        """Queries first: deposits add to the registry they are measured on."""
        results = []
        with ExitStack() as stack:
            pids = [
                stack.enter_context(stage.running(one, ("registry",) if number else ("registry", "repository")))
                for number, one in enumerate(self.stages)
            ]
            results += self._queries(pids)
            results += self._deposits_and_retrieves(pids[0])
            if self.plan.size:
                results += _Large(self, pids[0]).results()
        return results

    # -- small requests ------------------------------------------------------------------------------------

    def _queries(self, pids: Sequence[dict[str, int]]) -> list[Result]:
        plan = self.plan
        order = self.order(self.stages[0], "query", QUERIED, plan.queries, documents=DOCUMENTS)
        orders = [{**self.floor(one, "query"), "database": _path(one), "patient": QUERIED} for one in self.stages]
        names = [f"query, {DOCUMENTS} documents of {_spaced(one.entries)}" for one in self.stages]
        with ExitStack() as stack:
            # every stage has a card of its own, so every stage has a load generator of its own
            rivals = []
            for number, one in enumerate(self.stages):
                product = Side(one.settings.registry.port, {"registry": pids[number]["registry"]})
                load = stack.enter_context(processes.child("carnet.bench.load", stage.PIN))
                self.tell(f"signing {order['count']} queries")
                load.ask({"prepare": {**order, "card": str(one.card), "ca": str(one.anchors)}})
                rivals.append((load, [product, stack.enter_context(self.serving(orders[number]))]))
            figures = self._rounds("query", rivals, plan.queries)
        results = [
            Result(name, "requests/s", product, floor, Mark(0.5))
            for name, (product, floor) in zip(names, figures, strict=True)
        ]
        if len(results) > 1:
            first, last = figures[0][0], figures[-1][0]
            growth = f"query, {self.stages[-1].entries} entries against {self.stages[0].entries}"
            results.append(Result(growth, "times as long", last.against(first), None, Mark(1.3, at_most=True)))
        return results

    def _deposits_and_retrieves(self, pids: dict[str, int]) -> list[Result]:
        plan, one = self.plan, self.stages[0]
        product = Side(one.settings.repository.port, pids)
        first = random.SystemRandom().getrandbits(100) << 20
        folder = self.work / "floor"
        with ExitStack() as stack:
            deposit = stack.enter_context(processes.child("carnet.bench.load", stage.PIN))
            order = self.order(one, "deposit", DEPOSITED, plan.deposits, first=first)
            self.tell(f"signing {order['count']} deposits")
            deposit.ask({"prepare": order})
            floor = stack.enter_context(self.serving({**self.floor(one, "deposit"), "folder": str(folder)}))
            deposits = self._rounds("deposit", [(deposit, [product, floor])], plan.deposits)[0]
        stored = order["count"]
        with ExitStack() as stack:
            retrieve = stack.enter_context(processes.child("carnet.bench.load", stage.PIN))
            known = {"first": first, "stored": stored, "repository": one.settings.repository.unique_id}
            order = self.order(one, "retrieve", DEPOSITED, plan.retrieves, **known)
            self.tell(f"signing {order['count']} retrieves")
            retrieve.ask({"prepare": order})
            held = {"database": _file(one.settings.repository_database), "documents": one.settings.documents}
            floor = stack.enter_context(self.serving({**self.floor(one, "retrieve"), **held}))
            retrieves = self._rounds("retrieve", [(retrieve, [product, floor])], plan.retrieves)[0]
        return [
            Result("deposit, 20 kB", "requests/s", deposits[0], deposits[1], Mark(0.4)),
            Result("retrieve, 20 kB", "requests/s", retrieves[0], retrieves[1], Mark(0.5)),
        ]

    def _rounds(self, verb: str, rivals: Sequence[tuple[Child, list[Side]]], count: int) -> list[list[Figures]]:
        """Each round runs every side once on the same requests; every other round in the opposite order."""
        plan = self.plan
        figures = [[Figures() for _ in sides] for _, sides in rivals]
        for number in range(plan.rounds + 1):
            self.tell(f"{verb}: round {number} of {plan.rounds}" if number else f"{verb}: warming up")
            start = plan.warm + (number - 1) * count if number else 0
            runs = [
                (load, side, figures[i][k]) for i, (load, sides) in enumerate(rivals) for k, side in enumerate(sides)
            ]
            for load, side, into in reversed(runs) if number % 2 else runs:
                before = {name: processes.cpu_seconds(pid) for name, pid in side.processes.items()}
                answer = load.ask({"run": {
                    "port": side.port, "start": start, "stop": start + (count if number else plan.warm),
                    "threads": plan.clients, "seconds": LONGEST,
                }})
                if number:
                    into.add(answer["seconds"], answer["latencies"], {"load": answer["cpu"], **{
                        name: processes.cpu_seconds(pid) - before[name] for name, pid in side.processes.items()
                    }})
                    into.memory = {name: _highest(processes.memory(pid)) for name, pid in side.processes.items()}
        return figures

    # -- orders --------------------------------------------------------------------------------------------

    def order(self, one: Stage, verb: str, patient: str, count: int, **more: Any) -> dict[str, Any]:
        """What a load generator prepares."""
        return {
            "verb": verb, "count": self.plan.warm + count * self.plan.rounds, "card": str(one.card),
            "structure": stage.STRUCTURE, "patient": patient, "ca": str(one.anchors), **more,
        }

    def floor(self, one: Stage, name: str) -> dict[str, Any]:
        """What every floor needs: the certificate and the trust of the service it stands for."""
        node = "registry" if name == "query" else "repository"
        servers = one.settings.pki / "servers"
        return {
            "floor": name, "certificate": str(servers / f"{node}.pem"), "key": str(servers / f"{node}.key"),
            "anchors": str(one.anchors), "trust": str(one.settings.pki / "trust"),
        }

    @contextmanager
    def serving(self, order: dict[str, Any]) -> Iterator[Side]:
        """A floor in a process of its own."""
        with processes.child("carnet.bench.floors") as started:
            yield Side(started.ask(order)["port"], {"floor": started.pid})


@dataclass(slots=True)
class _Large:
    """A document of ``plan.size`` bytes, deposited and retrieved a few times, its floor before each."""

    bench: Bench
    pids: dict[str, int]
    growth: dict[str, int] = field(default_factory=dict)

    def results(self) -> list[Result]:
        bench, plan, one = self.bench, self.bench.plan, self.bench.stages[0]
        port = one.settings.repository.port
        floor, deposits, retrieves = Figures(), Figures(), Figures()
        prepare = {
            "card": str(one.card), "structure": stage.STRUCTURE, "patient": DEPOSITED, "ca": str(one.anchors),
            "size": plan.size, "repository": one.settings.repository.unique_id,
        }
        with (
            processes.child("carnet.bench.large", stage.PIN) as client,
            processes.child("carnet.bench.floors") as thread,
        ):
            client.ask({"prepare": prepare})
            for number in range(plan.transfers):
                bench.tell(f"large document: round {number + 1} of {plan.transfers}")
                name = f"2.25.{random.SystemRandom().getrandbits(110)}"
                least = thread.ask({"floor": "large", "size": plan.size, "folder": str(bench.work)})
                floor.add(least["seconds"], [], {})
                where = {"port": port, "document_id": name}
                self._transfer(client, {"deposit": {**where, "sha1": least["sha1"]}}, deposits)
                self._transfer(client, {"retrieve": where}, retrieves)
        megabytes = plan.size / 1e6
        for figures in (floor, deposits, retrieves):
            figures.scale = megabytes
        label = f"{_spaced(round(megabytes))} MB document"
        return [
            Result(f"deposit, {label}", "MB/s", deposits, floor, Mark(0.7)),
            Result(f"retrieve, {label}", "MB/s", retrieves, floor, Mark(0.7)),
        ]

    def _transfer(self, client: Child, order: dict[str, Any], into: Figures) -> None:
        """One transfer; how much memory one process took at its highest over what it held before."""
        for pid in self.pids.values():
            processes.forget_highest(pid)
        held = {name: processes.memory(pid) for name, pid in self.pids.items()}
        before = {name: processes.cpu_seconds(pid) for name, pid in self.pids.items()}
        answer = client.ask(order)
        used = {name: processes.cpu_seconds(pid) - before[name] for name, pid in self.pids.items()}
        into.add(answer["seconds"], [], {"load": answer["cpu"], **used})
        for name, pid in self.pids.items():
            now = processes.memory(pid)
            growth = max(highest - held[name].get(one, (0, 0))[0] for one, (_, highest) in now.items())
            into.memory[name] = max(into.memory.get(name, 0), _highest(now))
            into.growth[name] = max(into.growth.get(name, 0), growth)


def _highest(memory: dict[int, tuple[int, int]]) -> int:
    """Of the largest process."""
    return max(highest for _, highest in memory.values())


def _path(one: Stage) -> str:
    return _file(one.settings.registry_database)


def _file(url: str) -> str:
    return url.removeprefix("sqlite:///")


def _spaced(number: int) -> str:
    return f"{number:,}".replace(",", " ")
