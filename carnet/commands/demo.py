"""``carnet demo``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from carnet import demo
from carnet.console import JSON, Refused


@click.command("demo")
@click.option("--cda", type=click.Path(path_type=Path, exists=True), help="CDA file, or folder of them, to carry.")
@JSON
def command(cda: Path | None, as_json: bool) -> None:
    """The whole story on this machine: two services, cards, deposits, a search, proofs, refusals.

    \b
    Examples:
      carnet demo
      carnet demo --cda folder/of/cda --json
    """
    def tell(fact: dict[str, Any]) -> None:
        if as_json:
            click.echo(json.dumps(fact, ensure_ascii=False))
        elif "step" in fact:
            click.echo(f"{fact['step']:>3}  {fact['ms']:>6} ms  {fact['name']}: {fact['result']}")
        else:
            click.echo(f"               access log: {fact['log']}")

    try:
        demo.run(cda, tell)
    except demo.DemoFailed as error:
        raise Refused(str(error)) from error
