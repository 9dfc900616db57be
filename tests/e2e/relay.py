"""A TCP relay in front of the broker: a mobile network that can lose bytes without a word."""

import socket
import threading

CHUNK_BYTES = 65536


class Relay:
    """Passes bytes between the agent and the broker, unless told to swallow them."""

    def __init__(self, broker_port):
        self._broker_port = broker_port
        self._swallowed = set()
        self._left = {}
        self._held = False
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def swallow(self, *senders):
        """From now on what these send ("agent", "broker") is taken and lost."""
        self._swallowed = set(senders)

    def cut_after(self, sender, count):
        """Lets `count` more bytes of this sender pass, then cuts: most often in mid-packet."""
        self._left = {sender: count}

    def hold(self):
        """Cuts, and lets no new connection through before `release`."""
        self._held = True
        self.cut()

    def release(self):
        self._held = False

    def cut(self):
        """Ends all connections; new ones pass everything again."""
        sockets, self._sockets = self._sockets, []
        self._left = {}
        for end in sockets:
            close(end)
        self._swallowed = set()

    def close(self):
        close(self._listener)
        self.cut()

    def _accept(self):
        while True:
            try:
                agent, _ = self._listener.accept()
            except OSError:
                return
            if self._held:
                close(agent)
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
            except OSError:
                close(agent)
                continue
            for end in (agent, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [agent, broker]
            for sender, source, sink in (("agent", agent, broker), ("broker", broker, agent)):
                passing = (sender, source, sink)
                threading.Thread(target=self._pass, args=passing, daemon=True).start()

    def _pass(self, sender, source, sink):
        try:
            while data := source.recv(CHUNK_BYTES):
                if sender in self._swallowed:
                    continue
                left = self._left.get(sender)
                sink.sendall(data[:left])
                if left is None:
                    continue
                if len(data) >= left:
                    self.cut()
                    break
                self._left[sender] = left - len(data)
        except OSError:
            pass
        close(source)
        close(sink)


def close(end):
    try:
        # Wakes the thread that waits in recv or accept.
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
