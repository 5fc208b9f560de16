"""Random histories of one record over the whole wire, held against a model of a dozen lines.

Deposits, replacements, masks laid and lifted by every door, archives, blocks, merges, closings: after each step four
observers ask for everything, and what they get is what the model says, nothing more and nothing less.

Clause: DMP R526, TD0.2 note 1, TD1.4, TD3.3; CSP L1111-18
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from lxml import etree

from carnet import wiring
from conformance import frames
from guard.credentials import vihf
from record import acts, identity, lifecycle
from record.documents import Act
from record.td.services import ACTS
from tests.record.test_record_documents import Home, home_entry
from tests.record_messages import send
from tests.registry.test_iti57_rights import MASK, NORMAL
from tests.registry.test_policy_on_the_wire import normal
from tests.world import COLLEAGUE, NURSE, OPERATOR, PHYSICIAN, World, unique_ids
from xds.ebxml import write
from xds.model import Code, DocumentEntry
from xds.namespaces import APPROVED, ARCHIVED, DELETED, DEPRECATED, RPLC

OBSERVERS = {"physician": PHYSICIAN, "colleague": COLLEAGUE, "nurse": NURSE}
STATUSES = (APPROVED, DEPRECATED, ARCHIVED, DELETED)
STEPS = 24


@dataclass
class Document:
    author: str
    masked: bool = False
    status: str = APPROVED


@dataclass
class Model:
    """What should be so."""

    documents: dict[str, Document] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    is_open: bool = True

    def seen(self, who: str) -> set[str]:
        """A reader of every type who is allowed to open the record."""
        if not self.is_open or who in self.blocked:
            return set()
        return {
            name for name, one in self.documents.items() if not one.masked or one.author == OBSERVERS[who]
        }


class History:
    """One record and what happens to it."""

    def __init__(self, world: World, seed: int):
        self.world, self.random, self.model = world, random.Random(seed), Model()
        self.home = Home(world)
        self.urgent = world.client("colleague", purpose=vihf.BREAK_GLASS)

    # -- what happens -------------------------------------------------------------------------------------
    def steps(self) -> dict[str, Callable[[], bool]]:
        """Each does something, or says that nothing of the kind can be done now."""
        return {
            "deposit": self.deposit, "deposit again": self.deposit, "replace": self.replace_one, "mask": self.mask,
            "mask by update": self.mask_by_update, "unmask": self.unmask, "unmask by update": self.unmask_by_update,
            "block": self.block, "unblock": self.unblock, "merge": self.merge, "archive": self.archive,
            "close and reopen": self.close_and_reopen, "close": self.close, "reopen": self.reopen,
        }

    def _unblocked(self, *among: str) -> str:
        free = [who for who in (among or ("physician", "colleague")) if who not in self.model.blocked]
        return self.random.choice(free) if free and self.model.is_open else ""

    def _some(self, **like: object) -> str:
        found = [name for name, one in self.model.documents.items()
                 if all(getattr(one, key) == value for key, value in like.items())]  # fmt: skip
        return self.random.choice(found) if found and self.model.is_open else ""

    def _made(self, who: str, **changes: object) -> DocumentEntry:
        person = f"{OBSERVERS[who]}^AUTEUR^Fictif^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
        made = frames.valid_submission(
            "dmp", patient_id=self.home.patient_id, authors=[frames.an_author(person=[person])], **changes  # type: ignore[arg-type]
        )
        self.submission = made
        return made.entries[0]

    def deposit(self) -> bool:
        who = self._unblocked()
        if not who:
            return False
        masked = self.random.random() < 0.3
        codes: list[Code] = [NORMAL, MASK] if masked else [NORMAL]
        entry = self._made(who, confidentiality_codes=codes)
        assert self.world.deposit(self.submission, who=who).is_success
        self.model.documents[entry.unique_id] = Document(OBSERVERS[who], masked)
        return True

    def replace_one(self) -> bool:
        who = self._unblocked()
        name = self._some(author=OBSERVERS[who], status=APPROVED) if who else ""
        if not name:
            return False
        old = self.model.documents[name]
        entry = self._made(who, confidentiality_codes=[NORMAL, MASK] if old.masked else [NORMAL])
        target = home_entry(self.home, name).entry_uuid
        self.submission.associations.append(frames.relationship(RPLC, entry.entry_uuid, target))
        assert self.world.deposit(self.submission, who=who).is_success
        old.status = DEPRECATED
        self.model.documents[entry.unique_id] = Document(old.author, old.masked)
        return True

    def mask(self) -> bool:
        name = self._some(masked=False)
        if not name:
            return False
        self.home.do(Act.MASK, name)
        self.model.documents[name].masked = True
        return True

    def unmask(self) -> bool:
        name = self._some(masked=True)
        if not name:
            return False
        self.home.do(Act.UNMASK, name)
        self.model.documents[name].masked = False
        return True

    def mask_by_update(self) -> bool:
        who, name = self._unblocked("physician", "colleague", "nurse"), self._some(masked=False, status=APPROVED)
        if not who or not name:
            return False
        assert self.home.send(self.home.coded(home_entry(self.home, name), MASK), who) == set()
        self.model.documents[name].masked = True
        return True

    def unmask_by_update(self) -> bool:
        name = self._some(masked=True, status=APPROVED)
        if not name:
            return False
        author = self.model.documents[name].author
        who = next(one for one, number in OBSERVERS.items() if number == author)
        allowed = who not in self.model.blocked
        for other in ("physician", "colleague", "nurse"):
            if other != who:
                assert self.home.send(self.home.coded(home_entry(self.home, name)), other) != set()
        said = self.home.send(self.home.coded(home_entry(self.home, name)), who)
        assert (said == set()) == allowed
        self.model.documents[name].masked = not allowed
        return True

    def archive(self) -> bool:
        who = self._unblocked()
        name = self._some(author=OBSERVERS[who], status=APPROVED) if who else ""
        if not name:
            return False
        body = f'<setDocument xmlns="{ACTS}"><action>ARCHIVER</action><uniqueId>{name}</uniqueId></setDocument>'
        assert send(self.world, etree.fromstring(body), self.home.patient_id, who).status == "DMPOk"
        self.model.documents[name].status = ARCHIVED
        return True

    def _set_block(self, who: str, *, on: bool, patient_id: str = "") -> None:
        with self.world._registry_database() as database, database.write() as unit:
            (acts.block if on else acts.unblock)(
                unit, patient_id or self.home.patient_id, OBSERVERS[who], by=OPERATOR)

    def block(self) -> bool:
        who = self._unblocked("physician", "colleague", "nurse")
        if not who or len(self.model.blocked) > 1:
            return False
        self._set_block(who, on=True)
        self.model.blocked.add(who)
        return True

    def unblock(self) -> bool:
        if not self.model.blocked or not self.model.is_open:
            return False
        who = self.random.choice(sorted(self.model.blocked))
        self._set_block(who, on=False)
        self.model.blocked.discard(who)
        return True

    def merge(self) -> bool:
        """Another record comes in with its documents, its masks and its blocks."""
        if not self.model.is_open:
            return False
        other = History(self.world, self.random.randrange(10**6))
        while len(other.model.documents) < 2:
            other.deposit()
        if self.random.random() < 0.5:
            who = self.random.choice(sorted(OBSERVERS))
            other._set_block(who, on=True)
            other.model.blocked.add(who)
        domain = wiring.domain_of(self.world.settings)
        with self.world._registry_database() as database, database.write() as unit:
            identity.merge_identities(
                unit, domain, other.home.patient_id, self.home.patient_id, identity.Act(by=OPERATOR, event="operator")
            )
        self.model.documents |= other.model.documents
        self.model.blocked |= other.model.blocked
        return True

    def close(self) -> bool:
        if not self.model.is_open:
            return False
        self.world.close(self.home.patient_id)
        self.model.is_open = False
        return True

    def reopen(self) -> bool:
        if self.model.is_open:
            return False
        with self.world._registry_database() as database, database.write() as unit:
            lifecycle.reopen_record(unit, self.home.patient_id, by=OPERATOR, consent="essai")
        self.model.is_open = True
        return True

    def close_and_reopen(self) -> bool:
        """Exactly what was there, to the byte, for everybody."""
        if not self.model.is_open:
            return False
        before = {who: self.everything(who) for who in OBSERVERS}
        self.close()
        assert all(not self.found(who) and not self.read(who) for who in OBSERVERS)
        self.reopen()
        assert before == {who: self.everything(who) for who in OBSERVERS}
        return True

    # -- what is seen -------------------------------------------------------------------------------------
    def found(self, who: str) -> set[str]:
        return set(unique_ids(self.world.find(self.home.patient_id, who, statuses=STATUSES)))

    def read(self, who: str) -> set[str]:
        names = list(self.model.documents)
        if not names:
            return set()
        _, items = self.world.read(self.home.patient_id, names, who)
        return {item.unique_id for item in items}

    def everything(self, who: str) -> bytes:
        """GetAll at the level of all versions, as it comes."""
        statuses = "(" + ",".join(f"'{one}'" for one in STATUSES) + ")"
        slots = [("$patientId", [f"'{self.home.patient_id}'"]), ("$MetadataLevel", ["2"])]
        slots += [(f"$XDS{kind}Status", [statuses]) for kind in ("DocumentEntry", "SubmissionSet", "Folder")]
        body = write.adhoc_query_request("urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3", "LeafClass", slots)
        answer = self.world.ask(who, "registry", "RegistryStoredQuery", body, self.home.patient_id)
        return normal(etree.tostring(answer.body))

    def check(self, step: str) -> dict[str, set[str]]:
        """Found, found in all versions with all that is tied to them, and read: each as the model says, for every
        observer, in an emergency too."""
        seen = {}
        for who in OBSERVERS:
            wanted = self.model.seen(who)
            assert self.found(who) == wanted, (step, who)
            assert self.read(who) == wanted, (step, who)
            everything = self.everything(who)
            assert {name for name in self.model.documents if name.encode() in everything} == wanted, (step, who)
            seen[who] = wanted
        if "colleague" in self.model.blocked or not self.model.is_open:
            self.check_emergency(step)
        return seen

    def check_emergency(self, step: str) -> None:
        """A block and a closed record are stronger than an emergency; and absent looks the same."""
        names = [*self.model.documents][:3]
        for name in names:
            slots = [("$XDSDocumentEntryUniqueId", [f"('{name}')"])]
            found = self.urgent.query("urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4", slots,
                                      patient_id=self.home.patient_id)  # fmt: skip
            assert found.objects == [] and found.outcome.is_success, step
        assert unique_ids(self.home.world.find(self.home.patient_id, "colleague")) == []
        absent = frames.new_oid()
        for name in names:
            there, nowhere = (self._retrieved(one) for one in (name, absent))
            assert there == nowhere, step

    def _retrieved(self, name: str) -> bytes:
        body = write.retrieve_request([(self.world.settings.repository.unique_id, name)])
        answer = self.world.ask("colleague", "repository", "RetrieveDocumentSet", body, self.home.patient_id)
        assert not answer.parts
        return normal(etree.tostring(answer.body), name)


NARROWING = {"mask", "mask by update", "block", "close"}


@pytest.mark.parametrize("seed", range(6))
def test_a_random_history(here: World, seed: int) -> None:
    """What everybody finds and reads is what the model says, after every step; masks and blocks only ever narrow.

    Rule: H-04, H-10, L-08, F-12, D-04
    """
    history = History(here, seed)
    history.deposit()
    before = history.check("begin")
    done: list[str] = []
    steps = history.steps()
    left = sorted(steps)
    while len(done) < STEPS:
        step = history.random.choice(left if left and history.random.random() < 0.6 else sorted(steps))
        if not steps[step]():
            continue
        done.append(step)
        left = [one for one in left if one != step]
        after = history.check(f"{seed}: {', '.join(done)}")
        if step in NARROWING:
            assert all(after[who] <= before[who] for who in OBSERVERS), done
        before = after
    assert len(set(done)) >= 12, done
