"""ITI-8: what each ADT message does to the registry, and how it is acknowledged.

Clause: ITI TF-2 3.8.4
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hl7apy.parser import parse_message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guard.credentials.caller import Caller, Mode
from tests.direct import Desk
from tests.feed import FOREIGN, Feed, adt, cx
from tests.world import World, codes
from xds.domain_source import DomainSource

NAMESPACE = "ESSAI-AA"


@pytest.fixture(scope="module")
def feed(plain: World) -> Feed:
    """A source of the connectathon domain whose authority is also known by a namespace."""
    authority = Feed(plain).new_id().split("&")[1]
    return Feed(plain, namespaces={NAMESPACE: authority})


@pytest.mark.parametrize("event", ["A01", "A04", "A05"])
def test_an_added_patient_can_be_submitted(feed: Feed, event: str) -> None:
    """Unknown before, known after; once more is no harm. Rule: F-01, R-090"""
    patient = feed.new_id()
    desk = Desk(feed.world, patient)
    assert codes(feed.world.register(desk.submission())) == {"XDSUnknownPatientId"}
    for _ in range(2):
        ack = feed.send(adt(event, cx(patient)))
        assert (ack.code, ack.text, ack.error) == ("AA", "", "")
    desk.new()
    assert [line.action for line in feed.lines(patient)][:2] == ["identity added", "identity added"]


def test_a_list_may_hold_identifiers_of_others(feed: Feed) -> None:
    """Those of other authorities are passed over, and a message of theirs alone is none of our business. Rule: F-02"""
    ours, theirs = feed.new_id(), feed.new_id(FOREIGN)
    assert feed.send(adt("A01", f"{cx(theirs)}~{cx(ours)}")).code == "AA"
    assert (feed.status(ours), feed.status(theirs)) == ("active", "")
    assert feed.send(adt("A01", cx(theirs))).code == "AA"
    assert feed.status(theirs) == ""


@pytest.mark.parametrize("authority", ["{ns}", "{ns}&{oid}&ISO", "&{oid}&ISO", "&{oid}", "OTHER&{oid}&ISO"])
def test_the_authority_is_completed(feed: Feed, authority: str) -> None:
    """However it is written, the identifier is stored with its OID and without namespace. Rule: F-03"""
    patient = feed.new_id()
    oid = patient.split("&")[1]
    number = patient.split("^")[0]
    assert feed.send(adt("A01", f"{number}^^^{authority.format(ns=NAMESPACE, oid=oid)}")).code == "AA"
    assert feed.status(patient) == "active"


@pytest.mark.parametrize("authority", ["", "ANY", "&&ISO"])
def test_the_only_authority_is_the_one_that_is_meant(plain: World, tmp_path: Path, authority: str) -> None:
    """An event whose code sets name one authority, and a sender that names none, or names it in its own way.

    With several authorities, or with namespaces of our own, it is somebody else's. Rule: F-02, F-03
    """
    feed = Feed(plain)
    patient = feed.new_id()
    number, oid = patient.split("^")[0], patient.split("&")[1]
    assert feed.send(adt("A01", f"{number}^^^{authority}")).code == "AA"
    assert feed.status(patient) == "", "several authorities"
    codes = tmp_path / "codes.xml"
    codes.write_text(f'<Codes><AssigningAuthority id="{oid}"/></Codes>', "utf-8")
    feed.actor = replace(feed.actor, domains=DomainSource("connectathon", codes))
    assert feed.send(adt("A01", f"{number}^^^{authority}")).code == "AA"
    assert feed.status(patient) == "active"
    other = feed.new_id()
    feed.actor = replace(feed.actor, feed=replace(feed.actor.feed, namespaces={"OURS": oid}))
    assert feed.send(adt("A01", f"{other.split('^')[0]}^^^{authority}")).code == "AA"
    assert feed.status(other) == ""


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("X1^^^" + NAMESPACE + "&1.2.3&ISO", "102"),
        ("", "101"),
        ("^^^&{oid}&ISO", "102"),
        ("a\\T\\b^^^&{oid}&ISO", "102"),
        ("~".join(["1^^^&9.9&ISO"] * 51), "101"),
    ],
)
def test_an_identifier_that_is_none_is_refused(feed: Feed, field: str, error: str) -> None:
    """A namespace of ours with another OID, nothing at all, separators inside, too many. Rule: F-03, F-17"""
    ack = feed.send(adt("A01", field.format(oid=feed.new_id().split("&")[1])))
    assert (ack.code, ack.error.split("^")[3].split("&")[0]) == ("AE", error)
    assert ack.error.startswith("PID^1^3^") and "trace " in ack.text
    assert feed.last_line().outcome == "refused"


def test_an_update_changes_nothing(feed: Feed) -> None:
    """Acknowledged for known and unknown alike; it makes nobody known. Rule: F-04"""
    known, unknown = feed.added(), feed.new_id()
    assert [feed.send(adt("A08", cx(one))).code for one in (known, unknown)] == ["AA", "AA"]
    assert (feed.status(known), feed.status(unknown)) == ("active", "")
    assert [line.action for line in feed.lines(known)] == ["identity added", "identity revised"]


def test_a_merge_leaves_its_line_with_either_identifier(feed: Feed) -> None:
    """One for the subsumed, one for the surviving, both with the message's id. Rule: F-05, F-20"""
    old, new = feed.added(), feed.added()
    ack = feed.merge(old, new)
    assert ack.code == "AA"
    assert (feed.status(old), feed.status(new)) == ("subsumed", "active")
    for patient, action in ((old, "identity subsumed"), (new, "identity survives a merge")):
        line = feed.lines(patient)[-1]
        assert (line.event, line.action, line.outcome, line.caller_id) == ("ITI-8", action, "success", "SOURCE")
        assert f"message {ack.message_id}" in line.detail and line.peer == "192.0.2.1"


def test_every_merge_rule_refuses_and_changes_nothing(feed: Feed) -> None:
    """The six refusals of the framework, each answered AE. Rule: F-06, F-07, F-08, F-09, F-10, F-11"""
    one, two, gone = feed.added(), feed.added(), feed.added()
    assert feed.merge(gone, two).code == "AA"
    unknown, foreign = feed.new_id(), feed.new_id(FOREIGN)
    for old, new, words in (
        (foreign, one, "authority"),
        (one, foreign, "authority"),
        (one, one, "itself"),
        (gone, one, "the subsumed identifier"),
        (one, gone, "the surviving identifier"),
        (unknown, one, "subsumed identifier is unknown"),
        (one, unknown, "surviving identifier is unknown"),
    ):
        ack = feed.merge(old, new)
        assert ack.code == "AE" and words in ack.text, (old, new, ack)
        line = feed.last_line()
        assert (line.action, line.outcome, line.event) == ("identity merge", "refused", "ITI-8")
    assert [feed.status(x) for x in (one, two, gone, unknown, foreign)] == ["active", "active", "subsumed", "", ""]


def test_a_provisional_identifier_is_merged_into_the_final_one(plain: World) -> None:
    """Two authorities of one domain; where both sides offer several, those of one authority go together."""
    feed = Feed(plain)
    first, second = sorted(feed.actor.domain.assigning_authorities)[:2]
    old, new = feed.added(feed.new_id(first)), feed.added(feed.new_id(second))
    assert feed.merge(old, new).code == "AA" and feed.status(old) == "subsumed"
    a, b, c = feed.added(feed.new_id(first)), feed.added(feed.new_id(second)), feed.added(feed.new_id(second))
    assert feed.send(adt("A40", f"{cx(a)}~{cx(b)}", cx(c))).code == "AA"
    assert [feed.status(x) for x in (a, b, c)] == ["active", "active", "subsumed"]


def test_a_merged_identifier_does_not_come_back(feed: Feed) -> None:
    """There is no way to undo a merge, by adding least of all. Rule: F-08"""
    old, new = feed.added(), feed.added()
    feed.merge(old, new)
    ack = feed.send(adt("A01", cx(old)))
    assert ack.code == "AE" and "merge is not undone" in ack.text and feed.status(old) == "subsumed"


def test_a_message_is_done_as_a_whole(feed: Feed) -> None:
    """One identifier of a list refused: the others are not added either. Rule: F-15"""
    old, fresh = feed.added(), feed.new_id()
    feed.merge(old, feed.added())
    assert feed.send(adt("A01", f"{cx(fresh)}~{cx(old)}")).code == "AE"
    assert feed.status(fresh) == ""


@pytest.mark.parametrize(
    ("change", "place", "error"),
    [
        ({"kind": "ORU^R01"}, "MSH^1^9", "200"),
        ({"kind": "ADT^A02"}, "MSH^1^9", "201"),
        ({"kind": ""}, "MSH^1^9", "200"),
        ({"mode": "X"}, "MSH^1^11", "202"),
        ({"version": "3"}, "MSH^1^12", "203"),
        ({"id": ""}, "MSH^1^10", "101"),
        ({"charset": "ISO IR87"}, "MSH^1^18", "103"),
    ],
)
def test_a_message_that_cannot_be_taken_is_rejected(feed: Feed, change: dict[str, str], place: str, error: str) -> None:
    """AR, with the place and the reason of table 0357; nobody becomes known. Rule: F-17, F-16"""
    patient = feed.new_id()
    ack = feed.send(adt("A01", cx(patient), **change))
    assert (ack.code, feed.status(patient)) == ("AR", "")
    assert ack.error.startswith(f"{place}^{error}&")
    assert feed.last_line().reason.startswith(place)


@pytest.mark.parametrize("spoiled", ["no MRG", "no PID", "two PID"])
def test_a_merge_needs_its_pair(feed: Feed, spoiled: str) -> None:
    """One PID, one MRG. Rule: F-17"""
    old, new = feed.added(), feed.added()
    message = adt("A40", cx(new), cx(old))
    if spoiled == "two PID":
        message += f"PID|2||{cx(feed.added())}\rMRG|{cx(new)}\r".encode()
    else:
        message = b"\r".join(s for s in message.split(b"\r") if not s.startswith(spoiled[3:].encode()))
    ack = feed.send(message)
    assert (ack.code, feed.status(old)) == ("AE", "active") and "^100&" in ack.error


@pytest.mark.parametrize("charset", ["", "8859/1", "8859/15", "UNICODE UTF-8", "ASCII"])
def test_the_character_set_is_the_one_declared(feed: Feed, charset: str) -> None:
    """An identifier with a letter beyond ASCII is the same patient in each, and the answer has the same set. Rule: F-16
    """
    number = f"É{feed.new_id().split('^')[0]}"
    rest = feed.new_id().partition("^")[2]
    ack = feed.send(adt("A01", f"{number}^{rest}", charset=charset))
    assert ack.code == "AA"
    assert feed.status(f"{number}^{rest}") == "active"
    assert ack.header[17:] == ([charset] if charset else [])


def test_bytes_that_are_not_of_the_declared_set_are_rejected(feed: Feed) -> None:
    """Nothing is guessed. Rule: F-16"""
    message = adt("A01", cx(feed.new_id()), charset="UNICODE UTF-8").replace(b"CAMILLE", b"CAM\xc9LLE")
    assert feed.send(message).code == "AR"


def test_a_sender_that_is_not_configured_is_rejected(plain: World) -> None:
    """By MSH-3 and MSH-4. Rule: F-19"""
    feed = Feed(plain, senders=frozenset({"OTHER|HOPITAL"}))
    ack = feed.send(adt("A01", cx(feed.new_id())))
    assert ack.code == "AR" and "SOURCE|HOPITAL" in ack.text
    assert feed.send(adt("A01", cx(feed.new_id()), application="OTHER")).code == "AA"


def test_merges_may_be_kept_for_an_operator(plain: World) -> None:
    """Where the feed may not merge it is told so. Rule: F-19"""
    feed = Feed(plain, may_merge=False)
    old, new = feed.added(), feed.added()
    assert "carnet patient merge" in feed.merge(old, new).text
    assert feed.status(old) == "active"


def test_without_a_certificate_the_header_names_the_source(feed: Feed) -> None:
    """So that the access log says who it was. Rule: F-20"""
    patient = feed.new_id()
    feed.send(adt("A01", cx(patient)), Caller(identifier="", mode=Mode.OFF))
    assert feed.lines(patient)[0].caller_id == "SOURCE|HOPITAL"


def test_a_registry_that_fails_says_so_and_the_sender_may_try_again(feed: Feed) -> None:
    """AR 207, without a word about the cause. Rule: F-17"""

    class Broken:
        def write(self) -> None:
            raise OSError("secret")

        read = write

    broken = Feed.__new__(Feed)
    broken.actor = replace(feed.actor, database=Broken())  # type: ignore[arg-type]
    ack = broken.send(adt("A01", cx(feed.new_id())))
    assert ack.code == "AR" and "^207&" in ack.error and "secret" not in ack.text


@pytest.mark.parametrize("message", [
    adt("A01", "P1^^^&1.3.6.1.4.1.21367.13.20.1000&ISO"), adt("A40", "1^^^&9.9&ISO", "2^^^&9.9&ISO"),
    adt("A02", "P1^^^&9&ISO"),
])
def test_messages_and_acknowledgements_are_hl7(feed: Feed, message: bytes) -> None:
    """Another library reads ours: structure, fields, and what they say. Clause: HL7 v2.3.1 2.16.1"""
    sent = parse_message(message.decode(), find_groups=False)
    raw = feed.send(message).raw.decode()
    ack = parse_message(raw, find_groups=False)
    assert ack.version == "2.3.1" and ack.msh.msh_9.value.startswith("ACK")
    assert ack.msa.msa_2.value == sent.msh.msh_10.value and ack.msa.msa_1.value in ("AA", "AE", "AR")
    assert (ack.msh.msh_3.value, ack.msh.msh_5.value) == ("CARNET", "SOURCE")
    assert len(ack.msh.msh_10.value) == 20
    ack.validate()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    st.binary(max_size=400),
    st.binary(max_size=200).map(lambda junk: b"MSH|^~\\&|" + junk),
    st.lists(st.sampled_from(
        ["MSH|^~\\&|A|B|C|D|1||ADT^A40|1|P|2.3.1", "PID", "MRG|", "PID|||", "~^&\\", "\r", "é", "|"]
    ), max_size=12).map(lambda parts: "\r".join(parts).encode()),
))
def test_anything_is_answered(feed: Feed, message: bytes) -> None:
    """Whatever comes: one acknowledgement, of one message, that holds no block character. Rule: F-17"""
    ack = feed.send(message)
    assert ack.code in ("AA", "AE", "AR") and ack.raw.count(b"MSH|") >= 1
    assert b"\x0b" not in ack.raw and b"\x1c" not in ack.raw and ack.raw.endswith(b"\r")
