"""Opaque page tokens: a position, bound to the request it was given for and signed.

A token sent with other parameters, changed by hand or older than its lifetime is refused.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

_SIGNED = 16


@dataclass(frozen=True)
class Tokens:
    """Makes and reads the tokens of one service.

    Parameters
    ----------
    secret
        The key of the signatures.
    clock
        Seconds, steadily rising.
    lifetime
        Seconds for which a token is taken, or None for as long as the service runs.
    """

    secret: bytes
    clock: Callable[[], float]
    lifetime: float | None = None

    def issue(self, position: Any, scope: Any) -> str:
        """Return a token for a position in the results of a request."""
        issued = 0.0 if self.lifetime is None else self.clock()  # else the same bytes every time
        body = msgspec.json.encode([position, issued])
        return base64.urlsafe_b64encode(self._signature(body, scope) + body).decode()

    def read(self, token: str, scope: Any) -> Any:
        """Return the position of a token given for the same request.

        Raises
        ------
        ValueError
            The token is not one of ours, not for this request, or has expired.
        """
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("the token is not valid") from error
        signature, body = raw[:_SIGNED], raw[_SIGNED:]
        if not hmac.compare_digest(signature, self._signature(body, scope)):
            raise ValueError("the token is not valid for these parameters")
        position, issued = msgspec.json.decode(body)
        if self.lifetime is not None and self.clock() - issued > self.lifetime:
            raise ValueError("the token has expired")
        return position

    def _signature(self, body: bytes, scope: Any) -> bytes:
        bound = msgspec.json.encode(scope, order="deterministic")
        return hmac.digest(self.secret, bound + b"\n" + body, hashlib.sha256)[:_SIGNED]
