"""`ServiceTraits`: what analysis must know about a service, such as which cases are open.

They are stored in provenance, because a DataFrame outlives its source.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "AMAZON_CONNECT",
    "PERSONA",
    "ServiceTraits",
    "infer_traits",
    "mixes_services",
    "traits_of",
]


@dataclass(frozen=True, slots=True)
class ServiceTraits:
    """How to interpret the cases of a service: which are open, what tags look like."""

    display_name: str = ""  # the name of the service for people, such as ``"Amazon Connect"``
    # The status of closed cases, in any letter case. None if a case is closed exactly when it has a
    # ``closed_at``.
    closed_status: str | None = "closed"
    # Whether tags have a key and a value (``"team=red"``). None if unknown: then the tags
    # themselves are inspected.
    keyed_tags: bool | None = None
    # A regular expression that every case id of the service matches from its beginning, and no
    # other service's. Empty if ids have no documented form.
    case_id_pattern: str = ""
    # Whether the service states only the next breach of an SLA, which a closed case no longer has,
    # so that it is not known which cases met theirs.
    next_breach_only: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the traits as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, json_traits: Mapping[str, Any]) -> ServiceTraits:
        """Return the traits that `to_json` stored; keys of a later version are ignored."""
        names = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in json_traits.items() if name in names})


# Amazon Connect keeps last_closed_datetime after a case is reopened, so only the status says
# whether a case is open. Its case ids have no documented form but their length (service model).
AMAZON_CONNECT = ServiceTraits("Amazon Connect", keyed_tags=True, next_breach_only=True)
# A Persona environment names its statuses itself; its ids begin with "case_" (OpenAPI description).
PERSONA = ServiceTraits("Persona", closed_status=None, keyed_tags=False, case_id_pattern="case_")

# Provenance written before it contained traits names only the service.
_TRAITS_BY_NAME = {"connect": AMAZON_CONNECT, "persona": PERSONA}


def traits_of(provenance: Mapping[str, Any]) -> ServiceTraits:
    """Return the traits of the service that a DataFrame was read from.

    `provenance` is what ``df.cases.provenance`` returns; empty for a DataFrame of unknown origin.
    """
    if isinstance(json_traits := provenance.get("traits"), dict):
        return ServiceTraits.from_json(json_traits)
    source = provenance.get("source") or {}
    origin = source.get("of") or source  # a mirror describes the source that it copies
    return _TRAITS_BY_NAME.get(str(origin.get("service")), ServiceTraits())


# Columns that identify the service of a DataFrame without provenance. Custom fields hardly have
# names of the first two sets; they may have those of the third, so these count only with an id.
_CONNECT_COLUMNS = frozenset({"last_reopened_datetime", "case_reason", "last_updated_user"})
_PERSONA_COLUMNS = frozenset(
    {
        "assigner_id", "assigner_type", "case_comments", "creator_id", "creator_type",
        "redacted_at", "resolver_id", "resolver_type", "txns", "updater_id", "updater_type",
    }
)  # fmt: skip
_COMMON_PERSONA_COLUMNS = frozenset(
    {"accounts", "attachments", "inquiries", "reports", "resolution", "verifications"}
)


def infer_traits(columns: Iterable[str], ids: Iterable[str]) -> ServiceTraits | None:
    """Return the traits of the service whose columns a DataFrame has; None if that is not clear.

    Parameters
    ----------
    columns
        The names of the columns.
    ids
        Case ids of one service.

    Examples
    --------
    >>> infer_traits(["case_id", "creator_type"], ["case_1"]).display_name
    'Persona'
    """
    names, is_persona_id = set(columns), re.compile(PERSONA.case_id_pattern).match
    is_connect = bool(names & _CONNECT_COLUMNS)
    is_persona = bool(names & _PERSONA_COLUMNS)
    if not is_persona and names & _COMMON_PERSONA_COLUMNS:
        is_persona = any(is_persona_id(item) for item in ids)
    if is_connect == is_persona:
        return None
    return AMAZON_CONNECT if is_connect else PERSONA


def mixes_services(ids: Iterable[str], *, known: Iterable[ServiceTraits] = ()) -> bool:
    """Return whether some of the case ids belong to one service and some to another.

    >>> mixes_services(["case_1", "case_2"]), mixes_services(["case_1", "0b6fd8ee"])
    (False, True)
    """
    patterns = {item.case_id_pattern for item in (*_TRAITS_BY_NAME.values(), *known)} - {""}
    ids = list(ids)
    # Not every service has a pattern, so only a pattern that some of the ids match is evidence.
    return any(
        0 < sum(matches(item) is not None for item in ids) < len(ids)
        for matches in (re.compile(pattern).match for pattern in sorted(patterns))
    )
