"""What a portal of patients may say: whom it has let in, the holder of a record or who represents him.

A patient has no card. Where the operator has listed the certificate a portal signs with (``CredentialRule.portals``),
its assertions speak for patients, and for nobody else: who has logged in is the NameID, ``structure/account``, and the
record he comes to is the patient the assertion names. The account of the holder is the number of that patient; any
other is a representative's, whom the record must name.

Clause: DMP VIHF resource-id, EX_GEN-1550; our own where it says how a patient is vouched for
"""

from __future__ import annotations

from dataclasses import replace

from guard.credentials import vihf
from guard.credentials.attributes import Attributes
from guard.credentials.caller import Caller, Mode
from xds.wire.faults import FAILED_AUTHENTICATION, SoapFault, security_fault


def patient_at(caller: Caller, said: Attributes) -> Caller:
    """Who is at the portal, from what its assertion says. Raises SoapFault of step g. Rule: K-09"""
    if said.mode is not Mode.INDIRECT:
        raise _refused("a portal speaks in indirect mode only")
    if any(role.scheme in (vihf.PROFESSIONS, vihf.SPECIALTIES) for role in said.roles):
        raise _refused("a portal vouches for no professional")
    if said.is_secret_connection or caller.purpose != vihf.NORMAL.code:
        raise _refused("at a portal there is neither a secret connection nor an emergency")
    number = said.patient_id.partition("^")[0].strip()
    structure, _, account = caller.identifier.partition("/")
    if not number:
        raise _refused("a portal names the patient whose record it is")
    if structure != said.structure_id or not account.strip():
        raise _refused("NameID of a portal is its structure, a slash, and the account")
    known = replace(caller, profession=None, specialty=None)
    if account == number:
        return replace(known, identifier="patient", mode=Mode.PATIENT, name="Patient")
    return replace(known, identifier=account, mode=Mode.REPRESENTATIVE, name="Representative")


def _refused(detail: str) -> SoapFault:
    return security_fault(FAILED_AUTHENTICATION, detail, "g")
