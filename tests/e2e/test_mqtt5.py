"""What MQTT 5 adds for publishers that speak it."""

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pymavlink.dialects.v20 import development as mavlink

import contract
import seeds
from seeds import BASE
from vehicle import Ack

STOP = mavlink.MAV_CMD_IMAGE_STOP_CAPTURE
CORRELATION = b"\x00\xffany bytes"


def properties(**values):
    made = Properties(PacketTypes.PUBLISH)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def replies(rig, topic):
    return [m for m in rig.publisher().messages.since() if m.topic == topic]


def test_everything_published_says_that_it_is_json(ready):
    command_id = ready.publisher().request(seeds.request("image_stop_capture"))["command_id"]
    ready.publisher().wait_terminal(command_id)
    ready.vehicle.acknowledge(STOP, Ack(mavlink.MAV_RESULT_ACCEPTED))
    ready.publisher().wait_unmatched(lambda _: True, "the stray answer")
    kinds = set()
    for message in ready.publisher().messages.since():
        kinds.add(message.topic.removeprefix(BASE).split("/")[1])
        assert message.properties.ContentType == "application/json", message.topic
        assert message.properties.PayloadFormatIndicator == 1, message.topic
    assert kinds == {"presence", "replies", "lifecycle", "unmatched"}


def test_reply_goes_to_the_response_topic_too(ready):
    own = f"{BASE}/replies/cloud"
    request = seeds.request("image_stop_capture")
    asked = properties(ResponseTopic=f"{own}/session-7", CorrelationData=CORRELATION)
    ready.publisher().publish(request, properties=asked)
    for topic in (f"{own}/session-7", own):
        reply = ready.publisher().wait_on(topic, lambda _: True, f"a reply on {topic}")
        contract.check_create_reply(reply, request)
    (special,) = replies(ready, f"{own}/session-7")
    assert special.properties.CorrelationData == CORRELATION


@pytest.mark.parametrize("topic", ["unmatched", "presence", "replies/other", "replies/cloudy"])
def test_response_topic_of_others_is_not_honoured(ready, topic):
    mark = len(ready.publisher().messages)
    request = seeds.request("image_stop_capture")
    asked = properties(ResponseTopic=f"{BASE}/{topic}")
    contract.check_create_reply(ready.publisher().request(request, properties=asked), request)
    ready.publisher().query(idempotency_key=request["idempotency_key"])
    seen = [m for m in ready.publisher().messages.since(mark) if "/lifecycle/" not in m.topic]
    # Presence may be told once more at any time.
    answers = {m.topic for m in seen if "online" not in m.body}
    assert answers == {f"{BASE}/replies/cloud"}


def test_message_expiry_caps_the_deadline(ready):
    ready.vehicle.on(STOP, [])
    request = seeds.request("image_stop_capture", timeout_seconds=300)
    reply = ready.publisher().request(request, properties=properties(MessageExpiryInterval=2))
    final = ready.publisher().wait_terminal(reply["command_id"])
    assert (final["status"], final["response_code"]) == ("TIMED_OUT", "timeout.ack")
