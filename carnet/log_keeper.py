"""Looks after the access log of one service: signs checkpoints, watches accesses by emergency, verifies.

Clause: DMP EX_AIR-100; CSP L1111-17 I
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509

from carnet.node import pair_files
from carnet.settings import Settings
from guard.audit import access_log, chain, emergencies
from guard.audit.chain import Anchor, Flaw
from guard.audit.checkpoint import Checkpoint, NotGenuine, sign, verified
from guard.audit.emergencies import Thresholds
from guard.credentials.attributes import claimed_purpose
from guard.credentials.caller import Caller
from storage.audit_chain import StoredCheckpoint
from xds.wire.exchange import Exchange

log = logging.getLogger("carnet.log")

WATCHED_AT_ONCE = 100


class LogDatabase(Protocol):
    """Either actor's database, as far as its access log is concerned."""

    def read(self) -> Any: ...

    def write(self) -> Any: ...


def checkpoint_file(settings: Settings, name: str) -> Path:
    """Where the checkpoints of one service's log are kept outside of its database."""
    return settings.checkpoints / f"{name}.jsonl"


def make_checkpoint(settings: Settings, name: str, database: LogDatabase) -> Checkpoint | None:
    """Sign the ends of the log; None when nothing came to it since the last time.

    Raises KeyTrouble, OSError, SchemaMismatch.

    The file has it first: a checkpoint that is known outside only is as good as any.
    """
    with database.read() as unit:
        heads, known = unit.chain.heads(), unit.chain.checkpoints()
    if known and json.loads(known[-1].body)["heads"] == [list(head) for head in heads]:
        return None
    pair = pair_files(settings, name).read()
    number = time.time_ns()
    made = sign(name, access_log.now(), heads, pair.key, pair.certificate)
    file = checkpoint_file(settings, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="utf-8") as out:
        out.write(made.as_line() + "\n")
        out.flush()
        os.fsync(out.fileno())
    with database.write() as unit:
        unit.chain.add_checkpoint(StoredCheckpoint(number, made.body, made.signature, made.certificate))
    return made


# -- verification ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Verification:
    """What is true of one log. ``older`` are lines from before the chain, which nothing protects."""

    log: str
    lines: int = 0
    older: int = 0
    destroyed: int = 0
    checkpoints: int = 0
    last_checkpoint: str = ""
    flaws: list[Flaw] = field(default_factory=list)


def verify(settings: Settings, name: str, database: LogDatabase, file: Path | None = None) -> Verification:
    """Follow the whole chain. ``file`` is a copy of the checkpoints, default the service's own file.

    The file is read before the database: a service may go on writing meanwhile.
    """
    found = Verification(name)
    outside = _lines(file or checkpoint_file(settings, name))
    with database.read() as unit:
        inside = [Checkpoint(body=c.body, signature=c.signature, certificate=c.certificate).as_line()
                  for c in unit.chain.checkpoints()]  # fmt: skip
        anchors = _anchors(settings, name, dict.fromkeys([*outside, *inside]), found)
        found.flaws += chain.flaws(_counted(unit.chain.links(), found), unit.chain.heads(), anchors)
        noted, found.older = unit.chain.unchained()
        if noted != found.older:
            kind = chain.INSERTED if found.older > noted else chain.REMOVED
            found.flaws.append(Flaw(kind=kind, lane=-1, told=f"{found.older} lines are outside of the chain, and there "
                                    f"were {noted} when it began"))  # fmt: skip
        acts = unit.chain.acts(access_log.TRACES_DESTROYED)
        for trace_id, count in unit.chain.destroyed_by().items():
            said = re.match(r"(\d+) lines", acts.get(trace_id, ""))
            if said is None or int(said[1]) != count:
                found.flaws.append(Flaw(kind=chain.UNFOUNDED, trace_id=trace_id, told=f"{count} lines are destroyed, "
                                        f"and the act says {said[1] if said else 'nothing'}"))  # fmt: skip
    return found


def _lines(file: Path) -> list[str]:
    return [line for line in file.read_text("utf-8").splitlines() if line] if file.is_file() else []


def _anchors(settings: Settings, name: str, lines: dict[str, Any], found: Verification) -> list[Anchor]:
    authorities = x509.load_pem_x509_certificates((settings.pki / "trust" / "ca.pem").read_bytes())
    anchors: list[Anchor] = []
    for number, line in enumerate(lines, 1):
        try:
            told = verified(Checkpoint.from_line(line), name, authorities)
        except NotGenuine as error:
            told_by = f"checkpoint: {error}"
            found.flaws.append(Flaw(kind=chain.CHANGED, lane=-1, first=number, last=number, told=told_by))
            continue
        found.checkpoints += 1
        found.last_checkpoint = max([found.last_checkpoint, *(anchor.at for anchor in told)])
        anchors += told
    return anchors


def _counted(links: Any, found: Verification) -> Any:
    for one in links:
        found.destroyed += one.is_destroyed
        found.lines += not one.is_destroyed
        yield one


# -- watching ----------------------------------------------------------------------------------------------------------


def watch(database: LogDatabase, rules: Thresholds, tell: Callable[[str], None] = lambda _pattern: None) -> int:
    """Look at accesses by emergency nobody has looked at; returns how many. Each is looked at once.

    An alert is a line of the log, in the transaction that notes the look. ``tell`` gets the pattern of each alert.
    """
    with database.read() as unit:
        if not unit.emergencies.to_watch(1):
            return 0
    raised = []
    with database.write() as unit:
        waiting = unit.emergencies.to_watch(WATCHED_AT_ONCE)
        for key, line in waiting:
            records, is_first = unit.emergencies.records_opened(key, line, rules.window * 10**9)
            structures = unit.emergencies.structures_before(key, line)
            for pattern, told in emergencies.patterns(
                line, rules, records=records, structures=structures, is_first=is_first
            ):
                unit.audit.append(emergencies.alert(line, pattern, told, access_log.now()))
                raised.append(pattern.value)
        unit.emergencies.watched([key for key, _ in waiting])
    for pattern_name in raised:
        log.warning("unusual access by emergency: %s", pattern_name)
        tell(pattern_name)
    return len(waiting)


def emergency_notice(exchange: Exchange) -> bytes:
    """See ``guard.audit.emergencies.notice``. A caller that another of our services has accepted is not verified anew:
    his assertion says the purpose, and it was accepted as it is."""
    caller: Caller | None = exchange.accepted
    if caller is not None:
        return emergencies.notice(caller.purpose, exchange.trace_id)
    if exchange.is_vouched and exchange.security is not None:
        return emergencies.notice(claimed_purpose(exchange.security), exchange.trace_id)
    return b""


def notices_waiting(database: LogDatabase) -> int:
    """Accesses by emergency whose patient was not told yet."""
    with database.read() as unit:
        waiting: int = unit.emergencies.waiting()
    return waiting


class LogKeeper:
    """Checkpoints now and then, and a look at accesses by emergency every few seconds; in a thread of the service."""

    def __init__(
        self, settings: Settings, name: str, database: LogDatabase, *, watches: bool = False,
        tell: Callable[[str], None] = lambda _pattern: None, failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._name, self._database = settings, name, database
        self._watches, self._tell, self._failed = watches, tell, failed
        self._rules = thresholds(settings)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Until ``stop``."""
        due = 0.0
        while not self._stopping.wait(self._settings.emergencies.watch_every):
            if self._watches:
                self._guarded(lambda: watch(self._database, self._rules, self._tell))
            if time.monotonic() >= due:
                self._guarded(self.checkpoint)
                due = time.monotonic() + self._settings.audit.checkpoint_every

    def stop(self) -> None:
        """End ``run``, and sign the end of the log."""
        self._stopping.set()
        self._guarded(self.checkpoint)

    def checkpoint(self) -> None:
        make_checkpoint(self._settings, self._name, self._database)

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self._failed()
            log.error("the %s log is not looked after: %s", self._name, type(error).__name__)


def thresholds(settings: Settings) -> Thresholds:
    chosen = settings.emergencies
    return Thresholds(
        records=chosen.records, window=chosen.window, new_structure=chosen.new_structure, far=chosen.far
    )
