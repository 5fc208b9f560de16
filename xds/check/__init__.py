"""Checks of metadata and of query parameters. They collect findings and never raise for a sender's fault."""

from xds.check.context import Stage
from xds.check.submission import check_submission

__all__ = ["Stage", "check_submission"]
