"""One round: the real parts, the violence, and what came of it."""

import json
import time
from collections import Counter
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import signing
from agent import Agent
from broker import Broker
from commands import CONFLICT, KINDS, RETRANSMITS, VEHICLE, Asked, MoodyVehicle
from ledger import Ledger
from observed import TIMEOUT_S
from publisher import Publisher
from relay import Relay
from seeds import BASE

ISSUER = "cloud"
TOPIC = f"{BASE}/commands/{ISSUER}"
SESSION_EXPIRY_S = 600
# Above all that a plan asks for.
FIRST_PROBE = 1000
PROBE_TIMEOUT_S = 2
SETTLE_TIMEOUT_S = 40
# An issuer's queries that are answered at once, and how often one is after them.
QUERY_BURST = 50
QUERY_EVERY_S = 1 / 20
# How long a kill waits for its moment.
MOMENT_TIMEOUT_S = 0.3
BROKER_SETTINGS = (
    # Whatever the broker acknowledges is on its way to a connected publisher already.
    "max_inflight_messages 0",
    "set_tcp_nodelay true",
    # A killed broker finds in its store what it had a moment before.
    "autosave_on_changes true",
    "autosave_interval 1",
)
# Over what the agent's configuration has for all tests.
DELIVERY = """\
[delivery]
default_timeout = "2s"
max_outstanding = 4
late_ack_window = "5s"
"""


class Violation(AssertionError):
    """The round cannot go on: a promise is broken."""


class World:
    """Between `start` and `settle` its public methods are the steps that a plan names."""

    def __init__(self, folder: Path, make_vehicle=MoodyVehicle):
        """`make_vehicle` makes it from its port and the commands by number."""
        self.asked = {}
        self.events = Counter()
        self.broker = Broker(folder / "broker", BROKER_SETTINGS)
        self.relay = Relay(self.broker.port)
        self.vehicle = make_vehicle(folder / "px4", self.asked)
        self.agent = Agent(folder / "agent")
        self.agent.configure(
            self.relay.port, f"serial:{self.vehicle.port}:921600", "guarded", (ISSUER,), ()
        )
        drop_ins = self.agent.config.parent / "conf.d"
        drop_ins.mkdir()
        (drop_ins / "chaos.toml").write_text(DELIVERY + "".join(rules()))
        # The broker may lose what it has acknowledged, so only the agent's word counts.
        self.broker_forgot = False
        self._sent = {}
        self._message_ids = {}
        self._taken_by_broker = set()
        self.publisher = Publisher(self.broker.port, ISSUER)
        self.publisher.client.on_publish = lambda *event: self._taken_by_broker.add(event[2])
        self.ledger = Ledger(self.publisher.messages, self.vehicle.frames)

    def start(self):
        """Starts the parts and the agent, and waits until it would send a command."""
        self.broker.start()
        self.vehicle.plug_in()
        self.publisher.connect()
        self.agent.start()
        self.publisher.wait_presence(
            lambda presence: presence["online"] and presence["link"]["state"] == "ready",
            "a link that is ready",
        )

    def ask(self, asked):
        """Publishes a command, without waiting for anybody."""
        self.asked[asked.number] = asked
        data = json.dumps(asked.body()).encode()
        self._sent[asked.number] = (data, signing.properties(data, topic=TOPIC, api_id=ISSUER))
        self.events["commands"] += 1
        self._publish(asked.number, *self._sent[asked.number])

    def repeat(self, how, pick):
        """Publishes a command again, or another content under its key."""
        numbers = list(self._sent)
        if how == "other content":
            # One that the agent does not have could become the command itself.
            self.ledger.read()
            numbers = [n for n in numbers if self.ledger.is_known(self.asked[n])]
        if not numbers:
            return
        number = numbers[int(pick * len(numbers))]
        data, properties = self._sent[number]
        if how == "other content":
            data = json.dumps(self.asked[number].body(number + CONFLICT)).encode()
        if how != "same bytes":
            properties = signing.properties(data, topic=TOPIC, api_id=ISSUER)
        self.events["duplicates" if how != "other content" else "conflicts"] += 1
        self.publisher.client.publish(TOPIC, data, qos=1, properties=properties)

    def pause(self, seconds):
        time.sleep(seconds)

    def kill_agent(self, moment, after_s, down_s, then_s):
        """kill -9, a little after a moment in which the agent has something to do."""
        seen = {"frame": self.vehicle.frames, "message": self.publisher.messages}.get(moment)
        if seen is not None:
            mark, until = len(seen), time.monotonic() + MOMENT_TIMEOUT_S
            while len(seen) == mark and time.monotonic() < until:
                time.sleep(0.0005)
        time.sleep(after_s)
        self._end_agent(self.agent.kill)
        self.events["kills"] += 1
        time.sleep(down_s)
        self.agent.start()
        time.sleep(then_s)

    def restart_agent(self):
        """An orderly stop loses no more than a kill."""
        self._end_agent(self.agent.terminate)
        self.events["orderly restarts"] += 1
        self.agent.start()

    def freeze_agent(self, seconds):
        self.agent.freeze()
        time.sleep(seconds)
        self.agent.thaw()
        self.events["agent frozen"] += 1

    def restart_broker(self):
        self.broker.stop()
        self.publisher.expect_reconnect()
        self.broker.start()
        self.publisher.wait_subscribed()
        self.events["broker restarted"] += 1

    def kill_broker(self):
        """SIGKILL; it comes back with what it had stored by then."""
        self.broker_forgot = True
        self._return_of_the_broker(self.broker.kill)
        self.events["broker killed"] += 1

    def wipe_broker(self):
        """SIGKILL; it comes back with nothing."""
        self.broker_forgot = True
        self._return_of_the_broker(lambda: (self.broker.kill(), self.broker.forget()))
        self.events["broker wiped"] += 1

    def freeze_broker(self, seconds):
        self.broker.freeze()
        time.sleep(seconds)
        self.broker.thaw()
        self.events["broker frozen"] += 1

    def cut(self):
        self.relay.cut()
        self.events["connection cut"] += 1

    def cut_in_packet(self, sender, count):
        self.relay.cut_after(sender, count)
        self.events["cut in mid-packet"] += 1

    def swallow(self, senders, seconds):
        """The network takes everything and delivers nothing, then breaks."""
        self.relay.swallow(*senders)
        time.sleep(seconds)
        self.relay.cut()
        self.events["bytes swallowed"] += 1

    def take_over(self, seconds):
        """Another client takes the session, gets the agent's messages, and acknowledges none."""
        self._intrude(seconds, clean_start=False)
        self.events["session taken over"] += 1

    def usurp(self, seconds):
        """Another client takes the agent's place, and throws its session away."""
        self.broker_forgot = True
        self._intrude(seconds, clean_start=True)
        self.events["session thrown away"] += 1

    def replug(self, seconds):
        self.vehicle.unplug()
        time.sleep(seconds)
        self.vehicle.plug_in()
        self.events["port replugged"] += 1

    def settle(self):
        """Waits until the agent works again and every command that is owed an outcome has one."""
        self._probe()
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while missing := [it for it in self.owed() if not self.ledger.has_ended(it)]:
            self._check_alive()
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
            self.ledger.read()
        for asked in missing:
            self.ledger.violations.append(f"{asked.key}: owed an outcome, and got none")
        self._query([it for it in self.owed() if it not in missing])
        self._end_agent(self.agent.kill)

    def owed(self):
        """The commands that must have an outcome."""
        return [
            asked
            for number, asked in self.asked.items()
            if self.ledger.is_known(asked)
            or (self._message_ids[number] in self._taken_by_broker and not self.broker_forgot)
        ]

    def close(self):
        self.publisher.close()
        self.agent.close()
        self.vehicle.close()
        self.relay.close()
        self.broker.close()

    def _publish(self, number, data, properties):
        # Without a connection it is kept for the next one.
        info = self.publisher.client.publish(TOPIC, data, qos=1, properties=properties)
        self._message_ids[number] = info.mid

    def _end_agent(self, end):
        try:
            end()
        except RuntimeError as error:
            raise Violation(str(error)) from error

    def _check_alive(self):
        if self.agent.exit_code() is not None:
            self._end_agent(self.agent.kill)

    def _return_of_the_broker(self, end):
        # An agent that is back before the publisher has its subscriptions again would tell nobody.
        self.relay.hold()
        end()
        self.publisher.expect_reconnect()
        self.broker.start()
        self.publisher.wait_subscribed()
        self.relay.release()

    def _intrude(self, seconds, clean_start):
        intruder = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"downlinkd-{VEHICLE}",
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        intruder.connect(
            "127.0.0.1", self.broker.port, clean_start=clean_start, properties=properties
        )
        intruder.loop_start()
        time.sleep(seconds)
        intruder.disconnect()
        intruder.loop_stop()

    def _probe(self):
        """Publishes commands until one succeeds; what came before it is handled by then."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        number = FIRST_PROBE
        while time.monotonic() < deadline:
            probe = Asked(number, "do_digicam_control", "accept", PROBE_TIMEOUT_S)
            self.ask(probe)
            until = time.monotonic() + PROBE_TIMEOUT_S
            while not self.ledger.has_ended(probe) and time.monotonic() < until:
                self._check_alive()
                time.sleep(0.01)
                self.ledger.read()
            if self.ledger.status(probe) == "SUCCEEDED":
                return
            number += 1
        raise Violation("the agent does not come back to work")

    def _query(self, commands):
        """What the journal says is what was told."""
        for count, asked in enumerate(commands):
            if count >= QUERY_BURST:
                time.sleep(QUERY_EVERY_S)
            answer = self.publisher.query(idempotency_key=asked.key)
            if "error" in answer:
                self.ledger.violations.append(f"{asked.key}: lost: {answer['error']}")
                continue
            answer.pop("request_id")
            deadline = time.monotonic() + TIMEOUT_S
            while self.ledger.last_number(asked) < answer["seq"] and time.monotonic() < deadline:
                time.sleep(0.01)
                self.ledger.read()
            self.ledger.compare(asked, answer)


def rules():
    for command_type, kind in KINDS.items():
        yield f'[[guard.command]]\ntype = "{command_type}"\ngrant = false\n'
        if kind.retransmitted:
            yield f'retransmit = {{ times = {RETRANSMITS}, interval = "1s" }}\n'
