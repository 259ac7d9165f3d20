"""The real clients, bound to a stub service, and a clock whose sleeps cost nothing."""

import math
import time
from dataclasses import replace
from functools import cache

import boto3

import casesearch_pd as cs
from casesearch_pd.sources.transport import context as running
from casesearch_pd.sources.transport import rate_limit as pace

TOKEN = "persona_sandbox_0123456789abcdef"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "IQoJb3JpZ2luX2VjEXAMPLEsessiontoken"


@cache
def aws_session():
    """Make temporary credentials, so that a session token is sent; once, for its loader is dear."""
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
    """Have the environment send everybody through a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def tuned(**numbers):
    """Return a context in which some numbers of `Tuning` are different."""
    return running.use_tuning(replace(running.default_tuning(), **numbers))


class Clock:
    """Time that passes by itself, and at once wherever somebody sleeps."""

    def __init__(self):
        self.slept = []
        self._ahead = 0.0

    def monotonic(self):
        """Tell the time; it never goes back."""
        return time.monotonic() + self._ahead

    def time(self):
        """Tell the time of day."""
        return time.time() + self._ahead

    def sleep(self, seconds):
        """Be there already."""
        self.slept.append(seconds)
        self._ahead += seconds

    @classmethod
    def installed(cls, monkeypatch):
        """Give the budgets this clock, and forget the budgets of other tests."""
        clock = cls()
        monkeypatch.setattr(running, "time", clock)
        monkeypatch.setattr(pace, "_LIMITERS", {})
        monkeypatch.setattr(running.ReadContext, "sleep", lambda _, seconds: clock.sleep(seconds))
        return clock
