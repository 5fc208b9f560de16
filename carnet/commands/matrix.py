"""``carnet matrix``"""

from __future__ import annotations

from pathlib import Path

import click

from carnet.affinity import domain_of, policy_of
from carnet.console import DATA, JSON, Refused, emit, settings_of
from carnet.settings import FILE_NAME
from guard.policy.decision import Policy
from guard.policy.matrix import PROFESSION_COLUMNS
from guard.professions import TableError
from xds import domain as domains

TABLES = ("rights", "types")


@click.command("matrix")
@click.argument("which", type=click.Choice((*TABLES, "both")), default="both")
@DATA
@JSON
def command(which: str, data: Path, as_json: bool) -> None:
    """Print the two matrices of rights in force: who may do what (rights), which profession reads which type (types).

    They are those of --data with the operator's own cells (setting domain.matrix); without an installation, those
    shipped for the DMP. In the matrix of types * marks a cell that a public source states.

    \b
    Examples:
      carnet matrix rights
      carnet matrix types --json
    """
    try:
        policy = _policy(data)
    except TableError as error:
        raise Refused(str(error)) from error
    if policy.rights is None or policy.access is None:
        raise Refused("this domain has no rules of access: everybody may do everything in an open record")
    chosen = TABLES if which == "both" else (which,)
    emit(
        as_json,
        {name: _facts(policy, name) for name in chosen},
        "\n".join(policy.rights.describe() if name == "rights" else policy.access.describe() for name in chosen),
    )


def _policy(data: Path) -> Policy:
    if (data / FILE_NAME).is_file():
        settings = settings_of(data)
        return policy_of(settings, domain_of(settings))
    return Policy.load(domains.load("dmp").policy)


def _facts(policy: Policy, name: str) -> dict[str, dict[str, object]]:
    """Row -> column -> cell; of the types also which cells are attested."""
    assert policy.rights is not None and policy.access is not None
    if name == "rights":
        return {right: dict(cells) for right, cells in policy.rights.table().items()}
    attested = policy.access.attested
    return {
        key: {
            "cells": {column: policy.access.cell(key, column) for column in PROFESSION_COLUMNS},
            "attested": [column for column in PROFESSION_COLUMNS if (key, column) in attested],
        }
        for key in policy.access.types()
    }
