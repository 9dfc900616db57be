"""Free ports for what the tests start."""

import errno
import os
import random
import socket

# Tests run in several processes at a time; each has ports of its own.
_PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# No outgoing connection takes one of these while its owner is down.
_BELOW_EPHEMERAL = range(10240 + _PROCESS, 32768, _PROCESSES)
# Without repetition: what asked for a port may not be listening yet when the next one asks.
_ports = iter(random.sample(_BELOW_EPHEMERAL, len(_BELOW_EPHEMERAL)))


def free_port(kind=socket.SOCK_STREAM):
    """Given to nobody before in this run, and used by nothing else on this machine now."""
    for port in _ports:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port
    raise RuntimeError("no port is free")
