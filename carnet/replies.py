"""What sends answers to other addresses, made from the settings.

Clause: ITI TF-2 Appendix V 5
"""

from __future__ import annotations

import atexit

from carnet import node
from carnet.admin import Meter
from carnet.keys import PairFiles
from carnet.settings import Settings
from xds.wire.delivery import Deliveries
from xds.wire.reply_addresses import ReplyAddresses


def deliveries_of(settings: Settings, files: PairFiles, meter: Meter) -> Deliveries | None:
    """``files`` are certificate and key of the service that sends. None when the operator permits no address.

    Raises ValueError for an address that cannot be permitted or a key that cannot be used, OSError. Answers still
    waiting when the process ends get a moment to leave.
    """
    chosen = settings.replies
    addresses = ReplyAddresses(chosen.allowed, plain_loopback=chosen.plain_loopback)
    if not chosen.allowed:
        return None
    anchors = chosen.ca_file or str(settings.pki / "trust" / "ca.pem")
    deliveries = Deliveries(
        addresses, node.client_tls("answers", files, anchors),
        queue=chosen.queue, keep=chosen.keep, pause=chosen.pause, timeout=chosen.timeout,
        rate=settings.limits.body_rate, replied=meter.replied,
    )
    atexit.register(deliveries.close)
    return deliveries
