"""The real clients, bound to a stub service, and a clock whose sleeps cost nothing."""

import math
import time
from dataclasses import replace
from functools import cache

import boto3

import casesearch_pd as cs
from casesearch_pd.sources.transport import context as context_module
from casesearch_pd.sources.transport import rate_limit

TOKEN = "persona_sandbox_0123456789abcdef"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "IQoJb3JpZ2luX2VjEXAMPLEsessiontoken"


@cache
def aws_session():
    """Return temporary credentials, which send a session token; once, because loading is slow."""
    return boto3.Session("AKIDTEST", SECRET, SESSION, region_name="us-east-1")


def connect(stub, **options):
    """Bind a `ConnectCases` to a stub."""
    bound = {"boto3_session": aws_session(), "endpoint_url": stub.url, "rate": math.inf}
    return cs.ConnectCases("domain 1", **(bound | options))


def persona(stub, **options):
    """Bind a `PersonaCases` to a stub."""
    bound = {"token": TOKEN, "base_url": f"{stub.url}/api/v1", "rate": math.inf}
    return cs.PersonaCases(**(bound | options))


def through_proxy(monkeypatch, url):
    """Send all requests of this process through a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def tuned(**numbers):
    """Return a context in which some numbers of `Tuning` are different."""
    return context_module.use_tuning(replace(context_module.default_tuning(), **numbers))


class Clock:
    """A clock that runs, and jumps ahead instead of sleeping."""

    def __init__(self):
        self.slept = []
        self._ahead = 0.0

    def monotonic(self):
        """Return the time; it never goes back."""
        return time.monotonic() + self._ahead

    def time(self):
        """Return the time of day."""
        return time.time() + self._ahead

    def sleep(self, seconds):
        """Advance the clock at once."""
        self.slept.append(seconds)
        self._ahead += seconds

    @classmethod
    def installed(cls, monkeypatch):
        """Install this clock, without the rate limiters of other tests."""
        clock = cls()
        monkeypatch.setattr(context_module, "time", clock)
        monkeypatch.setattr(rate_limit, "_LIMITERS", {})
        monkeypatch.setattr(
            context_module.ReadContext, "sleep", lambda _, seconds: clock.sleep(seconds)
        )
        return clock
