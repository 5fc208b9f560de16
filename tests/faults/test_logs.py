"""What the services write for their operator says nothing about a patient, whatever was sent to them.

The installations of the other tests of this folder, and of the hostile requests, are read in the same way when
they are stopped (``tests.live.served``).
"""

from __future__ import annotations

from pathlib import Path

from tests.attack.wire_kit import REGISTRY, Wire, post
from tests.live import INDISCREET, a_document, provide, served, submission_of
from tests.world import codes


def test_the_most_talkative_logs_are_discreet(tmp_path: Path) -> None:
    """Deposits, searches, reads and refusals that carry a patient's identifier in every place there is."""
    with served(tmp_path / "data", "", "--log-level", "debug") as live:
        wire = Wire(live)
        patient_id = live.world.patient()
        number = patient_id.partition("^")[0]
        assert INDISCREET.search(number)
        submission, outcome = live.deposit(a_document(), patient_id)
        assert outcome.is_success
        live.retrieve(submission)
        live.world.find(patient_id)
        live.world.find(patient_id, Unheard=f"('{number}')")
        unknown = live.world.patient(is_open=False)
        data = a_document()
        assert codes(provide(live.client(), submission_of(data, unknown), data)) == {"XDSUnknownPatientId"}
        assert codes(provide(live.client(), submission_of(data, patient_id, size=1), data))
        content_type, body = wire.query_message()
        for request in (
            post(body, content_type, f"{REGISTRY}?patient={number}"),
            post(body, content_type, f"/{number}"),
            post(body, f"text/{number}", REGISTRY),
            post(body, content_type, REGISTRY, extra=f"X-Trace-Id: {number}\r\n"),
            post(body, content_type, REGISTRY, extra=f"{number}\r\n"),
            post(body, content_type, REGISTRY, extra=f"{number} : a\r\n"),
            post(body.replace(b"wsa:Action", number.encode()), content_type, REGISTRY),
            post(body.replace(b"urn:ihe:iti:2007", number.encode()), content_type, REGISTRY),
            post(body.replace(b"<wsa:", f"<{number}".encode()), content_type, REGISTRY),
            f"{number}\r\n\r\n".encode(),
            f"GET /{number} HTTP/{number}\r\n\r\n".encode(),
            f"GET {REGISTRY}?xsd={number} HTTP/1.1\r\nHost: {number}\r\n\r\n".encode(),
        ):
            wire.say(request, "registry")
        live.registry.stop()
        assert codes(provide(live.client(), submission_of(data, patient_id), data)) == {"XDSRegistryNotAvailable"}
        assert live.logs().strip()
