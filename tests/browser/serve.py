"""Run a module as a server that ends with the pipe on its standard input.

The process that started it closes the pipe or dies. Either ends the server, which then ends its
kernels.
"""

import os
import runpy
import signal
import sys
import threading


def end_with_input() -> None:
    """Wait for the end of the pipe, then stop this process as a service manager would."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    module = sys.argv[1]
    threading.Thread(target=end_with_input, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
