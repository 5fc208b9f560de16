"""SOAP faults: what is answered when a message is not understood or not accepted.

After a message is understood every problem is a ``Finding`` in a normal response element.

Clause: ITI TF-2 Appendix V 3.2; W3C SOAP 1.2 Part 1 5.4; WS-Addressing 1.0 SOAP Binding 6; WSS 1.1 12
"""

from __future__ import annotations

from xds.namespaces import SOAP12, WSA, WSSE, WSU

QName = tuple[str, str]
"""(namespace, local name)"""

SENDER: QName = (SOAP12, "Sender")
RECEIVER: QName = (SOAP12, "Receiver")
VERSION_MISMATCH: QName = (SOAP12, "VersionMismatch")
MUST_UNDERSTAND: QName = (SOAP12, "MustUnderstand")

ACTION_NOT_SUPPORTED: QName = (WSA, "ActionNotSupported")
HEADER_REQUIRED: QName = (WSA, "MessageAddressingHeaderRequired")
INVALID_HEADER: QName = (WSA, "InvalidAddressingHeader")
ONLY_ANONYMOUS: QName = (WSA, "OnlyAnonymousAddressSupported")
ENDPOINT_UNAVAILABLE: QName = (WSA, "EndpointUnavailable")

UNSUPPORTED_SECURITY_TOKEN: QName = (WSSE, "UnsupportedSecurityToken")
UNSUPPORTED_ALGORITHM: QName = (WSSE, "UnsupportedAlgorithm")
INVALID_SECURITY: QName = (WSSE, "InvalidSecurity")
INVALID_SECURITY_TOKEN: QName = (WSSE, "InvalidSecurityToken")
FAILED_AUTHENTICATION: QName = (WSSE, "FailedAuthentication")
FAILED_CHECK: QName = (WSSE, "FailedCheck")
MESSAGE_EXPIRED: QName = (WSU, "MessageExpired")

LONGEST_DETAIL = 400
"""Characters of an explanation that quotes what was sent."""


class SoapFault(Exception):
    """A refusal before the request is understood.

    ``reason`` goes to the peer and says no more than the code does where trust is concerned;
    ``detail`` says exactly which check failed and goes to the log and the audit only.
    """

    def __init__(
        self, code: QName, reason: str, *, subcode: QName | None = None, detail: str = "", step: str = "",
        not_understood: tuple[QName, ...] = (),
    ):
        self.code = code
        self.subcode = subcode
        self.reason = reason
        self.detail = detail or reason
        self.step = step
        """Letter of the step of the validation procedure that failed, for tests and the audit."""
        self.not_understood = not_understood
        """Header blocks behind a MustUnderstand fault. Clause: W3C SOAP 1.2 Part 1 5.4.8"""
        super().__init__(self.detail)

    @property
    def http_status(self) -> int:
        """400 for the sender's fault, 500 otherwise. Clause: W3C SOAP 1.2 Part 2 7.5.2.2"""
        return 400 if self.code == SENDER else 500

    @property
    def is_security(self) -> bool:
        return self.subcode is not None and self.subcode[0] in (WSSE, WSU)


def security_fault(subcode: QName, detail: str, step: str) -> SoapFault:
    """A refused credential: the same words for every cause behind one code."""
    reason = {
        MESSAGE_EXPIRED: "The security token is not valid at this time",
        UNSUPPORTED_SECURITY_TOKEN: "The security token is of a type this service does not accept",
        UNSUPPORTED_ALGORITHM: "A signature algorithm this service does not accept was used",
        INVALID_SECURITY: "The security header could not be processed",
        INVALID_SECURITY_TOKEN: "The security token is malformed or incomplete",
        FAILED_CHECK: "The signature is not valid",
    }.get(subcode, "The caller could not be authenticated")
    return SoapFault(SENDER, reason, subcode=subcode, detail=detail, step=step)


def claim_fault(subcode: QName, detail: str, step: str) -> SoapFault:
    """A refused claim of a caller who has proved whose it is: he is told what is wrong with it.

    ``detail`` names nothing but what stands in his own token, certificate and message. Never used before the
    signature of the token is verified.
    """
    fault = security_fault(subcode, detail, step)
    fault.reason = f"{fault.reason}: {detail[:LONGEST_DETAIL]}"
    return fault
