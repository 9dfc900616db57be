"""One broker, vehicle, agent and publisher per test."""

from pathlib import Path

import pytest

import seeds
from agent import Agent
from broker import Broker
from publisher import Publisher
from relay import Relay
from vehicle import Vehicle


class Rig:
    """The real parts around one agent, and the agent."""

    def __init__(self, folder: Path):
        self.broker = Broker(folder / "broker")
        self.vehicle = Vehicle(folder / "px4")
        self.agent = Agent(folder / "agent")
        self._folder = folder
        self._publishers = {}

    def start(self, mode="guarded", issuers=("cloud",), commands=seeds.TYPES, **settings):
        """Starts the parts and then the agent, without waiting for it."""
        self.configure(mode, issuers, commands, **settings)
        self.broker.start()
        self.vehicle.plug_in()
        self.publisher()
        self.agent.start()

    def start_ready(self, **settings):
        """Starts everything and waits until the agent would send a command."""
        self.start(**settings)
        self.wait_ready(mark=0)

    def configure(self, mode, issuers, commands, port=None, **settings):
        """Writes the agent's configuration; `port` leads to the broker by another way."""
        endpoint = f"serial:{self.vehicle.port}:921600"
        port = port or self.broker.port
        self.agent.configure(port, endpoint, mode, issuers, commands, **settings)

    def restart_agent(self):
        """Starts an agent that has ended, and waits until it would send a command."""
        mark = len(self.publisher().messages)
        self.agent.start()
        self.wait_ready(mark)

    def wait_ready(self, mark):
        """Waits for a presence, published after `mark`, that says so."""
        return self.wait_link("ready", mark)

    def wait_link(self, state, mark=0):
        """Waits for a presence of an agent that has this link and knows how right its clock is."""
        return self.publisher().wait_presence(
            lambda p: p["online"]
            and p["link"]["state"] == state
            and p["clock"]["trusted"] == self.agent.clock_synchronized,
            f"a link that is {state}",
            mark,
        )

    def publisher(self, api_id="cloud", **options):
        """The connected publisher of an issuer."""
        if api_id not in self._publishers:
            publisher = Publisher(self.broker.port, api_id, **options)
            self._publishers[api_id] = publisher
            publisher.connect()
        return self._publishers[api_id]

    def close(self):
        for publisher in self._publishers.values():
            publisher.close()
        self.agent.close()
        self.vehicle.close()
        self.broker.close()

    def logs(self):
        for log in (self.agent.log, self.broker.log):
            if log.exists():
                yield log.name, log.read_text(errors="replace")[-8000:]


@pytest.fixture
def rig(tmp_path):
    """All parts, none started."""
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def ready(rig):
    """All parts started, guarded, the five reference commands allowed, the link ready."""
    rig.start_ready()
    return rig


@pytest.fixture
def relay(rig):
    """All parts started, and a network between agent and broker that can fail."""
    relay = Relay(rig.broker.port)
    rig.start_ready(port=relay.port)
    yield relay
    relay.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Rig):
                report.sections += value.logs()
