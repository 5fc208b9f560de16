"""The operator's listener of one service: /livez, /readyz, /metrics. Plain HTTP, loopback only.

Measures: requests by transaction and outcome with their time, the outbox of audit messages, and the process's own
memory and CPU. The first worker answers for all: the others report to it what they count.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from carnet import node
from carnet.keys import Stamp
from carnet.settings import Settings
from carnet.workers import Workers
from xds.domain_source import DomainSource

log = logging.getLogger("carnet.admin")

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Meter:
    """Counts what one service did."""

    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        ProcessCollector(registry=self.collected)
        self._requests = Counter(
            "carnet_requests", "Requests answered", ["transaction", "outcome"], registry=self.collected
        )
        self._seconds = Histogram(
            "carnet_request_seconds",
            "Time from first byte to answer",
            ["transaction"],
            buckets=BUCKETS,
            registry=self.collected,
        )
        self._series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._waiting = Gauge(
            "carnet_audit_waiting", "Lines whose audit message is not handed over", registry=self.collected
        )
        self._oldest = Gauge(
            "carnet_audit_oldest_seconds", "Age of the oldest of them", registry=self.collected
        )
        self._sent = Counter("carnet_audit_sent", "Audit messages handed over", registry=self.collected)
        self._failures = Counter(
            "carnet_audit_failures", "Attempts to hand audit messages over that failed", registry=self.collected
        )
        self._alerts = Counter(
            "carnet_emergency_alerts", "Unusual accesses by emergency", ["pattern"], registry=self.collected
        )
        self._log_failures = Counter(
            "carnet_log_failures", "Checkpoints and looks at the log that failed", registry=self.collected
        )
        self._revocations = Counter(
            "carnet_revocation", "Questions about revocation", ["outcome"], registry=self.collected
        )
        self._software = Counter(
            "carnet_software", "Requests of software not homologated for them", ["outcome"], registry=self.collected
        )
        self._replies = Counter(
            "carnet_replies",
            "Answers sent to another address, delivered or lost",
            ["transaction", "outcome"],
            registry=self.collected,
        )

    def audit(self, waiting: int, oldest: float, sent: int, failed: bool) -> None:
        """The outbox of audit messages; ``oldest`` in seconds."""
        self._waiting.set(waiting)
        self._oldest.set(oldest)
        self._sent.inc(sent)
        self._failures.inc(failed)

    def emergency_alert(self, pattern: str) -> None:
        """One access by emergency that does not look like practice."""
        self._alerts.labels(pattern).inc()

    def log_failure(self) -> None:
        """The log was not signed or not looked at when it was time to."""
        self._log_failures.inc()

    def watch_notices(self, waiting: Callable[[], int]) -> None:
        """Tell how many accesses by emergency the patients were not told of yet; -1 when it cannot be known."""
        gauge = Gauge("carnet_emergency_notices_waiting", "Patients not told yet", registry=self.collected)

        def count() -> float:
            try:
                return float(waiting())
            except Exception:
                return -1.0

        gauge.set_function(count)

    def watch_codes(self, source: DomainSource) -> None:
        """Tell whether the code-set file on disk is the one in force: 1, or 0 for a file that cannot be used."""
        gauge = Gauge("carnet_code_sets_current", "The code-set file is in force", registry=self.collected)
        gauge.set_function(lambda: float(not _problem(source)))

    def watch_keys(self, settings: Settings, name: str) -> None:
        """Tell when each certificate and revocation list of a service ends, and whether its key files can be used."""
        self.collected.register(_Endings(settings, name))
        gauge = Gauge("carnet_keys_usable", "The key files on disk can be used", registry=self.collected)
        found: dict[Stamp, str] = {}

        def usable() -> float:
            stamp = node.stamp_of_pairs(settings, name)
            if stamp not in found:  # to read an RSA key costs 40 ms
                found.clear()
                found[stamp] = node.problem(settings, name)
            return float(not found[stamp])

        gauge.set_function(usable)

    def revocation(self, outcome: str) -> None:
        """One question about revocation: ``fetched``, ``failed``, or ``grace`` for an outdated answer that counted."""
        self._revocations.labels(outcome).inc()

    def software(self, outcome: str) -> None:
        """One request of software that is not homologated for it: ``warn`` or ``refuse``."""
        self._software.labels(outcome).inc()

    def replied(self, transaction: str, outcome: str) -> None:
        """One answer that was to be sent to another address."""
        self._replies.labels(transaction or "none", outcome).inc()

    def observe(self, transaction: str, outcome: str, seconds: float) -> None:
        """One request; ``transaction`` is "" when it was not understood."""
        key = (transaction or "none", outcome)
        found = self._series.get(key)
        if found is None:  # of known transactions and outcomes there are few
            found = self._series[key] = (self._requests.labels(*key), self._seconds.labels(key[0]))
        found[0].inc()
        found[1].observe(seconds)


class Reporter(Meter):
    """Of a worker that is not the first: what happens to requests is counted there."""

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def revocation(self, outcome: str) -> None:
        self._report("revocation", outcome)

    def software(self, outcome: str) -> None:
        self._report("software", outcome)

    def replied(self, transaction: str, outcome: str) -> None:
        self._report("replied", transaction, outcome)

    def observe(self, transaction: str, outcome: str, seconds: float) -> None:
        self._report("observe", transaction, outcome, seconds)

    def _report(self, *what: str | float) -> None:
        self._workers.report(json.dumps(what).encode("ascii"))


class Tally:
    """Counts in the first worker what the others report: when somebody asks for figures, and every second."""

    def __init__(self, meter: Meter, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._count: dict[str, Callable[..., None]] = {
            "revocation": meter.revocation, "software": meter.software, "replied": meter.replied,
            "observe": meter.observe,
        }
        meter.collected.register(_Processes(workers))

    def take(self) -> None:
        with self._lock:
            for line in self._workers.read_reports():
                name, *values = json.loads(line)
                self._count[name](*values)

    def run(self) -> None:
        """As long as the process lives; the pipe must not run full."""
        while True:
            try:
                self.take()
            except Exception as error:
                log.error("what another worker has counted is lost: %s", type(error).__name__)
            time.sleep(1.0)


class _Processes(Collector):
    """All workers together; the ``process_`` figures are of the first alone."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found = [size for pid in self._workers.process_ids() if (size := _resident(pid))]
        yield GaugeMetricFamily("carnet_workers", "Processes that serve", value=len(found))
        yield GaugeMetricFamily("carnet_resident_bytes", "Memory of all of them", value=sum(found))


def _resident(pid: int) -> int:
    """Bytes; 0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class _Endings(Collector):
    """Reads the files when it is asked: what was put in their place counts at once."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name = settings, name

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "carnet_expires_seconds", "Until the end of a certificate or revocation list; negative behind it",
            labels=["kind", "file", "name"],
        )
        now = datetime.now(UTC)
        soonest: dict[tuple[str, str, str], float] = {}
        for one in node.endings(self._settings, self._name):
            soonest.setdefault((one.kind, one.file, one.name), one.seconds(now))
        for labels, seconds in soonest.items():
            family.add_metric(labels, seconds)
        yield family


def _problem(source: DomainSource) -> str:
    _ = source.current
    return source.problem


def serve(
    port: int, meter: Meter, ready: Callable[[], str], tally: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    """Listen on 127.0.0.1 in a thread of its own. ``ready`` returns "" or what is wrong; ``tally`` brings the meter up
    to date. Returns how to stop it.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/livez":
                self._answer(200, b'{"alive": true}', "application/json")
            elif self.path == "/readyz":
                wrong = ready()
                self._answer(
                    503 if wrong else 200,
                    json.dumps({"ready": not wrong, "reason": wrong, "pid": os.getppid()}).encode(),
                    "application/json",
                )
            elif self.path == "/metrics":
                tally()
                self._answer(200, generate_latest(meter.collected), CONTENT_TYPE_LATEST)
            else:
                self._answer(404, b"/livez /readyz /metrics\n", "text/plain")

        def _answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not worth a line."""

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A probe that has hung up is no failure, and nothing is worth a stack trace."""
            log.debug("a probe was not answered: %s", type(sys.exception()).__name__)

    server = Listener(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
