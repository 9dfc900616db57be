"""A cloud publisher: sends requests and collects what the agent publishes."""

import hashlib
import json
import threading
from dataclasses import dataclass

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import signing
from observed import TIMEOUT_S, Observed
from seeds import BASE

SESSION_EXPIRY_S = 600


@dataclass(frozen=True)
class Message:
    topic: str
    body: dict
    properties: Properties | None


class Publisher:
    """An issuer `api_id` with a persistent session, so that it misses nothing in an outage."""

    def __init__(self, port, api_id="cloud", protocol=mqtt.MQTTv5):
        self.api_id = api_id
        self.messages = Observed()
        self._port = port
        self._subscribed = threading.Event()
        session = {"clean_session": False} if protocol == mqtt.MQTTv311 else {}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"publisher-{api_id}",
            protocol=protocol,
            **session,
        )
        self._protocol = protocol
        self.client.reconnect_delay_set(min_delay=0.1, max_delay=0.5)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message

    def connect(self):
        options = {}
        if self._protocol == mqtt.MQTTv5:
            options["properties"] = Properties(PacketTypes.CONNECT)
            options["properties"].SessionExpiryInterval = SESSION_EXPIRY_S
            # mosquitto 2.0 stores only the sessions that were begun so.
            options["clean_start"] = False
        self.client.connect("127.0.0.1", self._port, **options)
        self.client.loop_start()
        self.wait_subscribed()

    def wait_subscribed(self):
        assert self._subscribed.wait(TIMEOUT_S), "the broker did not confirm the subscriptions"

    def expect_reconnect(self):
        """To be called while the broker is down; `wait_subscribed` then waits for the next one."""
        self._subscribed.clear()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, body, kind="commands", retain=False, properties=None, sign=True):
        """Publishes a request (a dict, or bytes as they are), returns once the broker has it.

        A command or grant is signed, unless `sign` is false; what is returned is the body itself.
        """
        data = payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        topic = f"{BASE}/{kind}/{self.api_id}"
        if sign and kind != "queries":
            how = {"topic": topic, "api_id": self.api_id}
            if self._protocol == mqtt.MQTTv5:
                properties = signing.properties(data, properties, **how)
            else:
                payload = signing.envelope(data, **how)
        info = self.client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        info.wait_for_publish(TIMEOUT_S)
        assert info.is_published(), f"the broker did not acknowledge a publish to {topic}"
        return data

    def request(self, body, **options):
        """Publishes a command and returns its create reply; an error in its place fails."""
        mark = len(self.messages)
        self.publish(body, **options)
        key = body["idempotency_key"]
        reply = self._wait_reply(lambda r: r["idempotency_key"] == key, f"a reply to {key}", mark)
        assert "error" not in reply, reply
        return reply

    def grant(self, **body):
        """Publishes what is to become of a grant and returns the reply, told apart by a request_id."""
        mark = len(self.messages)
        request_id = f"grant-{mark}"
        self.publish({**body, "request_id": request_id}, kind="grants")
        return self._wait_reply(
            lambda r: r.get("request_id") == request_id, f"a reply to {request_id}", mark
        )

    def refused(self, body, **options):
        """Publishes what is no valid request and returns the error reply to exactly that."""
        mark = len(self.messages)
        digest = hashlib.sha256(self.publish(body, **options)).hexdigest()
        return self._wait_reply(
            lambda r: r.get("request_sha256") == digest, f"an error for {digest}", mark
        )

    def query(self, **body):
        """Publishes a query and returns its reply, told apart by a request_id."""
        mark = len(self.messages)
        request_id = f"query-{mark}"
        self.publish({**body, "request_id": request_id}, kind="queries")
        return self._wait_reply(
            lambda r: r.get("request_id") == request_id, f"a reply to {request_id}", mark
        )

    def updates(self, command_id):
        """The lifecycle updates of a command in order of arrival, repeated deliveries dropped."""
        return updates_of(self.messages.since(), self._lifecycle(command_id))

    def statuses(self, command_id):
        return [update["status"] for update in self.updates(command_id)]

    def lifecycle_keys(self):
        """The idempotency keys of all commands that have a lifecycle."""
        prefix = f"{BASE}/lifecycle/"
        seen = self.messages.since()
        return {m.body["idempotency_key"] for m in seen if m.topic.startswith(prefix)}

    def wait_update(self, command_id, condition, what):
        """Waits for the first lifecycle update that fits, and returns it."""
        topic = self._lifecycle(command_id)
        return self.messages.wait_for(
            lambda seen: first(updates_of(seen, topic), condition), f"{what} of {command_id}"
        )

    def wait_status(self, command_id, status):
        return self.wait_update(command_id, lambda u: u["status"] == status, status)

    def wait_terminal(self, command_id):
        return self.wait_update(command_id, lambda u: u["terminal"], "a terminal status")

    def wait_presence(self, condition, what, mark=0):
        return self.wait_on(f"{BASE}/presence", condition, what, mark)

    def wait_unmatched(self, condition, what, mark=0):
        return self.wait_on(f"{BASE}/unmatched", condition, what, mark)

    def wait_on(self, topic, condition, what, mark=0):
        return self.messages.wait_for(
            lambda seen: first([m.body for m in seen if m.topic == topic], condition), what, mark
        )

    def unmatched(self):
        return [m.body for m in self.messages.since() if m.topic == f"{BASE}/unmatched"]

    def _wait_reply(self, condition, what, mark):
        return self.wait_on(f"{BASE}/replies/{self.api_id}", condition, what, mark)

    def _lifecycle(self, command_id):
        return f"{BASE}/lifecycle/{self.api_id}/{command_id}"

    def _on_connect(self, client, _userdata, _flags, _reason, _properties):
        topics = (
            # All issuers': none of them may get what is for another.
            f"{BASE}/replies/#",
            f"{BASE}/lifecycle/{self.api_id}/#",
            f"{BASE}/presence",
            f"{BASE}/unmatched",
        )
        client.subscribe([(topic, 1) for topic in topics])

    def _on_message(self, _client, _userdata, message):
        properties = getattr(message, "properties", None)
        self.messages.append(Message(message.topic, json.loads(message.payload), properties))


def updates_of(messages, topic):
    by_seq = {}
    for message in messages:
        if message.topic == topic:
            body = message.body
            # QoS 1 may deliver an update again; a number is never used for another one.
            assert by_seq.setdefault(body["seq"], body) == body, (by_seq[body["seq"]], body)
    return list(by_seq.values())


def first(bodies, condition):
    return next((body for body in bodies if condition(body)), None)
