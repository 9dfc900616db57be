"""The whole way over TLS with certificates on both sides, and with two brokers."""

import os

import pytest

import seeds
from broker import Broker
from certificates import Authority
from ports import free_port
from publisher import Publisher


class SecureBroker(Broker):
    """With a second listener, for agents with a certificate."""

    def __init__(self, folder, authority):
        self.secure_port = free_port()
        certificate, key = authority.issue(folder.name)
        super().__init__(
            folder,
            [
                f"listener {self.secure_port} 127.0.0.1",
                f"cafile {authority.pem}",
                f"certfile {certificate}",
                f"keyfile {key}",
                "require_certificate true",
                "use_identity_as_username true",
            ],
        )
        self.url = f"mqtts://localhost:{self.secure_port}"


@pytest.fixture
def brokers(rig, tmp_path):
    """Two brokers; the rig's publishers are at the first."""
    authority = Authority(tmp_path / "authority")
    brokers = [SecureBroker(tmp_path / name, authority) for name in ("first", "second")]
    rig.broker = brokers[0]
    brokers[1].start()
    certificate, key = authority.issue("px4-real-1")
    drop_in = rig.agent.config.parent / "conf.d" / "10-mqtt.toml"
    drop_in.parent.mkdir()
    drop_in.write_text(
        f"""\
[mqtt]
url = ["{brokers[0].url}", "{brokers[1].url}"]
ca_file = "{authority.pem}"
cert_file = "{certificate}"
key_file = "{key}"
"""
    )
    rig.start_ready()
    yield brokers
    brokers[1].close()


def test_command_goes_the_whole_way_over_mutual_tls(rig, brokers):
    command_id = rig.publisher().request(seeds.request("image_stop_capture"))["command_id"]
    assert rig.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"
    assert rig.publisher().statuses(command_id) == ["ACCEPTED", "DELIVERED", "SUCCEEDED"]
    url = brokers[0].url
    assert rig.wait_ready(0)["broker"] == url
    assert rig.agent.status()["broker"] == {"connected": True, "address": url}
    rig.agent.wait_log(f"connected to {url}, new session")


def test_the_same_request_at_the_next_broker_is_a_duplicate(rig, brokers):
    request = seeds.request("image_stop_capture")
    command_id = rig.publisher().request(request)["command_id"]
    assert rig.publisher().wait_terminal(command_id)["status"] == "SUCCEEDED"

    there = Publisher(brokers[1].port)
    there.connect()
    brokers[0].stop()
    assert there.wait_presence(lambda p: p["online"], "presence")["broker"] == brokers[1].url
    reply = there.request(request)
    assert (reply["command_id"], reply["duplicate"]) == (command_id, True)
    new = there.request(seeds.request("image_stop_capture", idempotency_key="at-the-second"))
    assert there.wait_terminal(new["command_id"])["status"] == "SUCCEEDED"
    rig.vehicle.fence()
    assert len(rig.vehicle.commands()) == 2

    brokers[1].stop()
    both = f"{brokers[0].url}, {brokers[1].url}"
    rig.agent.wait_status(lambda s: s["broker"] == {"connected": False, "address": both})
    there.close()


def test_several_urls_in_the_environment_have_commas_between(rig):
    rig.configure("disabled", [], [])
    rig.agent.start({"DOWNLINKD_MQTT__URL": "mqtt://127.0.0.1:1883, http://127.0.0.1"})
    assert rig.agent.wait_end() == os.EX_CONFIG
    message = '(DOWNLINKD_…): [mqtt] url: "http" is not supported; it must be mqtts://HOST[:PORT]'
    assert message in rig.agent.log.read_text()


def test_half_a_client_certificate_is_a_configuration_error(rig):
    rig.configure("disabled", [], [])
    text = rig.agent.config.read_text()
    secure = 'url = "mqtts://localhost"\ncert_file = "/etc/px4-real-1.pem"\n'
    rig.agent.config.write_text(text.replace("[mqtt]\nurl = ", f"[mqtt]\n{secure}username = "))
    rig.agent.start()
    assert rig.agent.wait_end() == os.EX_CONFIG
    assert "downlinkd.toml: [mqtt] key_file: is missing" in rig.agent.log.read_text()
