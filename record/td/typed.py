"""Typed services behind our wire layer: spyne reads the arguments, writes the answer and describes the service.

Envelope, limits, addressing, credentials, faults and the access log are those of every other transaction: spyne never
sees a byte of the network. It is given an envelope that is already parsed and validated, and gives back an element.

Clause: DMP TD0.3, TD0.4, TD1.6
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any

from lxml import etree

from record.td.spyne_import import Application, Fault, MethodContext, NullServer, Soap12, Wsdl11
from xds.wire.exchange import Exchange
from xds.wire.faults import SENDER, SoapFault

_WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
_XS = "{http://www.w3.org/2001/XMLSchema}"
_WSAM = "http://www.w3.org/2007/05/addressing/metadata"
_WSAW = "http://www.w3.org/2006/05/addressing/wsdl"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a typed service: the body it takes, and the actions of request and answer."""

    name: str
    body: str
    """Clark name"""
    action: str

    @property
    def response_action(self) -> str:
        return f"{self.action}Response"


class TypedService:
    """One WSDL: the classes of ``services`` under one namespace. Holds no state of a request.

    ``port`` is the name the interface has in its actions: ``namespace:port:operation``.
    The description and the schema are made once, here: spyne's generator is not safe against two threads.
    """

    def __init__(self, namespace: str, port: str, service: Any) -> None:
        self.namespace, self.port = namespace, port
        self._protocol = Soap12()
        application = Application([service], namespace, name=port, in_protocol=self._protocol, out_protocol=Soap12())
        self._server = NullServer(application)
        self.operations = tuple(
            Operation(name, f"{{{namespace}}}{name}", f"{namespace}:{port}:{name}")
            for name in sorted(service.public_methods)
        )
        self._wsdl = self._described()
        schema = self._wsdl.find(f"{_WSDL}types/{_XS}schema")
        assert schema is not None
        self._schema = etree.XMLSchema(etree.fromstring(etree.tostring(schema)))
        self._lock = Lock()

    def call(self, exchange: Exchange, known: object) -> bytes:
        """Run the operation of this exchange and give its answer, serialised. Raises what the operation raises.

        ``known`` is what the operation finds in ``ctx.udc``.
        """
        context = MethodContext(self._server, MethodContext.SERVER)
        context.in_document = (exchange.envelope, None)
        context.udc = known
        try:
            self._protocol.decompose_incoming_envelope(context)
            (context,) = self._protocol.generate_method_contexts(context)
            self._protocol.deserialize(context, self._protocol.REQUEST)
        except Fault as error:
            raise SoapFault(SENDER, "The arguments of the operation cannot be read") from error
        context.out_object = [context.descriptor.function(context, *context.in_object)]
        context.out_protocol.serialize(context, context.out_protocol.RESPONSE)
        (answer,) = context.out_body_doc
        etree.cleanup_namespaces(answer)
        written: bytes = etree.tostring(answer)
        return written

    def problems(self, element: etree._Element) -> list[str]:
        """What is wrong with a body of this service, by the schema of its own description; no value is repeated."""
        with self._lock:
            if self._schema.validate(element):
                return []
            log: Any = self._schema.error_log
            return [f"line {entry.line}: not valid against the service description" for entry in list(log)[:5]]

    def wsdl(self, address: str) -> bytes:
        """The service description, with the address at which it is served."""
        root = etree.fromstring(etree.tostring(self._wsdl))
        for place in root.iter("{*}address"):
            place.set("location", address)
        return etree.tostring(root, xml_declaration=True, encoding="UTF-8")

    def _described(self) -> etree._Element:
        """What spyne generates, with the actions of WS-Addressing. Clause: WS-Addressing 1.0 Metadata 4.4.2"""
        generator = Wsdl11(self._server.app.interface)
        generator.build_interface_document("https://localhost/")
        root = etree.fromstring(generator.get_interface_document())
        actions = {operation.name: operation for operation in self.operations}
        for node in root.iterfind(f"{_WSDL}portType/{_WSDL}operation"):
            operation = actions[node.get("name") or ""]
            for tag, action in (("input", operation.action), ("output", operation.response_action)):
                message = node.find(_WSDL + tag)
                assert message is not None
                message.set(f"{{{_WSAM}}}Action", action)
                message.set(f"{{{_WSAW}}}Action", action)
        for binding in root.iterfind(f"{_WSDL}binding/{{*}}binding"):
            binding.set("transport", "http://schemas.xmlsoap.org/soap/http")
        for node in root.iterfind(f"{_WSDL}binding/{_WSDL}operation"):
            (bound,) = node.iterfind("{*}operation[@soapAction]")
            bound.set("soapAction", actions[node.get("name") or ""].action)
        return root
