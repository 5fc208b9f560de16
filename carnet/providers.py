"""The plug-ins that make on-demand documents, from the names in the settings."""

from __future__ import annotations

import importlib

from carnet.settings import Settings
from repository.on_demand import OnDemandProvider
from xds.domain import AffinityDomain


def providers_of(settings: Settings, domain: AffinityDomain) -> dict[str, OnDemandProvider]:
    """By name; each is built with the domain and the repository's OID.

    Raises ValueError for a setting that names no such class, or two of one name.
    """
    found: dict[str, OnDemandProvider] = {}
    for place in settings.repository.on_demand:
        module, _, name = place.partition(":")
        try:
            provider: OnDemandProvider = getattr(importlib.import_module(module), name)(
                domain, settings.repository.unique_id
            )
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"repository.on_demand: {place!r} is no provider written module:Class: {error}") from error
        if provider.name in found:
            raise ValueError(f"repository.on_demand: two providers are called {provider.name!r}")
        found[provider.name] = provider
    return found
