"""Figures of a run, their marks, and how both are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

GROWTH_LIMIT = 64 << 20
"""Bytes that a service may grow by while one large document passes."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The ratio to the floor that is asked for."""

    ratio: float
    at_most: bool = False

    def is_met(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.at_most else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.ratio}"


@dataclass(slots=True)
class Figures:
    """What one side did, round by round."""

    seconds: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    """Processor seconds by process, all rounds together."""
    memory: dict[str, int] = field(default_factory=dict)
    """Highest resident memory by process, bytes."""
    growth: dict[str, int] = field(default_factory=dict)
    """Greatest growth during one transfer by process, bytes."""
    scale: float = 1.0
    """Units in one request: megabytes of a large document."""

    def add(self, seconds: float, latencies: Sequence[float], cpu: dict[str, float]) -> None:
        """One round of ``len(latencies)`` requests, or of one whose time is the round's."""
        self.seconds.append(seconds)
        self.counts.append(len(latencies) or 1)
        self.latencies += latencies or [seconds]
        for name, used in cpu.items():
            self.cpu[name] = self.cpu.get(name, 0.0) + used

    @property
    def rates(self) -> list[float]:
        return [self.scale * count / spent for count, spent in zip(self.counts, self.seconds, strict=True)]

    @property
    def value(self) -> float:
        """The median round."""
        return median(self.rates)

    def against(self, other: Figures) -> Growth:
        """How much longer this takes than ``other``, round by round."""
        return Growth(other.rates, self.rates)

    def facts(self) -> dict[str, Any]:
        requests = sum(self.counts)
        return {
            "value": round(self.value, 2), "rounds": [round(rate, 2) for rate in self.rates], "requests": requests,
            "ms": {f"p{point}": round(percentile(self.latencies, point) * 1000, 2) for point in (50, 95, 99)},
            "cpu_ms_per_request": {name: round(used / requests * 1000, 3) for name, used in self.cpu.items()},
            "memory_mib": {name: round(size / (1 << 20), 1) for name, size in self.memory.items()},
            "growth_mib": {name: round(size / (1 << 20), 1) for name, size in self.growth.items()},
        }


@dataclass(slots=True)
class Growth:
    """The quotient of two series of rounds."""

    before: list[float]
    after: list[float]

    @property
    def rates(self) -> list[float]:
        return [b / a for b, a in zip(self.before, self.after, strict=True)]

    @property
    def value(self) -> float:
        return median(self.rates)

    def facts(self) -> dict[str, Any]:
        return {"value": round(self.value, 3), "rounds": [round(rate, 3) for rate in self.rates]}


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table."""

    name: str
    unit: str
    figures: Figures | Growth
    floor: Figures | None
    mark: Mark

    @property
    def ratios(self) -> list[float]:
        """Value over floor, round by round: what happens to the machine meanwhile happens to both."""
        if self.floor is None:
            return self.figures.rates
        return [ours / least for ours, least in zip(self.figures.rates, self.floor.rates, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def is_met(self) -> bool:
        growth = getattr(self.figures, "growth", {})
        return self.mark.is_met(self.ratio) and all(size < GROWTH_LIMIT for size in growth.values())

    def facts(self) -> dict[str, Any]:
        return {
            "name": self.name, "unit": self.unit, "measured": self.figures.facts(),
            "floor": self.floor.facts() if self.floor else None, "ratio": round(self.ratio, 3),
            "ratios": [round(ratio, 3) for ratio in self.ratios], "mark": str(self.mark), "met": self.is_met,
        }


def percentile(values: Sequence[float], point: float) -> float:
    """The value that ``point`` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * int(point) // 100) - 1))]


def as_table(results: Sequence[Result], machine: dict[str, Any]) -> str:
    """Three blocks for a person: marks, times, and what each process used."""
    blocks = [
        ", ".join(f"{name} {value}" for name, value in machine.items() if value),
        _columns([("", "measured", "floor", "ratio", "[rounds]", "mark", "met"), *map(_mark_line, results)]),
        _columns([("milliseconds", "p50", "p95", "p99", "floor p50", "p95", "p99"), *_times(results)]),
        _columns([("", "processor ms a request", "highest memory MiB", "growth MiB"), *_uses(results)]),
    ]
    return "\n\n".join(blocks)


def _mark_line(one: Result) -> tuple[str, ...]:
    spread = f"[{min(one.ratios):.2f}-{max(one.ratios):.2f}]"
    floor = f"{one.floor.value:,.1f}" if one.floor else "-"
    met = "yes" if one.is_met else "NO"
    return one.name, f"{one.figures.value:,.1f} {one.unit}", floor, f"{one.ratio:.2f}", spread, str(one.mark), met


def _times(results: Sequence[Result]) -> list[tuple[str, ...]]:
    lines = []
    for one in results:
        if one.floor is not None:
            ours, least = one.figures.facts()["ms"], one.floor.facts()["ms"]
            lines.append((one.name, *(f"{value:,.1f}" for value in (*ours.values(), *least.values()))))
    return lines


def _uses(results: Sequence[Result]) -> list[tuple[str, ...]]:
    lines = []
    for one in results:
        for label, figures in ((one.name, one.figures), ("  floor", one.floor)):
            if isinstance(figures, Figures) and figures.cpu:
                facts = figures.facts()
                shown = (facts["cpu_ms_per_request"], facts["memory_mib"], facts["growth_mib"])
                lines.append((label, *(", ".join(f"{name} {value:g}" for name, value in p.items()) for p in shown)))
    return lines


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
