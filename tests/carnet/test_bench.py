"""``carnet bench``: a very small run through every scenario, and the arithmetic of its report. No time is asserted."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from carnet.bench import credentials, decisions, large, processes, stage
from carnet.bench.report import Figures, Mark, Result, as_table, percentile
from carnet.bench.scenarios import Bench, Plan
from carnet.commands.bench import command

TINY = Plan(
    entries=(200, 240), rounds=2, deposits=6, queries=4, retrieves=6, size=3_000_000, transfers=1, clients=2, warm=3
)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> list[stage.Stage]:
    work = tmp_path_factory.mktemp("bench")
    return [stage.prepare(work / str(count), count, lambda _: None) for count in TINY.entries]


@pytest.fixture(scope="module")
def facts(stages: list[stage.Stage], tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The facts of one tiny run with real services and real floors."""
    results = Bench(TINY, stages, tmp_path_factory.mktemp("work"), lambda _: None).run()
    assert as_table(results, processes.machine()).count("\n") > 10
    return [json.loads(json.dumps(one.facts())) for one in results]


def test_every_scenario_has_a_line(facts: list[dict]) -> None:
    """Both registries, their comparison, deposit, retrieve, and the large document there and back."""
    assert [one["name"] for one in facts] == [
        "query, 100 documents of 200", "query, 100 documents of 240", "query, 240 entries against 200",
        "deposit, 20 kB", "retrieve, 20 kB", "deposit, 3 MB document", "retrieve, 3 MB document",
    ]
    assert [one["mark"] for one in facts] == [">= 0.5", ">= 0.5", "<= 1.3", ">= 0.4", ">= 0.5", ">= 0.7", ">= 0.7"]


def test_every_request_of_every_round_was_answered(facts: list[dict]) -> None:
    """Counts are those of the plan on both sides, so nothing was refused, dropped or left out."""
    sides = {one["name"]: (one["measured"], one["floor"]) for one in facts if one["floor"]}
    counts = {name: tuple(side["requests"] for side in both) for name, both in sides.items()}
    assert counts["deposit, 20 kB"] == counts["retrieve, 20 kB"] == (12, 12)
    assert counts["query, 100 documents of 200"] == (8, 8)
    assert counts["deposit, 3 MB document"] == (1, 1)


def test_client_and_services_are_counted_apart(facts: list[dict]) -> None:
    """Processor time and memory by process; the load generator is one of them."""
    by_name = {one["name"]: one["measured"] for one in facts}
    assert set(by_name["deposit, 20 kB"]["cpu_ms_per_request"]) == {"load", "registry", "repository"}
    assert set(by_name["query, 100 documents of 240"]["cpu_ms_per_request"]) == {"load", "registry"}
    assert all(size > 10 for size in by_name["retrieve, 20 kB"]["memory_mib"].values())
    assert set(by_name["deposit, 3 MB document"]["growth_mib"]) == {"registry", "repository"}


def test_a_refused_answer_fails_the_run(stages: list[stage.Stage], tmp_path: Path) -> None:
    """An answer that is no success is an error, never a fast request."""
    one = stages[1]
    bench = Bench(Plan(entries=(240,), rounds=1, queries=1, warm=1, clients=1), [one], tmp_path, lambda _: None)
    with stage.running(one, ("registry",)), processes.child("carnet.bench.load", stage.PIN) as load:
        load.ask({"prepare": bench.order(one, "query", stage.DEPOSITED, 1, documents=stage.DOCUMENTS)})
        with pytest.raises(processes.ChildFailed, match="1 documents in place of 100"):
            load.ask({"run": {
                "port": one.settings.registry.port, "start": 0, "stop": 1, "threads": 1, "seconds": 60.0,
            }})


def test_a_filled_registry_holds_what_was_asked_for(tmp_path: Path) -> None:
    """As many entries as asked for; the queried patient has exactly a hundred of them."""
    url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    stage.fill(url, 500, lambda _: None)
    with sqlite3.connect(tmp_path / "registry.sqlite") as database:
        assert database.execute("SELECT count(*) FROM document_entry").fetchone() == (500,)
        assert database.execute(
            "SELECT count(*) FROM document_entry JOIN locator USING (patient_key) WHERE identifier = ? AND role = 'cx'",
            (stage.QUERIED,),
        ).fetchone() == (stage.DOCUMENTS,)


class Socket:
    """Gives back prepared bytes in pieces of an awkward size."""

    def __init__(self, data: bytes):
        self.data = data

    def recv_into(self, view: memoryview) -> int:
        piece, self.data = self.data[: min(len(view), 70_001)], self.data[min(len(view), 70_001) :]
        view[: len(piece)] = piece
        return len(piece)


@pytest.mark.parametrize("spoiled", [None, 10, 1_500_000, 2_499_999])
def test_a_changed_byte_of_a_large_document_is_seen(spoiled: int | None) -> None:
    """The retrieved document is compared byte by byte, in its first block, in the middle and at its end."""
    client = object.__new__(large.Bulky)
    client._size, client._pattern = 2_500_000, large.pattern()
    data = bytearray(b"".join(client._blocks()))
    if spoiled is None:
        client._compare(Socket(bytes(data[1000:])), bytes(data[:1000]))
        return
    data[spoiled] ^= 1
    with pytest.raises(large.Refusal):
        client._compare(Socket(bytes(data[1000:])), bytes(data[:1000]))


def test_ratios_are_taken_round_by_round() -> None:
    """A slow minute of the machine slows both sides, so the median of the ratios is what counts."""
    ours, least = Figures(), Figures()
    for speed in (1.0, 0.1, 1.0):
        ours.add(2.0 / speed, [0.1] * 100, {"load": 1.0})
        least.add(1.0 / speed, [0.1] * 100, {"load": 1.0})
    one = Result("x", "requests/s", ours, least, Mark(0.5))
    assert one.ratios == pytest.approx([0.5, 0.5, 0.5]) and one.is_met
    assert one.facts()["measured"]["cpu_ms_per_request"] == {"load": 10.0}
    ours.growth = {"repository": 65 << 20}
    assert not one.is_met


def test_percentiles() -> None:
    """The smallest value that so many percent do not exceed."""
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (50, 95, 99)] == [50.0, 95.0, 99.0]
    assert percentile([3.0], 99) == 3.0


@pytest.mark.parametrize("entries", ["10", "many", "1000,"])
def test_sizes_that_cannot_be_measured_are_misuse(entries: str) -> None:
    """Exit status 2 before anything is made."""
    assert CliRunner().invoke(command, ["--entries", entries]).exit_code == 2


def test_credentials_are_measured_cold_and_warm(tmp_path: Path) -> None:
    """Floor, new certificate, new assertion, remembered assertion, for either kind of key. No time is asserted."""
    rows = credentials.measure(tmp_path, 1)
    assert [one["key"] for one in rows] == ["rsa-2048"] * 4 + ["p-256"] * 4
    assert [bool(one["mark"]) for one in rows] == [False, False, False, True] * 2
    assert all(one["us"] > 0 and one["floor"] > 0 for one in rows)
    told = CliRunner().invoke(command, ["--credentials", "--rounds", "1", "--json"])
    assert told.exit_code == 0 and len(json.loads(told.stdout)["results"]) == len(rows)
    assert "µs" in credentials.as_table(rows)[0][2]
    assert CliRunner().invoke(command, ["--credentials", "--decisions"]).exit_code == 2


def test_decisions_are_measured_without_services(tmp_path: Path) -> None:
    """A row each, in microseconds; the mark is on one decision and on one filter. No time is asserted."""
    rows = decisions.measure(tmp_path, 1)
    assert [bool(one["mark"]) for one in rows] == [True, True, False, False, False, False]
    assert all(one["us"] > 0 for one in rows)
    told = CliRunner().invoke(command, ["--decisions", "--rounds", "1", "--json"])
    assert told.exit_code == 0 and len(json.loads(told.stdout)["results"]) == len(rows)
    assert "µs" in decisions.as_table(rows)[0][1]
