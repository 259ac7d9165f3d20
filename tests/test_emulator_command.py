"""The command of the emulator, run in this process."""

import runpy
import signal
import sys

import pandas as pd
import pytest

from casesearch_pd.emulator import __main__ as command


def test_the_module_runs_as_a_program(monkeypatch, capsys):
    arguments = ["--cases", "3", "--port", "0", "--seconds", "0", "--set", "cursor=offset"]
    monkeypatch.setattr(sys, "argv", ["emulator", *arguments])
    runpy.run_path(command.__file__, run_name="__main__")
    assert "CaseService(3 cases, http://127.0.0.1:" in capsys.readouterr().out


def test_sigterm_ends_it_and_its_signal_handlers_are_restored(monkeypatch, capsys):
    """Without its handler the signal would end these tests instead of the service."""
    instructions = command._instructions

    def terminate_first(service):
        signal.raise_signal(signal.SIGTERM)
        return instructions(service)

    monkeypatch.setattr(command, "_instructions", terminate_first)
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    command.main(["--cases", "2", "--port", "0"])
    assert "2 cases" in capsys.readouterr().out
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_the_times_of_a_file_are_in_the_zone_of_the_command(tmp_path, monkeypatch):
    path = tmp_path / "cases.parquet"
    pd.DataFrame({"created_at": [pd.Timestamp("2024-05-01")]}, index=["K-1"]).rename_axis(
        "case_id"
    ).to_parquet(path)
    frames = []
    monkeypatch.setattr(
        command, "_instructions", lambda service: frames.append(service.frame()) or ""
    )
    arguments = ["--data", str(path), "--tz", "Asia/Kathmandu", "--port", "0", "--seconds", "0"]
    command.main(arguments)
    assert frames[0]["case_id"].tolist() == ["K-1"]
    assert frames[0]["created_at"].tolist() == [pd.Timestamp("2024-04-30T18:15:00Z")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "windw=1"], "unknown option 'windw'; did you mean 'window'?"),
        (["--set", "window"], "expected NAME=VALUE, got 'window'"),
        (["--set", "window=0"], "window must be a positive integer or None, got 0"),
        (["--cases", "-1"], "cases must be a non-negative integer or a DataFrame, got -1"),
        (["--data", "no such file"], "cannot read 'no such file' as Parquet"),
    ],
)
def test_invalid_arguments_are_an_error_message_and_no_traceback(capsys, arguments, message):
    with pytest.raises(SystemExit):
        command.main(["--port", "0", *arguments])
    assert message in capsys.readouterr().err
