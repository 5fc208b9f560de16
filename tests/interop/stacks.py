"""Foreign SOAP stacks, made from nothing but what a service says of itself (``?wsdl``)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zeep
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lxml import etree

from conformance.zeep_transport import MtomTransport
from tests.interop.rows import Answer
from tests.world import World
from xds.namespaces import RIM, XDS
from xds.wire.xop import include

HERE = Path(__file__).resolve().parent
MODULES = Path(os.environ.get("CARNET_NODE", HERE.parents[1] / "build" / "interop-node"))
"""Where ``make interop-node`` installs."""
MTOM = frozenset({"ProvideAndRegisterDocumentSet-b", "RetrieveDocumentSet"})
ATTRIBUTES = frozenset({"id", "name", "home", "lid", "returnType", "returnComposedObjects", "deletionScope"})


class Zeep:
    """Python: zeep, with our transport for MTOM and mutual TLS."""

    def __init__(self, world: World, actor: str, who: str = "physician") -> None:
        base = world.settings.registry_url if actor == "registry" else world.settings.repository_url
        self.source = world.client(who)
        self.transport = MtomTransport(base, world.cards[who], world.folder / "pki" / "trust" / "ca.pem")
        self.client = zeep.Client(f"{base}/services/{actor}?wsdl", transport=self.transport)
        self._ports = {
            operation.split("_", 1)[1]: (service.name, port.name, operation)
            for service in self.client.wsdl.services.values()
            for port in service.ports.values()
            for operation in port.binding._operations
        }

    def operations(self) -> set[str]:
        """Names without the actor in front."""
        return set(self._ports)

    def call(self, operation: str, patient_id: str, **content: Any) -> Any:
        """One operation with the card's assertion in its header, where the domain wants one, and zeep's own answer."""
        signed = self.source.security(patient_id)
        headers = [etree.fromstring(signed)] if signed else []
        service, port, name = self._ports[operation]
        return self.client.bind(service, port)[name](_soapheaders=headers, **content)

    def answer(self, operation: str, patient_id: str, arguments: dict[str, Any]) -> Answer:
        """The same, as every stack gives it."""
        said = self.call(operation, patient_id, **arguments)
        response = getattr(said, "RegistryResponse", said)
        errors = getattr(response, "RegistryErrorList", None)
        held = getattr(said, "RegistryObjectList", None)
        return Answer(
            response.status,
            [f"{error.errorCode}: {error.codeContext}" for error in errors.RegistryError] if errors else [],
            [element.get("id") for element in held["_value_1"] or ()] if held else [],
            [one.Document or b"" for one in getattr(said, "DocumentResponse", ())],
        )


class Node:
    """Node.js: the package ``soap``, over its own TLS and its own MTOM."""

    def __init__(self, world: World, actor: str, who: str = "physician") -> None:
        node = shutil.which("node")
        if node is None or not (MODULES / "node_modules" / "soap").is_dir():
            pytest.skip("the Node.js package soap is not installed: make interop-node")
        base = world.settings.registry_url if actor == "registry" else world.settings.repository_url
        self.command = [node, str(HERE / "node" / "calls.cjs")]
        self.wsdl = f"{base}/services/{actor}?wsdl"
        self.source = world.client(who)
        pair = world.cards[who].authentication
        self.files = {
            "ca": world.folder / "pki" / "trust" / "ca.pem",
            "cert": world.folder / f"{who}.crt",
            "key": world.folder / f"{who}.key",
        }
        self.files["cert"].write_bytes(pair.certificate.public_bytes(Encoding.PEM))
        self.files["key"].write_bytes(pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def operations(self) -> set[str]:
        """Names without the actor in front."""
        listed: list[str] = self._run([{"wsdl": self.wsdl}])[0]["operations"]
        return {name.split("_", 1)[1] for name in listed}

    def call(
        self, operation: str, security: bytes, arguments: dict[str, Any], *, mtom: bool = False
    ) -> dict[str, Any]:
        """One operation, and what node made of the answer."""
        attachments: list[dict[str, str]] = []
        step = {
            "wsdl": self.wsdl, "operation": operation, "security": security.decode(), "mtom": mtom,
            "arguments": _for_node(arguments, attachments), "attachments": attachments,
        }
        return self._run([step])[0]

    def answer(self, operation: str, patient_id: str, arguments: dict[str, Any]) -> Answer:
        """The same as every stack gives it."""
        if operation == "RemoveDocuments":  # the package puts children of an inherited type into the wrong namespace
            arguments = {"$xml": "".join(map(_document_request, arguments["DocumentRequest"]))}
        said = self.call(operation, self.source.security(patient_id), arguments, mtom=operation in MTOM)
        assert "fault" not in said, said
        result = said["result"]
        response = result.get("RegistryResponse", result)
        errors = _listed((response.get("RegistryErrorList") or {}).get("RegistryError"))
        held = result.get("RegistryObjectList") or {}
        parts = {part["contentId"].strip("<>"): base64.b64decode(part["base64"]) for part in said["parts"]}
        return Answer(
            response["attributes"]["status"],
            ["{errorCode}: {codeContext}".format(**error["attributes"]) for error in errors],
            [one["attributes"]["id"] for name, found in held.items() if name != "attributes" for one in _listed(found)],
            list(_documents(result, parts)),
        )

    def _run(self, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        order = json.dumps({**{name: str(path) for name, path in self.files.items()}, "steps": steps})
        done = subprocess.run(
            self.command, input=order, capture_output=True, text=True, timeout=60, check=False,
            env={"PATH": os.environ["PATH"], "MODULES": str(MODULES)},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]


def _document_request(one: dict[str, str]) -> str:
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in one.items())
    return f'<DocumentRequest xmlns="{XDS}">{inside}</DocumentRequest>'


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _documents(result: dict[str, Any], parts: dict[str, bytes]) -> Iterator[bytes]:
    for one in _listed(result.get("DocumentResponse")):
        reference = one["Document"]["Include"]["attributes"]["href"]
        yield parts[reference.removeprefix("cid:")]


def _for_node(value: Any, attachments: list[dict[str, str]]) -> Any:
    """zeep's form to node's: attributes apart, registry objects as text, document bytes as attachments.

    The package puts a list of objects inside another message into the namespace around it, with any schema: there it
    is given as text, with its own name.
    """
    if isinstance(value, list):
        return [_for_node(one, attachments) for one in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, one in value.items():
        if name == "_value_1" and isinstance(one, bytes):
            content_id = f"document{len(attachments)}@node"
            coded = base64.b64encode(one).decode()
            attachments.append({"contentId": content_id, "mimetype": "text/xml", "base64": coded})
            made["$xml"] = include(content_id).decode()
        elif name == "_value_1":
            made["$xml"] = "".join(etree.tostring(element, encoding="unicode", with_tail=False) for element in one)
        elif name == "SubmitObjectsRequest":
            inside = _for_node(one, attachments)["RegistryObjectList"]["$xml"]
            made[name] = {"$xml": f'<RegistryObjectList xmlns="{RIM}">{inside}</RegistryObjectList>'}
        elif name in ATTRIBUTES:
            made.setdefault("attributes", {})[name] = one
        else:
            made[name] = _for_node(one, attachments)
    return made


STACKS: dict[str, type[Zeep] | type[Node]] = {"zeep": Zeep, "node-soap": Node}
