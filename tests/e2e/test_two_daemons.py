"""Two daemons on one port: the second is refused and says so, and the first goes on."""

import pytest

import seeds
from agent import Agent
from broker import Broker


@pytest.fixture
def second(ready, tmp_path):
    """Another daemon on the vehicle's port, with a broker and a journal of its own."""
    broker = Broker(tmp_path / "second-broker")
    broker.start()
    agent = Agent(tmp_path / "second")
    endpoint = f"serial:{ready.vehicle.port}:921600"
    agent.configure(broker.port, endpoint, "guarded", ("cloud",), seeds.TYPES)
    agent.start()
    yield agent
    agent.close()
    broker.close()


def test_the_second_on_a_port_is_refused(ready, second):
    port = f"serial:{ready.vehicle.port}:921600"
    second.wait_log(f"failed to open {port}: another process has it open")
    command_id = ready.publisher().request(seeds.request("image_stop_capture"))["command_id"]
    assert ready.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    assert f"the link {port} is open" not in second.log.read_text()


def test_the_second_takes_the_port_when_the_first_is_gone(ready, second):
    second.wait_log("another process has it open")
    ready.agent.kill()
    second.wait_log("the link is ready")
