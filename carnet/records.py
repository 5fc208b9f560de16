"""The record services beside the registry, in its process; and what a service says of itself (``?wsdl``)."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from carnet.acceptance import fingerprints
from carnet.retention import rules_of
from carnet.settings import Settings
from record.td.actor import RecordServices
from record.td.app import RECORD
from record.td.services import SERVICES
from registry.actor import RegistryActor
from registry.shelf import Shelf
from xds.ebxml import schema
from xds.errors import Actor

Describe = Callable[[str, str], tuple[str, bytes] | None]
_TYPED = {service.namespace: service for service in SERVICES.values()}


def record_services(settings: Settings, actor: RegistryActor) -> RecordServices | None:
    """None where the domain has no rules of access: there nobody could be told who may open or close a record."""
    if not actor.domain.policy:
        return None
    return RecordServices(
        database=actor.database, domains=actor.domains, policy=actor.policy, shelf=Shelf.of(actor),
        device_id=actor.feed.device_id,
        clock=actor.clock, rules=rules_of(settings), managers=fingerprints(settings.record.managers),
    )


def validate(element: etree._Element) -> list[str]:
    """A typed body by the schema of its own description, any other by ours."""
    typed = _TYPED.get(etree.QName(element).namespace or "")
    return schema.validate(element) if typed is None else typed.problems(element)


def described_records(base_url: str, other: Describe) -> Describe:
    """``?wsdl`` of the record services; ``other`` describes everything else."""

    def describe(path: str, query: str) -> tuple[str, bytes] | None:
        if path in SERVICES:
            wanted = query.lower() == "wsdl"
            return ("text/xml; charset=utf-8", SERVICES[path].wsdl(base_url + path)) if wanted else None
        if path == RECORD and query.lower() == "wsdl":
            return "text/xml; charset=utf-8", schema.wsdl("record", base_url + path)
        return other(path, query)

    return describe


def describer(actor: Actor, base_url: str) -> Describe:
    """Answers ``?wsdl`` and ``?xsd=name`` for one actor served at ``base_url``."""

    def describe(path: str, query: str) -> tuple[str, bytes] | None:
        endpoint = base_url + path
        name, _, value = query.partition("=")
        document = schema.wsdl(actor, endpoint) if name.lower() == "wsdl" else schema.xsd(value, endpoint)
        return None if document is None else ("text/xml; charset=utf-8", document)

    return describe
