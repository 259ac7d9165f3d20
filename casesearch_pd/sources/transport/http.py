"""HTTP through requests: one client per source, which keeps connections and protects the token.

A client sends to one origin and follows no redirect, so the token is sent nowhere else. If a
response repeats the token, it is replaced at once. Nothing is retried here.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict

from casesearch_pd.errors import AccessDeniedError, InvalidResponseError, ServiceUnavailableError
from casesearch_pd.sources.transport.body import MAX_RESPONSE_BYTES, parse_json, read_body
from casesearch_pd.sources.transport.interrupt import exchange, interruptible_pools
from casesearch_pd.sources.transport.retry import (
    ErrorAdvice,
    ErrorResponse,
    TransientError,
    permanent_error,
    transient_error,
)
from casesearch_pd.sources.transport.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from casesearch_pd.errors import ServiceError
    from casesearch_pd.sources.transport.context import ReadContext

__all__ = ["BearerToken", "HttpClient", "HttpResponse", "response_error"]

_BEARER = "Bearer "
_MIN_TIMEOUT = 0.001  # seconds; requests takes 0 for "no timeout"
_MAX_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response, without the token."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reason: str = ""

    @property
    def request_id(self) -> str | None:
        """The id that the service's support asks for, if there is one."""
        return self.headers.get("Request-Id") or self.headers.get("X-Request-Id")

    def json(self) -> Any:
        """Return the body as JSON values; raise ValueError if it is not JSON in UTF-8."""
        return parse_json(self.body)[0]


class BearerToken(AuthBase):
    """A token that signs each request; requests prefers it to an entry in ``~/.netrc``.

    Raise AccessDeniedError if there is no token.
    """

    def __init__(
        self, token: str | Callable[[], str] | None, *, variable: str, service: str
    ) -> None:
        self._token, self._variable, self._service = token, variable, service
        self.value()

    def __repr__(self) -> str:
        return "<token>"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign one request."""
        request.headers["Authorization"] = f"{_BEARER}{self.value()}"
        return request

    def value(self) -> str:
        """Return the token of the next request."""
        token = self._token() if callable(self._token) else self._token
        if token is None:
            token = os.environ.get(self._variable, "")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            problem = "missing" if not token else "not one word of ASCII characters"
            raise AccessDeniedError(
                f"the {self._service} token is {problem}; set {self._variable}, or pass token="
            )
        return token


class _Adapter(HTTPAdapter):
    """Connections whose requests end with the time limit of their read."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        _make_interruptible(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        _make_interruptible(manager)
        return manager


def _make_interruptible(manager: Any) -> None:
    manager.pool_classes_by_scheme = interruptible_pools(manager.pool_classes_by_scheme)


class HttpClient:
    """A client that sends requests to one base URL."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        auth: AuthBase | None = None,
        *,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self._base_url = base_url
        self._max_response_bytes = max_response_bytes
        self._origin = base_url.removesuffix(urlsplit(base_url).path)
        self._headers = headers
        self._auth = auth

    def url(self, path: str, query: Sequence[tuple[str, str]] = ()) -> str:
        """Return the whole address of a request."""
        return f"{self._origin}{path}?{urlencode(query)}" if query else f"{self._origin}{path}"

    def send(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]],
        body: Any,
        context: ReadContext,
    ) -> HttpResponse:
        """Send one request; return its response, whatever the status.

        Raise TransientError if there is no complete response, InvalidResponseError if it is too
        large.
        """
        request = self._prepare(method, self.url(path, query), body)
        token = str(request.headers.get("Authorization", "")).removeprefix(_BEARER)
        result: HttpResponse | None = None
        failure: Exception | None = None
        with exchange(context) as current:
            response = None
            try:
                response = self._session.send(
                    request,
                    allow_redirects=False,  # a redirected POST becomes a GET, or goes elsewhere
                    timeout=_timeouts(context),
                    stream=True,  # so that the body is read in large chunks
                )
                body = read_body(response.raw, response.headers, self._max_response_bytes)
                result = _without_token(response, body, token)
            except InvalidResponseError as error:
                failure = error  # it would be too large at the next attempt, too
            except (OSError, urllib3.exceptions.HTTPError, zlib.error) as error:
                failure = TransientError(self._connection_error(error, token))
            except Exception:
                if not current.over:  # urllib3 may stumble over the socket that was shut down
                    raise
            if failure is not None and response is not None:
                response.close()  # the rest of the body is on the connection
        # Raised outside of the handler, because the context of the exception holds the token.
        current.raise_if_over(self._base_url)
        if failure is not None:
            context.check_time(f"a response of {self._base_url}")
            raise failure
        assert result is not None  # without a failure
        return result

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        # The environment is evaluated once, because requests would do so for each request.
        # Requests to this machine do not go through a proxy.
        if not is_loopback(self._base_url):
            settings = session.merge_environment_settings(self._base_url, {}, None, None, None)
            session.proxies, session.verify = settings["proxies"], settings["verify"]
        session.trust_env = False
        adapter = _Adapter(pool_maxsize=_MAX_CONNECTIONS)  # one connection per worker
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        # What `read_body` can unpack.
        session.headers.update({"Accept-Encoding": "gzip, deflate", **self._headers})
        return session

    @cached_property
    def _template(self) -> requests.PreparedRequest:
        """What all requests have in common; merging it takes a quarter of a request's time."""
        return self._session.prepare_request(requests.Request("GET", self._base_url))

    def _prepare(self, method: str, url: str, body: Any) -> requests.PreparedRequest:
        request = self._template.copy()
        request.prepare_method(method)
        request.prepare_url(url, None)
        request.prepare_body(None, None, body)
        request.prepare_auth(self._auth)
        return request

    def _connection_error(self, error: Exception, token: str) -> ServiceError:
        reason = _redact(f"{type(error).__name__}: {error}", token)
        if isinstance(error, (urllib3.exceptions.ProtocolError, zlib.error)):
            return InvalidResponseError(
                f"the response of {self._base_url} is incomplete or cannot be decompressed "
                f"({reason}); a proxy in between may have changed it"
            )
        return ServiceUnavailableError(
            f"no response from {self._base_url} ({reason}); check the network, a proxy, or the "
            "address"
        )


def response_error(
    response: HttpResponse, base_url: str, *, variable: str = ""
) -> TransientError | ServiceError:
    """Return the error of a status other than 200, for services without an error format."""
    text = f"status {response.status} {response.reason}".strip()
    failure = ErrorResponse(response.status, str(response.status), response.request_id, text)
    credentials = f"set {variable}, or pass token=" if variable else "check the credentials"
    advice = ErrorAdvice(
        access_denied=credentials,
        not_found=f"check the address (now {base_url})",
        redirected=f"which is not followed; check the address (now {base_url})",
    )
    headers = response.headers
    return transient_error(failure, headers.get("Retry-After"), headers) or permanent_error(
        failure, advice
    )


def _timeouts(context: ReadContext) -> tuple[float, float]:
    """Return the seconds to wait for a connection and for data, within the read's time limit."""
    remaining = max(context.remaining(), _MIN_TIMEOUT)
    tuning = context.tuning
    return min(tuning.connect_timeout, remaining), min(tuning.read_timeout, remaining)


def _without_token(response: requests.Response, body: bytes, token: str) -> HttpResponse:
    headers: Mapping[str, str] = response.headers
    if token:
        headers = CaseInsensitiveDict(
            {name: _redact(value, token) for name, value in headers.items()}
        )
        if response.status_code != HTTPStatus.OK:  # no message quotes the body of a success
            body = body.replace(token.encode(), b"<token>")
    return HttpResponse(response.status_code, headers, body, _redact(response.reason or "", token))


def _redact(text: str, token: str) -> str:
    return text.replace(token, "<token>") if token else text
