"""Persona cases as a source: a scan in, pages out, through requests.

The token goes to the configured origin and nowhere else: redirects are refused, and a next
link that leads to another scheme, host or port is an error. Every request pins the version
and the key inflection, because a key's own defaults would change the answers; none bears an
``Idempotency-Key``, which would replay a day-old answer.
"""

from __future__ import annotations

import json
import os
import shlex
from functools import cached_property, partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from casesearch_pd import errors
from casesearch_pd.query.expr import Compare, Expression, literals
from casesearch_pd.query.pushdown import Split, Verdict, split
from casesearch_pd.sources import persona_wire as wire
from casesearch_pd.sources.contract import Page, Request, Scan, assumed
from casesearch_pd.sources.moments import served_at
from casesearch_pd.sources.pace import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    Budget,
    Run,
    Trouble,
    budget_for,
    patiently,
    retry_after,
)
from casesearch_pd.sources.persona_fields import TAKEN, schema_of
from casesearch_pd.sources.persona_judge import (
    SORTED,
    by_id,
    ids_of,
    judge,
    judge_listed,
    legal,
    legal_listed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from casesearch_pd.query.schema import Field, Schema

__all__ = ["PersonaCases"]

# "Rate limiting", Persona's documentation: 300 requests a minute for a whole environment;
# four fifths are used, and a fifth of the window is always left to others.
_QUOTA = 300 / 60
_SHARE = 0.8
_BURST = 10.0

_PAGE = 100  # cases in one request (OpenAPI description)
_TOKEN = "PERSONA_API_KEY"  # noqa: S105 - the name of a variable, not a token


# --- configuration -----------------------------------------------------------------------


class PersonaCases:
    """Cases of one Persona environment.

    Parameters
    ----------
    token
        An API key, or a function that returns one; None reads ``PERSONA_API_KEY``.
    base_url
        The address of the API, with its version path.
    version
        The ``Persona-Version`` to pin.
    rate
        Requests a second; None uses 80 % of the documented 300 a minute and leaves a fifth
        of every window to others, `math.inf` never waits.
    templates
        Ids of case templates whose fields are wanted, since Persona cannot list them.
    fresh
        Read the List endpoint, which shows a write at once; search lags by about a minute.
        Filters that it cannot take are applied here.
    schema
        A schema read earlier, to save the discovery requests.
    assume
        What is known of this service beyond its documentation, by name (see `ASSUME`).

    Raises
    ------
    AccessDeniedError
        If there is no token, or it would travel in clear text.

    Notes
    -----
    A search returns 100 cases a request and no total.
    """

    name: ClassVar[str] = "persona"
    counts: ClassVar[bool] = False
    searches: ClassVar[bool] = False
    sorts: ClassVar[int] = 1
    page_size: ClassVar[int] = _PAGE

    ASSUME: ClassVar[dict[str, bool]] = {"exact_text": False}
    """Unconfirmed facts, on the safe side. ``exact_text``: whether ``eq`` on text minds
    letter case; if not, its answer is checked again here and its negation is not pushed."""

    def __init__(
        self,
        *,
        token: str | Callable[[], str] | None = None,
        base_url: str = "https://api.withpersona.com/api/v1",
        version: str = "2025-12-08",
        rate: float | None = None,
        templates: Iterable[str] = (),
        fresh: bool = False,
        schema: Schema | None = None,
        assume: Mapping[str, bool] | None = None,
    ) -> None:
        self.base_url = _checked(base_url)
        self.version = version
        self.templates = (templates,) if isinstance(templates, str) else tuple(templates)
        self.fresh = fresh
        self.assume = assumed(self.ASSUME, assume)
        self._token = _Bearer(token)
        self._given = schema
        self._rate = rate
        self._budget()  # an impossible rate is an error now

    def __repr__(self) -> str:
        """Name the address; nothing secret is in it."""
        return f"PersonaCases(base_url={self.base_url!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the token behind: a copy elsewhere finds its own in the environment."""
        lost = {"_token", "_session", "_local"}
        return {name: value for name, value in self.__dict__.items() if name not in lost}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the token from the environment."""
        self.__dict__.update(state, _token=_Bearer(None))

    @property
    def rate(self) -> float:
        """Requests a second."""
        return _QUOTA * _SHARE if self._rate is None else self._rate

    @property
    def burst(self) -> float:
        """Requests that may go at once after a pause."""
        return _BURST if self._rate is None else 1.0

    def describe(self) -> dict[str, Any]:
        """Tell address and version."""
        return {
            "service": self.name,
            "base_url": self.base_url,
            "version": self.version,
            "fresh": self.fresh,
        }

    def _budget(self) -> Budget:
        key = (urlsplit(self.base_url).netloc, self._token.mark())
        if self._rate is None:
            return budget_for((*key, "quota"), rate=_QUOTA * _SHARE, burst=_BURST)
        return budget_for((*key, "given"), rate=self._rate, burst=1.0)

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=32)  # one connection a reader; nothing is retried here
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        session.headers.update(_headers(self.version))
        return session

    # --- the fields -----------------------------------------------------------------------

    @cached_property
    def schema(self) -> Schema:
        """The fields: what one newest page shows, and what its templates and `templates` tell."""
        if self._given is not None:
            return self._given
        request = Request("GET", f"{self._root}/cases", query=(("page[size]", str(_PAGE)),))
        page, shown = patiently(partial(self._newest, request), self._budget(), Run())
        names = dict.fromkeys((*self.templates, *page.templates))
        told = [self._template(name) for name in names]
        return schema_of([item for item in told if item is not None], page, shown)

    def _newest(self, request: Request) -> tuple[wire.Answer, frozenset[str]]:
        response = self._send(request)
        answer = self._decoded(response, wire.Known({}, {}, TAKEN), ())
        return answer, wire.shown(response.content)

    def _template(self, name: str) -> dict[str, Any] | None:
        try:
            answer = self._get(
                Request("GET", f"{self._root}/case-templates/{quote(name, safe='')}")
            )
        except (errors.AccessDeniedError, errors.NotFoundError):
            if name in self.templates:  # the user asked for it
                raise
            return None  # its fields are known as far as the cases show them
        return dict(answer.json()["data"])

    @cached_property
    def _known(self) -> wire.Known:
        custom = {
            item.id.removeprefix("fields."): item
            for item in self.schema.fields
            if item.namespace == "custom"
        }
        template = self.schema.find("template_id")
        names = {option.value: option.label for option in template.options} if template else {}
        return wire.Known(custom, names, TAKEN)

    # --- judging --------------------------------------------------------------------------

    def split(self, where: Expression) -> Split:
        """Divide a filter: what search can compare is pushed, within depth 2 and 20 clauses."""
        one_by_one = by_id(where, self.judge)
        if one_by_one is not None:
            return one_by_one
        return (legal_listed if self.fresh else legal)(split(where, self.judge), self.judge)

    def judge(self, literal: Compare) -> Verdict:
        """Say how well search, or List, answers one comparison."""
        return judge_listed(literal) if self.fresh else judge(literal, self.assume)

    def passes(self, fields: tuple[Field, ...]) -> list[tuple[Field, ...]]:
        """Ask once: for all there is, or for the named fields and what a restart needs."""
        if set(self.schema.active) <= set(fields):
            return [()]
        created = self.schema.resolve("created_at")
        return [tuple(dict.fromkeys([created, *fields]))]

    def sortable(self, field: Field) -> bool:
        """Tell whether search can sort by the field."""
        return field.id in SORTED and not self.fresh

    # --- asking ---------------------------------------------------------------------------

    @property
    def _root(self) -> str:
        return urlsplit(self.base_url).path

    def request(self, scan: Scan, cursor: str | None = None) -> Request:
        """Write the request for one page; a cursor is the next link, followed as it stands."""
        ids = ids_of(scan.where)
        query = _fieldset(scan)
        if ids:
            return Request(
                "GET", f"{self._root}/cases/{quote(ids[int(cursor or 0)], safe='')}", query=query
            )
        path, pairs = f"{self._root}/cases" if self.fresh else f"{self._root}/cases/search", query
        if cursor is not None:
            link = urlsplit(cursor)
            told = tuple(parse_qsl(link.query, keep_blank_values=True))
            # The link keeps what pages; the fieldset must be said again where it does not.
            pairs = (*told, *(pair for pair in query if pair[0] not in dict(told)))
        if self.fresh:
            return Request(
                "GET",
                path,
                query=pairs if cursor is not None else (*_listed_by(scan.where), *pairs),
            )
        return Request("POST", path, _body(scan), pairs)

    def command(self, request: Request) -> str:
        """Write the request for curl; the token comes from the environment."""
        headers = {**_headers(self.version), "Content-Type": "application/json"}
        said = [part for name, text in headers.items() for part in ("-H", f"{name}: {text}")]
        body = [] if request.body is None else ["-d", json.dumps(request.body, ensure_ascii=False)]
        call = shlex.join(["curl", "-X", request.method, self._url(request), *said, *body])
        return f'{call} -H "Authorization: Bearer ${_TOKEN}"'

    def page(self, scan: Scan, cursor: str | None, run: Run) -> Page:
        """Ask for one page.

        Raises
        ------
        ServiceError
            What the service answered, once patience is at an end.
        FilterError
            If the service refuses a custom field that may not be searchable.
        """
        if ids_of(scan.where):
            return self._one_case(scan, int(cursor or 0), run)
        try:
            return patiently(lambda: self._ask(scan, cursor), self._budget(), run)
        except errors.RefusedError as error:
            raise _unsearchable(error, scan) or error from error

    def count(self, scan: Scan, run: Run) -> int:
        """Persona tells no totals."""
        raise NotImplementedError

    def _one_case(self, scan: Scan, at: int, run: Run) -> Page:
        ids = ids_of(scan.where)
        following = str(at + 1) if at + 1 < len(ids) else None
        try:
            page = patiently(lambda: self._ask(scan, str(at)), self._budget(), run)
        except errors.NotFoundError:
            page = Page(0, {}, None, None, served_at({}))
        page.cursor = following
        return page

    def _ask(self, scan: Scan, cursor: str | None) -> Page:
        request = self.request(scan, cursor)
        response = self._send(request)
        answer = self._decoded(response, self._known, scan.fields)
        if not answer.linked and answer.rows == _PAGE:
            raise Trouble(_bad_answer("a full page without a next link", response))
        following = None if answer.next is None else self._pinned(answer.next, request)
        return Page(
            answer.rows,
            answer.columns,
            following,
            None,
            served_at(response.headers),
            found=answer.found,
        )

    def _decoded(
        self, response: requests.Response, known: wire.Known, fields: tuple[Field, ...]
    ) -> wire.Answer:
        try:
            return wire.decode(response.content, known, fields)
        except (ValueError, RecursionError) as error:
            raise Trouble(_bad_answer(error, response)) from error

    def _pinned(self, link: str, asked: Request) -> str:
        """Take a next link only if it leads to where the token belongs."""
        base, target = urlsplit(self.base_url), urlsplit(urljoin(self.base_url + "/", link))
        if (target.scheme, target.netloc, target.path) != (base.scheme, base.netloc, asked.path):
            raise errors.BadAnswerError(
                f"the next page is said to be at {target.scheme}://{target.hostname}{target.path}, "
                f"not at {base.netloc}{asked.path}; the token is not sent there"
            )
        return f"{target.path}?{target.query}"

    # --- errors ---------------------------------------------------------------------------

    def _get(self, request: Request) -> requests.Response:
        return patiently(lambda: self._send(request), self._budget(), Run())

    def _send(self, request: Request) -> requests.Response:
        try:
            response = self._session.request(
                request.method,
                self._url(request),
                json=request.body,
                auth=self._token,
                allow_redirects=False,  # a redirected POST becomes a GET or goes abroad
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            )
        except requests.RequestException as error:
            raise Trouble(self._unreachable(error)) from None  # the cause would carry the token
        self._learn(response)
        if response.status_code == 200:  # noqa: PLR2004
            return response
        raise self._from_service(response)

    def _url(self, request: Request) -> str:
        base = urlsplit(self.base_url)
        url = f"{base.scheme}://{base.netloc}{request.path}"
        return f"{url}?{urlencode(request.query)}" if request.query else url

    def _learn(self, response: requests.Response) -> None:
        """Leave a fifth of the window to others, unless the user named a rate."""
        if self._rate is not None:
            return
        told = [
            response.headers.get(f"RateLimit-{name}", "")
            for name in ("Limit", "Remaining", "Reset")
        ]
        if all(text.isdigit() for text in told):
            limit, remaining, reset = map(int, told)
            if remaining <= limit * (1 - _SHARE):
                self._budget().close_for(reset)

    def _from_service(self, response: requests.Response) -> Exception:
        status, words = response.status_code, self._token.hidden(_words(response))
        facts: dict[str, Any] = {
            "status": status,
            "code": words.partition(":")[0],
            "request_id": response.headers.get("Request-Id"),
        }
        if status == 429:  # noqa: PLR2004
            wait = retry_after(
                response.headers.get("Retry-After") or response.headers.get("RateLimit-Reset")
            )
            error = errors.ThrottledError(
                f"the service is throttling ({words}); pass a lower rate=", **facts
            )
            return Trouble(error, throttled=True, wait=wait)
        if status in {408, 409} or status >= 500:  # noqa: PLR2004
            return Trouble(
                errors.UnreachableError(f"the service fails ({words}); try again later", **facts)
            )
        if status in {401, 403}:
            return errors.AccessDeniedError(
                f"the service denies access ({words}); set {_TOKEN} to a key of this "
                "environment that may read cases",
                **facts,
            )
        if status == 404:  # noqa: PLR2004
            return errors.NotFoundError(
                f"nothing at {self.base_url} ({words}); check base_url= and templates=", **facts
            )
        if status < 400:  # noqa: PLR2004
            return errors.NotFoundError(
                f"{self.base_url} redirects elsewhere ({status}), and the token is not sent there; "
                "check base_url=",
                **facts,
            )
        return errors.RefusedError(f"the service refuses the request ({words})", **facts)

    def _unreachable(self, error: requests.RequestException) -> errors.ServiceError:
        why = self._token.hidden(f"{type(error).__name__}: {error}")
        return errors.UnreachableError(
            f"no answer from {self.base_url} ({why}); check the network, a proxy, or base_url="
        )


class _Bearer(AuthBase):
    """The token, put on each request; an auth object, because ``~/.netrc`` overrules a header."""

    def __init__(self, token: str | Callable[[], str] | None) -> None:
        self._source = token
        self()  # a missing token is an error now, not in the first request

    def __repr__(self) -> str:
        return "<token>"

    def __call__(self, request: requests.PreparedRequest | None = None) -> Any:
        """Sign one request; without one, only look whether there is a token."""
        if request is None:
            return self._value()
        request.headers["Authorization"] = f"Bearer {self._value()}"
        return request

    def _value(self) -> str:
        token = (
            self._source() if callable(self._source) else self._source or os.environ.get(_TOKEN, "")
        )
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            state = "missing" if not token else "not one line of plain characters"
            raise errors.AccessDeniedError(
                f"the Persona token is {state}; set {_TOKEN}, or pass token="
            )
        return token

    def mark(self) -> int:
        """Tell tokens apart without showing one."""
        return hash(self._value())

    def hidden(self, text: str) -> str:
        """Take the token out of a text that a service wrote."""
        return text.replace(self._value(), "<token>")


def _headers(version: str) -> dict[str, str]:
    """Say what a key's own defaults would change otherwise."""
    return {"Key-Inflection": "kebab", "Persona-Version": version, "Accept": "application/json"}


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        shown = parts._replace(netloc=parts.hostname or "", query="").geturl()
        raise errors.NotFoundError(
            f"base_url={shown!r} is no address; write 'https://api.withpersona.com/api/v1'"
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise errors.AccessDeniedError(
            f"the token would travel to {parts.hostname} in clear text; use https://"
        )
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- one request ---------------------------------------------------------------------------


def _body(scan: Scan) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if not scan.everything:
        body["query"] = wire.to_query(scan.where)
    if scan.sort:
        (sort,) = scan.sort
        attribute = sort.field.id.replace("-", "_")
        body["sort"] = {"attribute": attribute, "direction": "desc" if sort.descending else "asc"}
    body["page"] = {"size": _PAGE}
    return body


def _listed_by(where: Expression) -> tuple[tuple[str, str], ...]:
    names = {"status": "filter[status]", "case-template": "filter[case-template-id]"}
    size = ("page[size]", str(_PAGE))
    return (*((names[item.target.id], item.value) for item in literals(where)), size)


def _fieldset(scan: Scan) -> tuple[tuple[str, str], ...]:
    names = [
        ("case-template" if item.id == "template" else item.id)
        for item in scan.fields
        if item.id != "id"
    ]
    return (("fields[case]", ",".join(dict.fromkeys(names))),) if names else ()


# --- what went wrong --------------------------------------------------------------------------


def _words(response: requests.Response) -> str:
    """Find the service's own words: title and details of its errors, else the status line."""
    try:
        told = response.json()["errors"]
        parts = [
            ": ".join(str(item[k]) for k in ("title", "details") if item.get(k)) for item in told
        ]
        return "; ".join(parts) or f"status {response.status_code}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"status {response.status_code} {response.reason or ''}".strip()


def _unsearchable(error: errors.RefusedError, scan: Scan) -> errors.FilterError | None:
    asked = [item.target for item in literals(scan.where)] + [item.field for item in scan.sort]
    custom = dict.fromkeys(item.id for item in asked if item.namespace == "custom")
    if not custom or error.status not in {400, 422}:
        return None
    return errors.FilterError(
        f"the service refuses the filter ({error}); {', '.join(custom)} must be marked searchable "
        "on the case template"
    )


def _bad_answer(why: object, response: requests.Response) -> errors.BadAnswerError:
    return errors.BadAnswerError(
        f"the service answered {response.status_code} with what is no list of cases ({why}); "
        "a proxy between may have changed it",
        status=response.status_code,
        request_id=response.headers.get("Request-Id"),
    )
