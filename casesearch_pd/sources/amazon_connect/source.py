"""Amazon Connect Cases as a source: a scan in, pages out, through boto3.

boto3 signs, finds credentials and endpoints and keeps the connections. Its retries are off,
because one budget paces everything here, and its parser is passed by through its own
``before-parse`` event: botocore takes a broken 200 for an empty success and loses a whole
page to one null value (both measured), and costs twenty times the decoding. Should a version
of botocore not call the handler, its parsed answer is used.
"""

from __future__ import annotations

import json
import math
import shlex
import threading
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import quote

import boto3
import botocore
import botocore.exceptions as boto_errors
from botocore import xform_name
from botocore.config import Config

from casesearch_pd import errors
from casesearch_pd.query.expressions import Compare, Expression, all_of, literals
from casesearch_pd.query.pushdown import Pushdown, PushdownSupport, push_down
from casesearch_pd.query.schema import Field, Option, Schema
from casesearch_pd.sources.amazon_connect import codec as wire
from casesearch_pd.sources.amazon_connect import related as around
from casesearch_pd.sources.amazon_connect.capabilities import check_profile, pushdown_support
from casesearch_pd.sources.amazon_connect.errors import (
    FAILURES,
    invalid_response,
    no_client,
    not_signed,
    translate_error,
)
from casesearch_pd.sources.amazon_connect.schema import FREE, discover_schema
from casesearch_pd.sources.base import Page, PerCaseListing, Request, Scan, merge_assumptions
from casesearch_pd.sources.transport.context import ReadContext
from casesearch_pd.sources.transport.rate_limit import RateLimiter, rate_limiter_for
from casesearch_pd.sources.transport.retry import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    TransientError,
    send_with_retry,
)
from casesearch_pd.sources.transport.timestamps import served_at
from casesearch_pd.sources.transport.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ConnectCases"]

_Told = TypeVar("_Told")

# Quotas: "Amazon Connect service quotas", administrator guide: SearchCases 2 a second, burst
# 10; ListFields and ListTemplates 2 and 5; ListFieldOptions 6 and 16. The account and region
# share them with production, so four fifths are used.
_SHARE = 0.8
_SEARCH_QUOTA = 2.0


@dataclass(frozen=True, slots=True)
class _Listing:
    """One list of discovery: its operation and member, the texts of each item, its quota."""

    operation: str
    member: str
    keys: tuple[str, ...]
    rate: float
    burst: float


_FIELD_LIST = _Listing(
    "list_fields", "fields", ("fieldId", "name", "type", "namespace"), rate=2.0, burst=5.0
)
_TEMPLATE_LIST = _Listing(
    "list_templates", "templates", ("templateId", "name"), rate=2.0, burst=5.0
)
_OPTION_LIST = _Listing("list_field_options", "options", ("value", "name"), rate=6.0, burst=16.0)

_EMPTY = {"SearchCases": b'{"cases":[]}', **around.MAX_EMPTY_PAGES}

_FIELDS = 25  # fields in one request (service model)
_OLD_PAGE = 25  # cases in one request before 2025


# --- configuration -----------------------------------------------------------------------


class ConnectCases:
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
        A `boto3.Session`, for credentials of your own making.
    endpoint_url
        Another address that speaks the same wire.
    rate
        Requests a second; None uses 80 % of the documented quota of 2, `math.inf` never waits.
    burst
        Requests that may go at once after a pause.
    page_size
        Cases a request, 1 to 100. A service that refuses a first page of 100 is asked once
        more with 25.
    schema
        A schema read earlier, to save the discovery requests.
    assume
        What is known of this service beyond its documentation, by name (see `ASSUME`).

    Raises
    ------
    NotFoundError
        If no region is known.
    AccessDeniedError
        If the profile does not exist.

    Notes
    -----
    SearchCases returns 100 cases and 25 fields a request, so a read costs
    ``ceil(cases / 100)`` requests for every 25 fields.
    """

    name: ClassVar[str] = "connect"
    can_count: ClassVar[bool] = True
    can_search: ClassVar[bool] = True
    max_sorts: ClassVar[int] = 2
    lookback: ClassVar[float] = 300.0

    ASSUME: ClassVar[dict[str, bool]] = {"empty_filter": False}
    """Unconfirmed facts, on the safe side. ``empty_filter``: whether ``equalTo`` with an
    ``emptyValue`` finds the cases without a value; if not, they are found locally."""

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
    ) -> None:
        if not isinstance(domain_id, str) or not domain_id.strip():
            raise errors.FilterError(
                f"domain_id={domain_id!r} is no domain; `aws connectcases list-domains` shows yours"
            )
        if not 1 <= page_size <= 100:  # noqa: PLR2004 - the documented limit
            raise errors.FilterError(f"page_size={page_size!r} is outside 1 to 100")
        self.domain_id = domain_id
        self.page_size = page_size
        self.assume = merge_assumptions(self.ASSUME, assume)
        self._given = schema
        self._endpoint_url = endpoint_url
        self._rate = _SEARCH_QUOTA * _SHARE if rate is None else rate
        self._burst = burst
        RateLimiter(self._rate, burst)  # an impossible rate is an error now
        self._open(boto3_session, region_name)

    def _open(self, session: boto3.Session | None, region: str | None) -> None:
        self.client = _client(session, region, self._endpoint_url)
        self._sized = False  # whether the service is known to take pages of this size
        self._bodies = threading.local()
        self.client.meta.events.register("before-parse.connectcases", self._before_parse)
        self._profile = None if session is None else session.profile_name

    def __repr__(self) -> str:
        """Name the domain and region; nothing secret is in it."""
        return f"ConnectCases({self.domain_id!r}, region_name={self.region_name!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the credentials behind: a copy elsewhere finds its own, by the same profile."""
        lost = {"client", "_bodies", "budget"}
        kept = {name: value for name, value in self.__dict__.items() if name not in lost}
        return {**kept, "region": self.region_name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a client of its own."""
        region, profile = state.pop("region"), state["_profile"]
        self.__dict__.update(state)
        # boto3 calls it "default" where no profile was named; there need not be one.
        self._open(
            None if profile in {None, "default"} else boto3.Session(profile_name=profile), region
        )

    @property
    def region_name(self) -> str:
        """The AWS region."""
        return str(self.client.meta.region_name)

    @property
    def rate(self) -> float:
        """Searches a second."""
        return self._rate

    @property
    def burst(self) -> float:
        """Searches that may go at once after a pause."""
        return self._burst

    def describe(self) -> dict[str, Any]:
        """Tell domain, region and endpoint."""
        return {
            "service": self.name,
            "domain_id": self.domain_id,
            "region": self.region_name,
            "endpoint_url": self.client.meta.endpoint_url,
        }

    @cached_property
    def budget(self) -> RateLimiter:
        """The request budget that every source of this account and region shares."""
        return self._budget_for("search", self._rate, self._burst)

    def _budget_for(self, quota: str, rate: float, burst: float) -> RateLimiter:
        # The account is not known without another service; the access key stands for it.
        credentials = self.client._request_signer._credentials  # noqa: SLF001 - boto3 has no public way
        try:
            key = getattr(credentials, "access_key", None)
        except (boto_errors.BotoCoreError, boto_errors.ClientError) as error:  # it renews them
            raise not_signed(error) from error
        return rate_limiter_for((self.client.meta.endpoint_url, key, quota), rate=rate, burst=burst)

    # --- the fields -----------------------------------------------------------------------

    @cached_property
    def schema(self) -> Schema:
        """The fields of the domain: ListFields, with options and templates, asked once."""
        if self._given is not None:
            return self._given
        templates = self._list(_TEMPLATE_LIST)
        return discover_schema(
            self._list(_FIELD_LIST),
            [(item["templateId"], item["name"]) for item in templates],
            self._options,
        )

    def _options(self, field_id: str) -> tuple[Option, ...]:
        listed = self._list(_OPTION_LIST, fieldId=field_id)
        return tuple(
            Option(item["value"], item["name"], item.get("active", True)) for item in listed
        )

    @cached_property
    def _templates(self) -> dict[str, str]:
        return {option.value: option.label for option in self.schema.resolve("template_id").options}

    def _list(self, listing: _Listing, **named: str) -> list[dict[str, Any]]:
        unpaced = math.isinf(self._rate)
        rate, burst = (math.inf, 1.0) if unpaced else (listing.rate * _SHARE, listing.burst)
        budget = self._budget_for(listing.operation, rate, burst)
        found: list[dict[str, Any]] = []
        token, seen = "", {""}
        while True:
            asked = {"domainId": self.domain_id, "maxResults": 100, **named}
            asked |= {"nextToken": token} if token else {}
            answer = send_with_retry(
                partial(self._listed, listing, asked), budget, ReadContext.for_discovery()
            )
            found += answer[listing.member]
            token = answer.get("nextToken") or ""
            if not token:
                return found
            if token in seen:
                raise invalid_response(
                    f"{listing.operation} goes in a circle", answer["ResponseMetadata"]
                )
            seen.add(token)

    def _listed(self, listing: _Listing, asked: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._call(listing.operation, asked)
        items = answer.get(listing.member)  # boto3 takes a broken 200 for an empty one
        if items is None or not all(_names(item, listing.keys) for item in items):
            why = f"{listing.operation} without {listing.member}: {', '.join(listing.keys)}"
            raise TransientError(invalid_response(why, answer["ResponseMetadata"]))
        return answer

    # --- judging --------------------------------------------------------------------------

    def push_down(self, where: Expression) -> Pushdown:
        """Divide a filter: what SearchCases can compare is pushed.

        Raises
        ------
        FilterError
            If ``customer_id`` is compared with something that is no profile ARN.
        """
        for literal in literals(where):
            check_profile(literal)
        return push_down(where, self.pushdown_support)

    def pushdown_support(self, literal: Compare) -> PushdownSupport:
        """Say how well SearchCases answers one comparison."""
        return pushdown_support(literal, self.assume)

    def with_bound(self, where: Expression, bound: Expression) -> Expression:
        """Add a bound to a pushed filter: filters nest as deep as they need."""
        return all_of([where, bound])

    def column_batches(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Deal the fields to requests of 25, each with what tells its place and its version.

        A row that tells when it was updated saves the question whether any was meanwhile.
        """
        wanted = [item for item in fields if item.column not in FREE]
        known = [self.schema.find(name) for name in ("created_at", "updated_at")]
        anchors = [item for item in known if item is not None]
        for first in (anchors, anchors[:1]):
            if len({*wanted, *first}) <= _FIELDS:
                return [tuple(dict.fromkeys([*first, *wanted]))]
        others = [item for item in wanted if item not in anchors]
        room = _FIELDS - len(anchors)
        return [(*anchors, *others[at : at + room]) for at in range(0, len(others), room)]

    def can_sort_by(self, field: Field) -> bool:
        """Tell whether SearchCases can sort by the field: by any that the domain lists."""
        return field.column not in FREE or field.id == "case_id"

    # --- asking ---------------------------------------------------------------------------

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Write the SearchCases request for one page."""
        body: dict[str, Any] = {"maxResults": self.page_size}
        if cursor is not None:
            body["nextToken"] = cursor
        if scan.search is not None:
            body["searchTerm"] = scan.search
        if not scan.is_unfiltered:
            body["filter"] = wire.to_filter(scan.where)
        if scan.sort:
            body["sorts"] = [
                {"fieldId": item.field.id, "sortOrder": "Desc" if item.descending else "Asc"}
                for item in scan.sort
            ]
        if named := [{"id": item.id} for item in scan.fields if item.column not in FREE]:
            body["fields"] = named
        return Request("POST", f"/domains/{quote(self.domain_id, safe='')}/cases-search", body)

    def command(self, request: Request) -> str:
        """Write the request for the aws CLI."""
        body = json.dumps({"domainId": self.domain_id, **(request.body or {})}, ensure_ascii=False)
        # Left to itself the CLI follows every page, and the quota is shared with production.
        where = ["--no-paginate", "--region", self.region_name]
        if self._endpoint_url is not None:
            where += ["--endpoint-url", self._endpoint_url]
        return shlex.join(["aws", "connectcases", "search-cases", *where, "--cli-input-json", body])

    def read_page(self, scan: Scan, cursor: str | None, run: ReadContext) -> Page:
        """Ask for one page.

        Raises
        ------
        ServiceError
            What the service answered, once patience is at an end.
        """
        try:
            page = send_with_retry(lambda: self._ask(scan, cursor), self.budget, run)
        except errors.InvalidRequestError as error:
            if self._sized or self.page_size <= _OLD_PAGE or error.status != 400:  # noqa: PLR2004
                raise
            page = self._small_page(scan, run)
        self._sized = True
        return page

    def _small_page(self, scan: Scan, run: ReadContext) -> Page:
        asked, self.page_size = self.page_size, _OLD_PAGE
        try:
            return send_with_retry(lambda: self._ask(scan, None), self.budget, run)
        except errors.InvalidRequestError:
            self.page_size = asked  # it was not the size
            raise

    def count(self, scan: Scan, run: ReadContext) -> int:
        """Ask for ``totalCount`` with the smallest page."""
        scan = replace(scan, fields=(), sort=())
        total = send_with_retry(lambda: self._ask(scan, None, size=1), self.budget, run).total
        if total is None:
            raise errors.InvalidResponseError(
                "the service answered without totalCount; read the cases to count them"
            )
        return total

    def _ask(self, scan: Scan, cursor: str | None, size: int | None = None) -> Page:
        body = dict(self.request(scan, cursor).body or {})
        if size is not None:
            body["maxResults"] = size
        answer, headers = self._told(
            "SearchCases", body, lambda told: self._answer(told, scan.fields)
        )
        return Page(
            answer.rows,
            answer.columns,
            answer.cursor,
            answer.total,
            served_at(headers),
            invalid=answer.invalid,
        )

    def _answer(self, told: bytes | dict[str, Any], fields: Sequence[Field]) -> wire.DecodedPage:
        if isinstance(told, bytes):
            return wire.decode_page(told, fields, self._templates)
        return wire.read_parsed(told, fields, self._templates)

    def _told(
        self, operation: str, asked: dict[str, Any], read: Callable[[Any], _Told]
    ) -> tuple[_Told, Mapping[str, str]]:
        """Ask, and read the body, or, where this botocore calls no handler, its parsed answer."""
        self._bodies.last = None
        parsed = self._call(xform_name(operation), {"domainId": self.domain_id, **asked})
        headers = parsed["ResponseMetadata"]["HTTPHeaders"]
        body: bytes | None = self._bodies.last
        try:
            if body is not None:
                _check_length(body, headers)
            return read(parsed if body is None else body), headers
        except (ValueError, RecursionError) as error:
            raise TransientError(invalid_response(error, parsed["ResponseMetadata"])) from error

    def _before_parse(self, response_dict: dict[str, Any], event_name: str, **_: object) -> None:
        """Take a page aside and leave an empty one to the stock parser."""
        empty = _EMPTY.get(event_name.rpartition(".")[2])
        if empty is not None and response_dict["status_code"] == 200:  # noqa: PLR2004 - errors stay botocore's
            self._bodies.last = response_dict["body"]
            response_dict["body"] = empty
        elif not _parsable(response_dict["body"]):
            response_dict["body"] = b""

    # --- what there is around a case --------------------------------------------------------

    kinds: ClassVar[tuple[str, ...]] = around.KINDS

    def related(self, kinds: tuple[str, ...]) -> PerCaseListing:
        """List the related items of a case."""
        return around.related(self._desk, kinds)

    def events(self) -> PerCaseListing:
        """List the audit history of a case."""
        return around.events(self._desk)

    @property
    def _desk(self) -> around.RelatedClient:
        return around.RelatedClient(
            self._told,
            # Their quotas are those of SearchCases, each for itself: 2 a second, burst 10.
            lambda operation: self._budget_for(operation, self._rate, self._burst),
            lambda name: self._columns.get(name, name),
        )

    @cached_property
    def _columns(self) -> dict[str, str]:
        return {item.id: item.column for item in self.schema.fields}

    # --- errors ---------------------------------------------------------------------------

    def _call(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return getattr(self.client, operation)(**asked)  # type: ignore[no-any-return]
        except FAILURES as error:
            raise translate_error(error, self.domain_id, self.client.meta) from error


def _names(item: Mapping[str, Any] | None, keys: Sequence[str]) -> bool:
    return item is not None and all(isinstance(item.get(key), str) for key in keys)


def _check_length(body: bytes, headers: Mapping[str, str]) -> None:
    length = headers.get("content-length")
    if length is not None and length.isdigit() and int(length) != len(body):
        raise ValueError(f"the body ends after {len(body)} of {length} bytes")


def _parsable(body: bytes) -> bool:
    """Tell whether botocore's parser survives a body: it takes any JSON for an object."""
    try:
        return isinstance(json.loads(body), dict)
    except json.JSONDecodeError:
        return True  # it takes such a body for the words of an error
    except (ValueError, RecursionError):
        return False


def _client(session: boto3.Session | None, region: str | None, endpoint: str | None) -> Any:
    agent = f"casesearch_pd Boto3/{boto3.__version__} Botocore/{botocore.__version__}"
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},  # the budget retries
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=32,
        proxies={} if endpoint is not None and is_loopback(endpoint) else None,
        user_agent=agent,  # made once; botocore would make it at every call
        # Every request comes from one place, whose every shape the tests hold to the service
        # model; checking each again costs a twentieth of a page.
        parameter_validation=False,
    )
    try:
        maker = session or boto3.Session()
        return maker.client(
            "connectcases", region_name=region, endpoint_url=endpoint, config=config
        )
    except (boto_errors.BotoCoreError, ValueError) as error:
        raise no_client(error) from error
