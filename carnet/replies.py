"""What sends answers to other addresses, made from the settings.

Clause: ITI TF-2 Appendix V 5
"""

from __future__ import annotations

import atexit
import ssl
from pathlib import Path

from carnet.admin import Meter
from carnet.settings import Settings
from xds.wire.delivery import Deliveries
from xds.wire.reply_addresses import ReplyAddresses


def deliveries_of(settings: Settings, node: tuple[Path, Path], meter: Meter) -> Deliveries | None:
    """``node`` is certificate and key of the service that sends. None when the operator permits no address.

    Raises ValueError for an address that cannot be permitted, OSError when a file cannot be read. Answers still
    waiting when the process ends get a moment to leave.
    """
    chosen = settings.replies
    addresses = ReplyAddresses(chosen.allowed, plain_loopback=chosen.plain_loopback)
    if not chosen.allowed:
        return None
    anchors = chosen.ca_file or str(settings.pki / "trust" / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=anchors)
    context.load_cert_chain(*node)
    deliveries = Deliveries(
        addresses, context, queue=chosen.queue, keep=chosen.keep, pause=chosen.pause, timeout=chosen.timeout,
        rate=settings.limits.body_rate, replied=meter.replied,
    )
    atexit.register(deliveries.close)
    return deliveries
