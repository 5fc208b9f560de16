"""What a person at a keyboard meets: the commands of the manual, their help, and refusals one can act on."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests.blackbox import meta
from tests.blackbox.event import ROOT, Event
from tests.blackbox.meta import AUTHORITY, Entry, Set

VERBS = [
    "init",
    "serve",
    "check",
    "patient",
    "log",
    "remove",
    "pki",
    "card",
    "send",
    "query",
    "retrieve",
    "demo",
    "bench",
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(event: Event, verb: str) -> None:
    """design: each verb has --help with an example, or names its sub-commands."""
    text = event.carnet(verb, "--help")
    assert "Usage:" in text and ("Example" in text or "Commands:" in text)


def test_a_patient_by_hand(event: Event) -> None:
    """operate.md: patient add, list and merge."""
    old, new = (f"HAND-{i}^^^&{AUTHORITY}&ISO" for i in (1, 2))
    event.carnet("patient", "add", old)
    event.carnet("patient", "add", new, "--json")
    assert event.register(Set(old, [Entry(old)])).codes == []
    event.carnet("patient", "merge", old, new, "--yes")
    assert event.register(Set(old, [Entry(old)])).codes == ["XDSUnknownPatientId"]
    assert "HAND-1" in event.carnet("patient", "list") and len(event.find(new).ids) == 1


def test_send_query_retrieve_as_the_manual_says(event: Event) -> None:
    """operate.md: the French document with codes of the event, where its code-set file lists them."""
    patient = f"HAND-3^^^&{AUTHORITY}&ISO"
    event.carnet("patient", "add", patient)
    override = event.folder / "codes.toml"
    override.write_text(
        'practice_setting_code = "394802001^^2.16.840.1.113883.6.96"\n'
        'healthcare_facility_type_code = "22232009^^2.16.840.1.113883.6.96"\n'
        'format_code = "urn:ihe:iti:xds-sd:text:2008^^1.3.6.1.4.1.19376.1.2.3"\n',
        "utf-8",
    )
    document = ROOT / "fixtures" / "cda" / "cr-bio-v1.xml"
    event.carnet("send", str(document), "--patient", patient, "--override", str(override))
    found = json.loads(event.carnet("query", patient, "--json"))
    assert "11502-2" in json.dumps(found)


REFUSALS = [
    (("patient", "add", "no CX"), "^^^&OID"),
    (("patient", "add", "1^^^&9.9.9&ISO"), AUTHORITY),
    (("patient", "merge", f"GONE^^^&{AUTHORITY}&ISO", f"GONE^^^&{AUTHORITY}&ISO", "--yes"), "itself"),
    (("card", "assert", "--card", "absent.p12", "--patient", f"1^^^&{AUTHORITY}&ISO"), "absent.p12"),
    (("send", "absent.xml"), "absent.xml"),
    (("serve", "all", "--domain", "nowhere"), "nowhere"),
    (("serve", "all", "--domain", "connectathon", "--codes", "absent.xml"), "absent.xml"),
    (("pki", "trust", "codes.xml"), "codes.xml"),
    (("query", "no CX"), "CX"),
    (("nonsense",), "nonsense"),
]


@pytest.mark.parametrize(("words", "names"), REFUSALS, ids=[" ".join(r[0])[:30] for r in REFUSALS])
def test_a_refusal_is_short_and_names_what_is_wrong(event: Event, words: tuple[str, ...], names: str) -> None:
    """A command that cannot be done says so in a line a person can act on: no stack trace, exit status 1 or 2."""
    text = event.carnet(*words, expect=None)
    assert "Traceback" not in text and names in text
    said = [line for line in text.splitlines() if line.strip() and not line.startswith(("Usage:", "Try "))]
    assert 1 <= len(said) <= 3, said


def test_a_setting_that_does_not_exist(event: Event) -> None:
    """operate.md: an unknown key is an error that names it."""
    settings = event.folder / "data" / "carnet.toml"
    kept = settings.read_text("utf-8")
    try:
        settings.write_text(re.sub(r"(?m)^\[registry\].*$", "[registry]\nprot = 1", kept), "utf-8")
        text = event.carnet("patient", "list", expect=2)
    finally:
        settings.write_text(kept, "utf-8")
    assert "prot" in text and "Traceback" not in text


def test_what_the_log_of_the_service_says(event: Event) -> None:
    """Nothing of a stack trace in the log of a day's tests, and no patient's name."""
    text = (event.folder / "out.txt").read_text("utf-8", "replace")
    assert "Traceback" not in text and "Welby" not in text


def test_the_kit_imports_nothing_of_the_product() -> None:
    """The judge shares no code with the judged."""
    ours = {"carnet", "conformance", "guard", "record", "registry", "repository", "storage", "xds"}
    for path in Path(__file__).parent.glob("*.py"):
        names = set(re.findall(r"(?m)^\s*(?:from|import) (\w+)", path.read_text("utf-8")))
        assert not names & ours, path


def test_the_metrics_count(event: Event) -> None:
    """operate.md: carnet_requests_total on the admin port."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{event.ports[2]}/metrics", timeout=5).read().decode()
    assert "carnet_requests_total{" in text
    assert meta.AUTHORITY not in text
