"""When presence said what of the link."""

import json
import time

from publisher import Publisher


class Watcher(Publisher):
    """Notes (Unix time, link state) of every presence."""

    def __init__(self, port):
        super().__init__(port, "watcher")
        self.states = []
        self.sessions = set()

    def first_ready(self, after):
        """When the link was ready for the first time after a moment, or None."""
        return next((at for at, state in self.states if state == "ready" and at > after), None)

    def _on_message(self, client, userdata, message):
        if message.topic.endswith("/presence"):
            body = json.loads(message.payload)
            self.states.append((time.time(), body["link"]["state"] if body["online"] else "offline"))
            if body["online"]:
                self.sessions.add(body["session"])
        super()._on_message(client, userdata, message)
