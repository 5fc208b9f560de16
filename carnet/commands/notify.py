"""``carnet notify``"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import click

import storage
from carnet.affinity import domain_of, domain_source, policy_of
from carnet.console import DATA, JSON, Misuse, Refused, emit, settings_of
from carnet.notices import accesses_of, deliver_all, deliver_news, message, news_of, notifier_of
from registry.shelf import Shelf


@click.command("notify")
@click.option("--pending", is_flag=True, help="Show who is to be told, and of what.")
@click.option("--deliver", is_flag=True, help="Tell them: through --notifier, or the setting emergencies.notifier.")
@click.option("--notifier", default="", help="Program that gets one JSON object on its input, or module:function.")
@DATA
@JSON
def command(pending: bool, deliver: bool, notifier: str, data: Path, as_json: bool) -> None:
    """Tell patients of accesses by emergency, and whoever wants it of new documents. One message for each record and
    professional, or recipient. A running registry does it by itself when emergencies.notifier is set, for
    emergencies.notify_within days; this command tells of older accesses by emergency too.

    \b
    Examples:
      carnet notify --pending
      carnet notify --deliver --notifier /usr/local/bin/tell-patient
      carnet notify --deliver --notifier our_notices:send
    """
    if pending == deliver:
        raise Misuse("give --pending or --deliver")
    settings = settings_of(data)
    rights = policy_of(settings, domain_of(settings))
    shelf = Shelf(domain_source(settings), settings.registry.device_id)
    database = storage.open_registry(settings.registry_database)
    try:
        if pending:
            accesses = (message([line for _, line in group]) for group in accesses_of(database))
            news = (one.told for one in news_of(database, rights, shelf) if one.told is not None)
            for told in chain(accesses, news):
                click.echo(json.dumps(told, ensure_ascii=False) if as_json else _in_words(told))
            return
        chosen = notifier or settings.emergencies.notifier
        if not chosen:
            raise Misuse("no notifier: use --notifier, or set emergencies.notifier")
        try:
            notify = notifier_of(chosen)
        except ValueError as error:
            raise Misuse(str(error)) from error
        delivered, failed = (
            sum(counts) for counts in zip(
                deliver_all(database, notify), deliver_news(database, notify, rights, shelf), strict=True
            )
        )
    finally:
        database.close()
    emit(as_json, {"delivered": delivered, "failed": failed}, f"{delivered} delivered, {failed} failed")
    if failed:
        raise Refused("some were not told; they stay in the queue")


def _in_words(told: dict[str, Any]) -> str:
    whom = told.get("recipient")
    return f"{whom['kind']} {whom['identifier']}".strip() + f": {told['text_en']}" if whom else str(told["text_en"])
