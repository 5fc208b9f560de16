"""TD0.3: declare oneself authorised, or attending physician; or stop being one.

The patient is the one the credential names. The call itself is what the professional states: that the patient agrees.

Clause: DMP TD0.3, EX_0.3-1010
"""

from __future__ import annotations

from record import circle
from record.actor import carried_out
from record.td.actor import RecordServices, patient_of
from xds.errors import ErrorCode, Refused
from xds.rules import problem
from xds.wire.exchange import Exchange

NAME = "TD0.3"
ADD, REMOVE = ACTIONS = ("AJOUT", "SUPPRESSION")
ATTENDING, IN_CARE_TEAM = ROLES = ("MEDECIN_TRAITANT", "EQUIPE_DE_SOINS")
"""The second is ours: a member of the care team states that the patient is informed and does not object (R1111-46)."""


def answer(services: RecordServices, exchange: Exchange, action: str, role: str) -> str:
    """What to say besides DMPOk: ``already present`` when the caller was authorised before, else "". Rule: D-49"""
    patient_id = patient_of(exchange, "setAuthorization")
    actor = services.by(exchange, NAME)
    if action == ADD:
        declared = carried_out(
            services.database, actor, circle.AUTHORISED, patient_id,
            lambda unit: circle.declare_authorised(
                unit, patient_id, by=actor, agreed=True, is_attending=role == ATTENDING,
                care_team=role == IN_CARE_TEAM,
            ),
        )
        return circle.ALREADY_PRESENT if declared.already_present else ""
    if action != REMOVE:
        raise Refused([problem(
            "D-52", ErrorCode.XDSRegistryError, "setAuthorization", "action", found=action,
            expected=" or ".join(ACTIONS),
        )])
    name, act = (
        (circle.NOT_ATTENDING, circle.stop_attending) if role == ATTENDING else (circle.WITHDRAWN, circle.withdraw)
    )
    carried_out(services.database, actor, name, patient_id, lambda unit: act(unit, patient_id, by=actor))
    return ""
