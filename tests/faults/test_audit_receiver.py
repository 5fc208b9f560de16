"""A real receiver of audit messages: rsyslog over mutual TLS, away, killed, and back; our services killed meanwhile."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from lxml import etree

from carnet.commands.serve import admin_addresses
from carnet.supervisor import free_ports
from tests.live import Live, a_document, served

MODULE = "lmnsd_gtls.so"
CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="256k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{folder}/anchors.pem" defaultNetstreamDriverCertFile="{folder}/receiver.pem"
  defaultNetstreamDriverKeyFile="{folder}/receiver.key")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="told" type="string" string="%pri% %app-name% %msgid% %msg%\\n")
action(type="omfile" file="{folder}/received" template="told")
"""


@dataclass
class Rsyslog:
    """The receiver, started and killed by the test."""

    program: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "-n", "-f", self.folder / "rsyslog.conf", "-i", self.folder / "pid"],
            stdout=subprocess.DEVNULL, stderr=(self.folder / "errors").open("ab"),
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def lines(self) -> list[str]:
        """``pri app msgid xml`` of each message received."""
        file = self.folder / "received"
        return file.read_text("utf-8", "replace").splitlines() if file.exists() else []

    def sets(self, kind: str, event: str) -> set[str]:
        """uniqueIds of the submission sets told of in messages of one transaction and event."""
        found = set()
        for line in self.lines():
            if f'csd-code="{kind}"' in line and f'originalText="{event}"' in line:
                found |= set(re.findall(r'ParticipantObjectID="([^"]+)" ParticipantObjectTypeCode="2"', line))
        return found


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    """Configured for an authority of its own; not started. Skips where it is not installed."""
    program = shutil.which("rsyslogd", path="/usr/sbin:/sbin:/usr/local/sbin:/usr/bin")
    if not program:
        pytest.skip("rsyslogd is not installed (apt-get install rsyslog rsyslog-gnutls)")
    if not any(found for place in ("/usr/lib", "/usr/local/lib") for found in Path(place).rglob(MODULE)):
        pytest.skip("rsyslogd has no TLS here (apt-get install rsyslog-gnutls)")
    folder = tmp_path / "receiver"
    folder.mkdir()
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    (folder / "receiver.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(folder / "receiver.key")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    receiver = Rsyslog(program, folder, free_ports(1)[0])
    (folder / "rsyslog.conf").write_text(CONFIGURATION.format(folder=folder, port=receiver.port))
    yield receiver
    receiver.kill()


def metric(live: Live, name: str, service: str = "repository") -> float:
    address = admin_addresses(live.world.settings)[service]
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def eventually(is_so: object, why: str, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline, why
        time.sleep(0.2)


def arrived(receiver: Rsyslog, sent: set[str]) -> bool:
    """Each deposit in all three of its messages."""
    kinds = (("ITI-41", "Import"), ("ITI-42", "Export"), ("ITI-42", "Import"))
    return all(sent <= receiver.sets(kind, event) for kind, event in kinds)


@pytest.mark.slow
def test_no_audit_message_is_lost(rsyslog: Rsyslog, tmp_path: Path, oracles: Path) -> None:
    """The receiver is away at first, killed in the midst and back; both services are killed while it is away.

    Rule: A-26, A-27, A-28, A-29
    """
    audit = (
        f'[audit]\nsyslog_host = "localhost"\nsyslog_port = {rsyslog.port}\n'
        f'anchors = "{rsyslog.folder}/authority.pem"\n'
    )
    sent: set[str] = set()
    swept = "registry_timeout = 2\ngrace = 15\nsweep_every = 1\n"  # what was killed is told when the sweep has asked
    with served(tmp_path / "data", f"{swept}{audit}") as live:
        anchors = (tmp_path / "data" / "pki" / "trust" / "ca.pem").read_text("ascii")
        (rsyslog.folder / "anchors.pem").write_text(anchors, "ascii")
        patient = live.world.patient()

        def deposit(count: int) -> None:
            for _ in range(count):
                submission, outcome = live.deposit(a_document(), patient)
                assert outcome.is_success
                sent.add(submission.submission_set.unique_id)

        deposit(5)
        eventually(lambda: metric(live, "carnet_audit_waiting") >= 5, "nothing is counted as waiting")
        assert metric(live, "carnet_audit_oldest_seconds") > 0 < metric(live, "carnet_audit_failures_total")
        rsyslog.start()
        eventually(lambda: arrived(rsyslog, sent), "what waited for the receiver has not come")

        deposit(5)
        rsyslog.kill()
        deposit(5)
        for service in live.services.values():
            service.kill_group()
        live.wait_ready()
        deposit(5)
        rsyslog.start()
        eventually(lambda: arrived(rsyslog, sent), f"of {len(sent)} deposits some are not told", 90)
        eventually(lambda: metric(live, "carnet_audit_waiting") == 0, "some still wait")
        assert metric(live, "carnet_audit_sent_total") > 0
        live.stop()
        stopped = 'csd-code="110121"'
        eventually(lambda: sum(stopped in line for line in rsyslog.lines()) == 2, "the ends are not told")
    schema = etree.XMLSchema(etree.parse(str(oracles / "audit-xsd" / "dicom2017c.xsd")))
    for line in rsyslog.lines():
        priority, app_name, message_id, xml = line.split(" ", 3)
        assert (priority, app_name, message_id) in {("85", "carnet", "IHE+RFC-3881"), ("84", "carnet", "IHE+RFC-3881")}
        schema.assertValid(etree.fromstring(xml.strip().encode()))
    starts = [line for line in rsyslog.lines() if 'csd-code="110120"' in line]
    assert len(starts) >= 4, "two services started twice"
