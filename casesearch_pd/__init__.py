"""Search Amazon Connect Cases and Persona cases from pandas.

Filter by keywords, and get one typed DataFrame::

    import casesearch_pd as cs

    source = cs.ConnectCases("domain-id")
    df = cs.read_cases(source, status="open", created_at__gte="2026-03")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from casesearch_pd.accessor import CasesAccessor as _CasesAccessor
from casesearch_pd.errors import (
    AccessDeniedError,
    CaseSearchError,
    FilterError,
    IncompleteReadError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    ReadInterrupted,
    ServiceError,
    ServiceUnavailableError,
    ThrottledError,
)
from casesearch_pd.query.references import field
from casesearch_pd.reading.api import (
    count_cases,
    explain_cases,
    iter_cases,
    list_fields,
    read_cases,
    to_parquet,
)
from casesearch_pd.reading.related.events import read_events
from casesearch_pd.reading.related.items import read_related
from casesearch_pd.sources.registry import register_file_source as _register_description
from casesearch_pd.sources.registry import register_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.demo import Fault, LocalCases, open_source
    from casesearch_pd.form.form import CaseForm
    from casesearch_pd.mirror.mirror import Mirror
    from casesearch_pd.reading.distributed.dask import to_dask
    from casesearch_pd.sources.amazon_connect.source import ConnectCases
    from casesearch_pd.sources.base_source import BaseSource
    from casesearch_pd.sources.persona.source import PersonaCases

__all__ = [
    "AccessDeniedError",
    "BaseSource",
    "CaseForm",
    "CaseSearchError",
    "ConnectCases",
    "Fault",
    "FilterError",
    "IncompleteReadError",
    "InvalidRequestError",
    "InvalidResponseError",
    "LocalCases",
    "Mirror",
    "NotFoundError",
    "PersonaCases",
    "ReadInterrupted",
    "ServiceError",
    "ServiceUnavailableError",
    "ThrottledError",
    "count_cases",
    "explain_cases",
    "field",
    "iter_cases",
    "list_fields",
    "open_source",
    "read_cases",
    "read_events",
    "read_related",
    "register_source",
    "to_dask",
    "to_parquet",
]

del _CasesAccessor  # importing it registers df.cases

# boto3, requests, ipywidgets, DuckDB and the emulator are slow to import: only on first use.
_LAZY = {
    "BaseSource": "casesearch_pd.sources.base_source",
    "CaseForm": "casesearch_pd.form.form",
    "ConnectCases": "casesearch_pd.sources.amazon_connect.source",
    "Fault": "casesearch_pd.demo",
    "LocalCases": "casesearch_pd.demo",
    "Mirror": "casesearch_pd.mirror.mirror",
    "PersonaCases": "casesearch_pd.sources.persona.source",
    "open_source": "casesearch_pd.demo",
    "to_dask": "casesearch_pd.reading.distributed.dask",
}


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def _open_mirror(description: Mapping[str, Any]) -> Mirror:
    mirror: Mirror = __getattr__("Mirror")(description["path"])
    return mirror


_register_description("mirror", _open_mirror)


def __dir__() -> list[str]:
    """Return the public names, including those that are not imported yet."""
    return sorted(__all__)
