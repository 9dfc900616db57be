"""The agent's HTTP API as a program sees it, by TCP or by its Unix socket."""

import http.client
import json
import socket
from dataclasses import dataclass

import signing
from observed import TIMEOUT_S

COMMANDS = "/api/v1/open/downlink/commands"


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The error's code, or None."""
        return self.json.get("error", {}).get("code")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


def ask(agent, method, path, body=b"", headers=(), by_socket=False):
    """One request. `headers`: pairs, sent as they are, twice where they stand twice."""
    if by_socket:
        connection = UnixConnection(agent.socket)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", agent.http_port, timeout=TIMEOUT_S)
    connection.putrequest(method, path)
    for name, value in (*headers, ("Content-Length", str(len(body)))):
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    answer = Response(response.status, dict(response.getheaders()), response.read())
    connection.close()
    return answer


def submit(agent, request, by_socket=False, **how):
    """A signed command: a dict, or bytes as they are."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return ask(agent, "POST", COMMANDS, body, signing.headers(body, **how), by_socket)


def look_up(agent, command_id):
    return ask(agent, "GET", f"{COMMANDS}/{command_id}")
