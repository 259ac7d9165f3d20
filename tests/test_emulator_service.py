"""The emulator as a service: start and stop, determinism, live changes, HTTP, secrets."""

import http.client
import json
import logging
import socket
import subprocess
import sys
import threading
import warnings
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pandas as pd
import pytest

from casesearch_pd.emulator import CaseService
from casesearch_pd.emulator.__main__ import main
from tests.emulator_clients import (
    SIGNATURE,
    connect_client,
    ids_of,
    persona,
    persona_all,
    persona_search,
    post_connect,
    search_all,
)

NOW = datetime(2026, 1, 15, 12, 34, 56, 789_000, UTC)


def test_stop_leaves_no_thread_and_no_connection():
    before = set(threading.enumerate())
    service = CaseService(5).start()
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.request("GET", "/")
    connection.getresponse().read()
    service.stop()
    assert set(threading.enumerate()) == before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", service.port), timeout=1)
    connection.close()
    service.stop()
    with pytest.raises(RuntimeError, match="create a new one"):
        service.start()


def test_a_service_that_was_never_started_is_deleted_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        service = CaseService(5)
        with pytest.raises(RuntimeError, match="not started"):
            _ = service.url
        assert "not started" in repr(service)
        del service


def test_the_same_seed_and_now_give_the_same_bytes():
    def body(seed, now=NOW, cases=60):
        with CaseService(cases, seed=seed, now=now) as service:
            connect = post_connect(service, {"fields": [{"id": "title"}, {"id": "customer_id"}]})
            return connect.content, persona_search(service, {}).content, service.frame()

    first, again, other = body(1), body(1), body(2)
    assert first[:2] == again[:2]
    pd.testing.assert_frame_equal(first[2], again[2])
    assert first[0] != other[0]
    later = body(1, NOW + timedelta(days=7))[2]
    times = [one["created_at"].sort_values().reset_index(drop=True) for one in (later, first[2])]
    pd.testing.assert_series_equal(times[0] - pd.Timedelta(days=7), times[1])


def test_generated_cases_are_realistic():
    with CaseService(4000, seed=3) as service:
        frame = service.frame()
        assert frame["created_at"].max() <= service.now
        assert (frame["updated_at"] >= frame["created_at"]).all()
    times = frame.select_dtypes("datetimetz").drop(columns=["sla_at", "callback_due"])
    assert (times.max().dropna() <= service.now).all()
    days = frame["created_at"].dt.day_of_week.value_counts()
    assert days[[0, 1, 2, 3, 4]].min() > 2 * days[[5, 6]].max()
    hours = frame["created_at"].dt.hour
    assert hours.between(8, 18).mean() > 0.65
    assert frame["created_at"].duplicated().sum() > 20, "ties"
    assert (frame["created_at"].dt.microsecond % 1000 == 0).all()
    queues = frame["queue"].value_counts()
    assert queues.iloc[0] > 4 * queues.iloc[-1]
    closed = frame[frame["status"] == "closed"]
    durations = (closed["closed_at"] - closed["created_at"]).dt.total_seconds()
    medians = durations.groupby(closed["priority"]).median()
    assert medians["urgent"] < medians["high"] < medians["normal"] < medians["low"]
    assert durations.mean() > 1.3 * durations.median(), "skewed to the right"
    reopened = frame[frame["last_reopened_datetime"].notna() & (frame["status"] != "closed")]
    assert len(reopened)
    assert reopened["closed_at"].notna().all(), "last closed is kept after a reopening"
    assert reopened["resolved_at"].isna().all()
    assert {"open", "in_progress", "pending", "closed"} == set(frame["status"])
    assert not frame["title"].str.isascii().all()
    assert frame.isna().any().sum() > 20, "missing values"
    assert frame["case_id"].is_unique
    assert frame["reference"].is_unique


@pytest.mark.parametrize("cases", [-1, "many", 1.5])
def test_cases_are_a_number_or_a_frame(cases):
    with pytest.raises(ValueError, match=f"non-negative integer or a DataFrame, got {cases!r}"):
        CaseService(cases)


def test_many_orders_do_not_accumulate_indexes():
    with CaseService(5) as service:
        fields = [
            one["fieldId"] for one in post_connect(service, b"", "fields-list").json()["fields"]
        ]
        expected = ids_of(service, sorts=[{"fieldId": "created_datetime", "sortOrder": "Asc"}])
        for first in fields[:12]:
            for second in fields[-12:]:
                sorts = [{"fieldId": name, "sortOrder": "Asc"} for name in (first, second)]
                assert sorted(ids_of(service, sorts=sorts)) == sorted(expected)
        count = service._lag.live._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        assert count < 80
        again = ids_of(service, sorts=[{"fieldId": "created_datetime", "sortOrder": "Asc"}])
        assert again == expected


def test_frame_has_the_columns_of_each_service():
    with CaseService(400, seed=3) as service:
        every, connect, persona_ = (service.frame(w) for w in (None, "connect", "persona"))
        with pytest.raises(ValueError, match="'other'"):
            service.frame("other")
    assert {"template_id", "tags", "closed_at", "城市"} < set(connect)
    assert "birthdate" not in connect
    assert {"birthdate", "city", "fields_status", "status", "accounts"} < set(persona_)
    assert "customer_id" not in persona_
    reopened = every["last_reopened_datetime"].notna() & (every["status"] != "closed")
    assert reopened.any()
    assert connect["closed_at"][reopened].notna().all()
    assert persona_["closed_at"][reopened].isna().all()


def test_the_clock_advances_from_now_as_the_date_header_shows():
    with CaseService(2, now=NOW) as service:
        date = parsedate_to_datetime(post_connect(service, {}).headers["Date"])
        assert timedelta() <= date - NOW.replace(microsecond=0) < timedelta(seconds=60)
        service.advance(3600)
        date = parsedate_to_datetime(post_connect(service, {}).headers["Date"])
        assert date - NOW >= timedelta(minutes=59)
        assert service.now == NOW
    with CaseService(2, now=NOW.replace(tzinfo=None)) as naive:
        assert naive.now == NOW
    with CaseService(2) as current:
        assert abs(current.clock() - datetime.now(UTC)) < timedelta(seconds=60)
        assert current.now.minute == 0


def test_live_changes_are_visible_on_both_services():
    with CaseService(20, seed=1, now=NOW) as service:
        new = service.insert({"title": "Brand new", "status": "open", "vip_customer": True})
        assert new in ids_of(service)
        assert new in {case["id"] for case in persona_all(service, {})}
        row = service.frame().set_index("case_id").loc[new]
        assert row["created_at"] >= pd.Timestamp(NOW)
        service.advance(60)
        service.update(new, status="closed", closed_at=service.clock(), tags=["team=red"])
        row = service.frame().set_index("case_id").loc[new]
        assert row["updated_at"] > row["created_at"]
        assert row["status"] == "closed"
        service.update(new, updated_at="2026-01-15T00:00:00Z", vip_customer=None)
        row = service.frame().set_index("case_id").loc[new]
        assert row["updated_at"] == pd.Timestamp("2026-01-15", tz="UTC")
        assert pd.isna(row["vip_customer"])
        old = service.insert({"created_at": "2025-12-01T00:00:00Z"})
        row = service.frame().set_index("case_id").loc[old]
        assert row["updated_at"] > row["created_at"], "a case is inserted now, even an old one"
        service.delete(old)
        service.delete(new)
        assert new not in ids_of(service)
        assert search_all(service)[1] == 20


def test_search_terms_follow_live_changes():
    with CaseService(20, seed=1) as service:

        def count(term):
            return post_connect(service, {"searchTerm": term}).json()["totalCount"]

        assert count("zebra") == 0
        case_id = service.insert({"title": "A Zebra in the yard"})
        assert count("zebra") == 1
        service.update(case_id, title="A horse")
        assert (count("zebra"), count("HORSE yard"), count("horse")) == (0, 0, 1)
        service.delete(case_id)
        assert count("horse") == 0


def test_invalid_changes_are_refused():
    with CaseService(3) as service:
        case_id = service.frame()["case_id"][0]
        with pytest.raises(ValueError, match="unknown column 'statsu'"):
            service.insert({"statsu": "open"})
        with pytest.raises(ValueError, match=f"'{case_id}' exists already"):
            service.insert({"case_id": case_id})
        for column, value in (
            ("vip_customer", "yes"), ("contacts", 1.5), ("contacts", 2**64), ("title", 5),
            ("refund_amount_eur", "12"), ("created_at", "yesterday"), ("created_at", 5),
            ("birthdate", 5), ("tags", "team=red"), ("refund_amount_eur", float("inf")),
            ("title", "\ud800"), ("contacts", True),
        ):  # fmt: skip
            with pytest.raises(ValueError, match=column):
                service.update(case_id, **{column: value})
        with pytest.raises(KeyError):
            service.update("case_none", title="x")
        with pytest.raises(KeyError):
            service.delete("case_none")
        assert search_all(service)[1] == 3


def test_many_threads_read_while_cases_change():
    with CaseService(300, seed=2) as service:
        fixed = set(service.frame()["case_id"])
        failures = []

        def read():
            sorts = [{"fieldId": "created_datetime", "sortOrder": "Asc"}]
            ids = [case["caseId"] for case in search_all(service, sorts=sorts, maxResults=20)[0]]
            if not fixed <= set(ids) or len(ids) != len(set(ids)):
                failures.append(ids)

        threads = [threading.Thread(target=read) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            case_id = service.insert({"title": "passing"})
            service.update(case_id, status="closed")
            service.delete(case_id)
        for thread in threads:
            thread.join()
        assert not failures


def test_requests_are_logged_without_the_authorization():
    with CaseService(3, request_log_size=5) as service:
        persona_search(service, {"page": {"size": 1}}, {"fields[case]": "status"})
        post_connect(service, b"{")
        one, two = service.requests
        assert (one.method, one.path, one.status) == ("POST", "/api/v1/cases/search", 200)
        assert one.body == {"page": {"size": 1}}
        assert one.query == {"fields[case]": ["status"]}
        assert (two.status, two.body) == (400, None)
        assert "authorization" not in {**one.headers, **two.headers}
        for _ in range(20):
            post_connect(service, {})
        assert 5 <= len(service.requests) <= 10
    with CaseService(3, request_log_size=0) as silent:
        post_connect(silent, {})
        assert silent.requests == []


def test_the_token_is_in_no_log_and_no_repr(caplog):
    caplog.set_level(logging.DEBUG)
    with CaseService(3, token="persona_sandbox_mine") as service:
        persona_search(service, {})
        persona_search(service, {}, {"x": "y"})
        post_connect(service, {})
        texts = f"{service!r} {service._environment!r} {service.requests!r} {caplog.text}"
    assert "/api/v1/cases/search" in caplog.text
    assert "persona_sandbox_mine" not in texts
    assert SIGNATURE not in texts


def send_bytes(service, content):
    """Send bytes and return all bytes until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as link:
        link.sendall(content)
        link.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: link.recv(65536), b""))


def test_http_is_strict():
    with CaseService(3) as service:
        big = send_bytes(service, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n")
        assert big.startswith(b"HTTP/1.1 413 ")
        chunked = send_bytes(
            service, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert chunked.startswith(b"HTTP/1.1 411 ")
        negative = send_bytes(service, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
        assert negative.startswith(b"HTTP/1.1 411 ")
        rubbish = send_bytes(service, b"rubbish\r\n\r\n")
        assert json.loads(rubbish[rubbish.index(b"{") :])["message"]
        two = send_bytes(service, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        assert two.count(b"HTTP/1.1 403 ") == 2, "keep-alive"
        gzip = persona_search(service, {}, Accept_Encoding="gzip, br")
        assert "Content-Encoding" not in gzip.headers
        assert int(gzip.headers["Content-Length"]) == len(gzip.content)


def test_an_internal_error_is_a_500_and_in_the_log(monkeypatch, caplog):
    with CaseService(3) as service:
        monkeypatch.setattr(service._lag, "catch_up", lambda: 1 / 0)
        answer = post_connect(service, {})
        assert answer.status_code == 500
        assert answer.headers["x-amzn-ErrorType"] == "InternalServerException"
        assert persona(service, "GET", "/api/v1/cases").json()["errors"][0]["title"]
    assert "ZeroDivisionError" in caplog.text


def test_a_stock_client_reads_an_empty_service():
    with CaseService(0) as service:
        answer = connect_client(service).search_cases(domainId=service.domain_id)
        assert (answer["cases"], answer["totalCount"]) == ([], 0)
        assert persona_search(service, {}).json() == {
            "data": [],
            "links": {"prev": None, "next": None},
        }
        assert service.frame().empty


def test_the_command_serves_and_prints_instructions(capsys, tmp_path):
    main(
        ["--cases", "7", "--port", "0", "--seconds", "0", "--set", "rate=2", "--set", "unset=null"]
    )
    text = capsys.readouterr().out
    assert "7 cases" in text
    for name in ("boto3.client", "aws connectcases", "curl", "Bearer persona_sandbox_"):
        assert name in text
    path = tmp_path / "cases.parquet"
    pd.DataFrame({"created_at": pd.to_datetime(["2020-01-01"]), "title": ["x"]}).to_parquet(path)
    main(["--data", str(path), "--port", "0", "--seconds", "0"])
    assert "1 cases" in capsys.readouterr().out


def test_sigterm_ends_the_command():
    command = [sys.executable, "-m", "casesearch_pd.emulator", "--cases", "5", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert "5 cases" in running.stdout.readline()
        running.terminate()
        assert running.wait(timeout=20) == 0
