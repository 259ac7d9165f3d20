"""The command of the embedded service, run in this process."""

import runpy
import signal
import sys

from casesearch_pd.emulator import __main__ as command


def test_the_module_runs_as_a_program(monkeypatch, capsys):
    arguments = ["--cases", "3", "--port", "0", "--seconds", "0", "--set", "cursor=offset"]
    monkeypatch.setattr(sys, "argv", ["local", *arguments])
    runpy.run_path(command.__file__, run_name="__main__")
    assert "CaseService(3 cases, http://127.0.0.1:" in capsys.readouterr().out


def test_a_polite_kill_ends_it_and_gives_the_signals_back(monkeypatch, capsys):
    """Without its handler the kill would end these tests instead of the service."""
    told = command._instructions

    def killed(service):
        signal.raise_signal(signal.SIGTERM)
        return told(service)

    monkeypatch.setattr(command, "_instructions", killed)
    kept = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    command.main(["--cases", "2", "--port", "0"])
    assert "2 cases" in capsys.readouterr().out
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == kept
