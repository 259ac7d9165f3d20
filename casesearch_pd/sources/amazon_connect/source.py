"""Amazon Connect Cases as a source: SearchCases through boto3."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import replace
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import boto3

from casesearch_pd import errors
from casesearch_pd.query.expressions import comparisons
from casesearch_pd.query.pushdown import Pushdown, PushdownSupport, push_down
from casesearch_pd.sources.amazon_connect import codec
from casesearch_pd.sources.amazon_connect.capabilities import (
    pushdown_support,
    require_profile_arn,
)
from casesearch_pd.sources.amazon_connect.client import ConnectClient
from casesearch_pd.sources.amazon_connect.related import (
    KINDS,
    RelatedRequests,
    history_listing,
    related_listing,
)
from casesearch_pd.sources.amazon_connect.schema import RETURNED_COLUMNS, discover_schema
from casesearch_pd.sources.base import Page, PerCaseListing, Request, Scan, merge_assumptions
from casesearch_pd.sources.base_source import BaseSource
from casesearch_pd.sources.traits import AMAZON_CONNECT
from casesearch_pd.sources.transport.body import MAX_RESPONSE_BYTES, require_size
from casesearch_pd.sources.transport.rate_limit import RateLimiter, rate_limiter_for
from casesearch_pd.sources.transport.retry import send_with_retry
from casesearch_pd.sources.transport.timestamps import parse_date_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casesearch_pd.query.expressions import Compare, Expression
    from casesearch_pd.query.schema import Field, Schema
    from casesearch_pd.sources.amazon_connect.schema import DiscoveryListing
    from casesearch_pd.sources.traits import ServiceTraits
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["ConnectCases"]

# SearchCases: 2 requests per second, burst 10 ("Amazon Connect service quotas", administrator
# guide). Account and region share the quotas with production, so four fifths are used.
_QUOTA = 2.0
_QUOTA_SHARE = 0.8

_MAX_FIELDS = 25  # in one request (service model)
_OLD_PAGE_SIZE = 25  # the largest page before 2025


class ConnectCases(BaseSource):
    """Cases of one Amazon Connect Cases domain.

    Credentials and region are boto3's own: environment, profile, SSO, role. The caller
    needs ``cases:SearchCases``, ``cases:ListFields``, ``cases:ListFieldOptions`` and
    ``cases:ListTemplates`` on the domain; for `read_events` also ``cases:GetCaseAuditEvents``,
    for `read_related` ``cases:SearchRelatedItems``.

    Parameters
    ----------
    domain_id
        The id of the Cases domain.
    region_name
        The region, if the environment or profile names none or another.
    boto3_session
        A `boto3.Session`, for credentials of your own.
    endpoint_url
        Another address that serves the same API.
    rate
        Requests per second. None uses 80 % of the documented quota of 2; `math.inf` never waits.
    burst
        Requests that may be sent at once after a pause.
    page_size
        Cases per request, 1 to 100. If the service rejects a first page of 100, it is requested
        once more with 25.
    schema
        A schema discovered earlier, to save the discovery requests.
    assume
        What is known of this service beyond its documentation, by name (see `ASSUME`).
    max_response_bytes
        Size of a response, decompressed, beyond which it is refused.

    Raises
    ------
    NotFoundError
        If no region is known.
    AccessDeniedError
        If the profile does not exist.

    Notes
    -----
    SearchCases returns 100 cases and 25 fields per request, so a read costs
    ``ceil(cases / 100)`` requests for every 25 fields.
    """

    name: ClassVar[str] = "connect"
    traits: ServiceTraits = AMAZON_CONNECT
    can_count: bool = True
    can_search: bool = True
    max_sorts: int = 2
    lookback: float = 300.0
    kinds: ClassVar[tuple[str, ...]] = KINDS

    ASSUME: ClassVar[dict[str, bool]] = {"empty_filter": False}
    """Undocumented behaviour, with safe defaults. ``empty_filter``: whether ``equalTo`` with an
    ``emptyValue`` returns the cases without a value; if not, they are filtered locally."""

    def __init__(
        self,
        domain_id: str,
        *,
        region_name: str | None = None,
        boto3_session: boto3.Session | None = None,
        endpoint_url: str | None = None,
        rate: float | None = None,
        burst: float = 10,
        page_size: int = 100,
        schema: Schema | None = None,
        assume: Mapping[str, bool] | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        if not isinstance(domain_id, str) or not domain_id.strip():
            raise errors.FilterError(
                f"domain_id must be the id of a Cases domain, got {domain_id!r}; "
                "`aws connectcases list-domains` shows yours"
            )
        if not 1 <= page_size <= 100:  # noqa: PLR2004 - the documented limit
            raise errors.FilterError(f"page_size must be from 1 to 100, got {page_size!r}")
        self.domain_id = domain_id
        self.page_size = page_size
        self.max_response_bytes = require_size(max_response_bytes)
        self.assume = merge_assumptions(self.ASSUME, assume)
        self._schema = schema
        self._endpoint_url = endpoint_url
        self.rate = _QUOTA * _QUOTA_SHARE if rate is None else rate
        self.burst = burst
        RateLimiter(self.rate, burst)  # reports an invalid rate here, not at the first request
        self._open_client(boto3_session, region_name)

    def _open_client(self, session: boto3.Session | None, region: str | None) -> None:
        self.connection = ConnectClient(
            self.domain_id, session, region, self._endpoint_url, self.max_response_bytes
        )
        self._page_size_accepted = False
        self._profile = None if session is None else session.profile_name

    def __repr__(self) -> str:
        return f"ConnectCases({self.domain_id!r}, region_name={self.region_name!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without credentials: a copy elsewhere uses those of its profile."""
        excluded = {"connection", "rate_limiter"}
        state = {name: value for name, value in self.__dict__.items() if name not in excluded}
        return {**state, "region": self.region_name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state, with a new client."""
        region, profile = state.pop("region"), state["_profile"]
        self.__dict__.update(state)
        # boto3 names the profile "default" if none was given; it need not exist.
        default = profile in {None, "default"}
        self._open_client(None if default else boto3.Session(profile_name=profile), region)

    @property
    def client(self) -> Any:
        """The boto3 client."""
        return self.connection.boto

    @property
    def region_name(self) -> str:
        """The AWS region."""
        return self.connection.region_name

    def describe(self) -> dict[str, Any]:
        """Return domain, region and endpoint."""
        return {
            "service": self.name,
            "domain_id": self.domain_id,
            "region": self.region_name,
            "endpoint_url": self.connection.endpoint_url,
        }

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        """The rate limiter that every source of this account and region shares."""
        return self._rate_limiter_of("SearchCases", self.rate, self.burst)

    def _rate_limiter_of(self, operation: str, rate: float, burst: float) -> RateLimiter:
        # The account is unknown without another service, so the access key stands for it.
        key = (self.connection.endpoint_url, self.connection.access_key(), operation)
        return rate_limiter_for(key, rate=rate, burst=burst)

    def _discovery_rate_limiter(self, listing: DiscoveryListing) -> RateLimiter:
        if math.isinf(self.rate):
            return self._rate_limiter_of(listing.operation, math.inf, 1.0)
        return self._rate_limiter_of(listing.operation, listing.rate * _QUOTA_SHARE, listing.burst)

    def discover(self) -> Schema:
        """Return the fields of the domain: ListFields, with options and templates."""
        return discover_schema(self.connection, self._discovery_rate_limiter)

    @cached_property
    def _templates(self) -> dict[str, str]:
        return {option.value: option.label for option in self.schema.resolve("template_id").options}

    def push_down(self, where: Expression) -> Pushdown:
        """Split a filter between SearchCases, which accepts any nesting, and local evaluation.

        Raise FilterError if ``customer_id`` is compared with something that is not a profile ARN.
        """
        for comparison in comparisons(where):
            require_profile_arn(comparison)
        return push_down(where, self.pushdown_support)

    def pushdown_support(self, comparison: Compare, /) -> PushdownSupport:
        """Return how well SearchCases evaluates one comparison."""
        return pushdown_support(comparison, self.assume)

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Return the fields of each pass: up to 25, with `created_at` and `updated_at`.

        A scan resumes from `created_at`. `updated_at` shows whether a row changed between two
        passes; a single pass without space for it can do without.
        """
        requested = [item for item in fields if item.column not in RETURNED_COLUMNS]
        required_fields = [
            item
            for name in ("created_at", "updated_at")
            if (item := self.schema.find(name)) is not None
        ]
        for required in (required_fields, required_fields[:1]):
            if len({*requested, *required}) <= _MAX_FIELDS:
                return [tuple(dict.fromkeys([*required, *requested]))]
        others = [item for item in requested if item not in required_fields]
        size = _MAX_FIELDS - len(required_fields)
        return [
            (*required_fields, *others[start : start + size])
            for start in range(0, len(others), size)
        ]

    def can_sort_by(self, field: Field) -> bool:
        """Return whether SearchCases can sort by the field: by any that ListFields returns."""
        return field.column not in RETURNED_COLUMNS or field.id == "case_id"

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Return the SearchCases request for one page."""
        body: dict[str, Any] = {"maxResults": self.page_size}
        if cursor is not None:
            body["nextToken"] = cursor
        if scan.search is not None:
            body["searchTerm"] = scan.search
        if not scan.is_unfiltered:
            body["filter"] = codec.to_filter(scan.where)
        if scan.sort:
            body["sorts"] = [
                {"fieldId": item.field.id, "sortOrder": "Desc" if item.descending else "Asc"}
                for item in scan.sort
            ]
        requested = [item for item in scan.fields if item.column not in RETURNED_COLUMNS]
        if requested:
            body["fields"] = [{"id": item.id} for item in requested]
        return Request("POST", f"/domains/{quote(self.domain_id, safe='')}/cases-search", body)

    def command(self, request: Request) -> str:
        """Return the request as a command of the AWS CLI."""
        body = json.dumps({"domainId": self.domain_id, **(request.body or {})}, ensure_ascii=False)
        # Without --no-paginate the CLI reads every page, and the quota is shared with production.
        options = ["--no-paginate", "--region", self.region_name]
        if self._endpoint_url is not None:
            options += ["--endpoint-url", self._endpoint_url]
        call = ["aws", "connectcases", "search-cases", *options, "--cli-input-json", body]
        return shlex.join(call)

    def read_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        """Request one page.

        Raise ServiceError if no attempt is left: the error of the last one.
        """
        try:
            page = super().read_page(scan, cursor, context)
        except errors.InvalidRequestError as error:
            may_be_page_size = not self._page_size_accepted and self.page_size > _OLD_PAGE_SIZE
            if not may_be_page_size or error.status != HTTPStatus.BAD_REQUEST:
                raise
            page = self._read_smaller_page(scan, context)
        self._page_size_accepted = True
        return page

    def _read_smaller_page(self, scan: Scan, context: ReadContext) -> Page:
        previous, self.page_size = self.page_size, _OLD_PAGE_SIZE
        try:
            return super().read_page(scan, None, context)
        except errors.InvalidRequestError:
            self.page_size = previous  # the size was not the reason
            raise

    def count(self, scan: Scan, context: ReadContext) -> int:
        """Return ``totalCount``, with the smallest page."""
        scan = replace(scan, fields=(), sort=())
        body = {**(self.request(scan).body or {}), "maxResults": 1}
        page = send_with_retry(
            lambda: self._search(body, scan, context), self.rate_limiter, context
        )
        total = page.total
        if total is None:
            raise errors.InvalidResponseError(
                "the service returned no totalCount; read the cases to count them"
            )
        return total

    def _request_page(self, scan: Scan, cursor: str | None, context: ReadContext) -> Page:
        return self._search(self.request(scan, cursor).body or {}, scan, context)

    def _search(self, body: Mapping[str, Any], scan: Scan, context: ReadContext) -> Page:
        page, headers = self.connection.read(
            "SearchCases", body, lambda response: self.page(response, scan), context
        )
        page.served_at = parse_date_header(headers)
        return page

    def page(self, response: bytes | dict[str, Any], scan: Scan) -> Page:
        """Return the page in a body, or in what botocore parsed of it."""
        if isinstance(response, bytes):
            return codec.decode_page(response, scan.fields, self._templates)
        return codec.decode_parsed(response, scan.fields, self._templates)

    def related(self, kinds: tuple[str, ...]) -> PerCaseListing:
        """Return the listing of related items."""
        return related_listing(self._related_requests("SearchRelatedItems"), kinds)

    def events(self) -> PerCaseListing:
        """Return the listing of the audit history."""
        return history_listing(self._related_requests("GetCaseAuditEvents"))

    def _related_requests(self, operation: str) -> RelatedRequests:
        return RelatedRequests(
            self.connection,
            # Each operation has a quota of its own: that of SearchCases, 2 per second, burst 10.
            self._rate_limiter_of(operation, self.rate, self.burst),
            lambda field_id: self._columns_by_id.get(field_id, field_id),
        )

    @cached_property
    def _columns_by_id(self) -> dict[str, str]:
        return {item.id: item.column for item in self.schema.fields}
