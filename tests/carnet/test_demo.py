"""The demonstration: the whole story, told in JSON, and nothing left running."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every line of ``carnet demo --json`` run as a program of its own."""
    place = tmp_path_factory.mktemp("demo")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CARNET")} | {"TMPDIR": str(place)}
    done = subprocess.run(
        [sys.executable, "-m", "carnet", "demo", "--json"],
        capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert list(place.iterdir()) == [], "the demonstration left files behind"
    return [json.loads(line) for line in done.stdout.splitlines()]


def steps(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [fact for fact in told if "step" in fact]


def test_each_step_has_a_number_a_name_a_time_and_a_result(told: list[dict[str, Any]]) -> None:
    """In order, without a gap."""
    found = steps(told)
    assert [s["step"] for s in found] == list(range(1, len(found) + 1))
    assert all(s["name"] and s["result"] and s["ms"] >= 0 for s in found)


def test_a_document_is_deposited_found_retrieved_and_replaced(told: list[dict[str, Any]]) -> None:
    """The story in its order."""
    names = [s["name"] for s in steps(told)]
    wanted = ["initialise", "issue cards", "start registry", "open the patient's record", "deposit", "find", "retrieve",
              "replace", "find both", "refused", "stop"]  # fmt: skip
    places = [next(i for i, name in enumerate(names) if name.startswith(word)) for word in wanted]
    assert places == sorted(places)
    (proof,) = (s for s in steps(told) if s["name"].startswith("retrieve and prove"))
    assert "2 documents" in proof["result"] and "as sent" in proof["result"]
    (both,) = (s for s in steps(told) if s["name"] == "find both versions")
    assert re.findall(r"Deprecated|Approved", both["result"]) == ["Deprecated", "Approved"]


def test_the_four_refusals_are_there_with_their_line_of_the_log(told: list[dict[str, Any]]) -> None:
    """What the client gets says less than what the log keeps."""
    refusals = {s["name"].removeprefix("refused: "): s["result"] for s in steps(told) if "refused: " in s["name"]}
    answers = {fact["answer"]: fact["log"] for fact in told if "log" in fact}
    assert set(refusals.values()) == set(answers)
    expected = {
        "no client certificate": ("FailedAuthentication", "no TLS client certificate"),
        "an expired assertion": ("MessageExpired", "step j"),
        "a nurse may not read a psychiatric synthesis": ("XDSDocumentUniqueIdError", "document-type"),
        "a masked document, asked for by a colleague": ("XDSDocumentUniqueIdError", "masked"),
    }
    for name, (answer, log) in expected.items():
        assert answer in refusals[name] and log in answers[refusals[name]], (name, refusals[name])
    masked = refusals["a masked document, asked for by a colleague"]
    absent = refusals["the same question for a document that does not exist, for comparison"]
    assert without_names(masked) == without_names(absent)


def without_names(answer: str) -> str:
    return re.sub(r"found '[^']*'|trace \w+", "", answer)


def test_nothing_is_left_running(told: list[dict[str, Any]]) -> None:
    """The processes whose numbers the demonstration told are gone."""
    (started,) = (s for s in steps(told) if s["name"].startswith("start registry"))
    pids = [int(number) for number in re.findall(r"pid (\d+)", started["result"])]
    assert len(pids) == 2
    for pid in pids:
        command = Path(f"/proc/{pid}/cmdline")
        assert not command.exists() or b"carnet" not in command.read_bytes()
