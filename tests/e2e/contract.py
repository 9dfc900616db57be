"""What every lifecycle update and error reply has."""

import hashlib
import re
import uuid
from datetime import datetime

UPDATE_FIELDS = {
    "command_id",
    "status",
    "vendor",
    "device_id",
    "command_type",
    "response_code",
    "response_message",
    "vendor_response",
    "idempotency_key",
    "seq",
    "terminal",
    "accepted_at",
    "updated_at",
    "progress",
}
VENDOR_RESPONSE_FIELDS = {
    "mavlink_command_id",
    "mavlink_command",
    "transport",
    "result",
    "progress",
    "result_param2",
    "source_system",
    "source_component",
    "frame_sent",
    "sent_at",
    "acked_at",
}


def command_id(request, api_id="cloud"):
    """Known before the request is sent."""
    name = f"{request['device_id']}/{api_id}/{request['idempotency_key']}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def check_create_reply(reply, request):
    assert reply["status"] == "ACCEPTED"
    assert reply["idempotency_key"] == request["idempotency_key"]
    assert reply["duplicate"] is False
    assert uuid.UUID(reply["command_id"]).version == 5
    utc(reply["accepted_at"])


def check_update(update, reply, request):
    """An update has every field, and says the same as the create reply where they overlap."""
    missing = UPDATE_FIELDS - set(update)
    assert not missing, missing
    for name in ("vendor", "device_id", "command_type", "idempotency_key"):
        assert update[name] == request[name]
    assert update["command_id"] == reply["command_id"]
    assert update["accepted_at"] == reply["accepted_at"]
    assert utc(update["updated_at"]) >= utc(update["accepted_at"])
    if update["terminal"]:
        assert update["response_message"]
    missing = VENDOR_RESPONSE_FIELDS - set(update["vendor_response"])
    assert not missing, missing


def check_sequence(updates):
    """Sequence numbers count up, and only the last update is terminal."""
    numbers = [update["seq"] for update in updates]
    assert numbers == sorted(set(numbers)), numbers
    assert [update["terminal"] for update in updates] == [False] * (len(updates) - 1) + [True]


def check_error(reply, code, field, data):
    """An error names code and field, what would be right, and the exact bytes that it is about."""
    assert set(reply) == {"error", "idempotency_key", "request_sha256"}
    error = reply["error"]
    assert set(error) == {"code", "message", "field"}
    assert (error["code"], error["field"]) == (code, field), error
    assert error["message"]
    assert reply["request_sha256"] == hashlib.sha256(data).hexdigest()


def utc(text):
    """Parses an RFC 3339 time that is in UTC."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", text), text
    return datetime.fromisoformat(text)


def seconds_taken(update):
    return (utc(update["updated_at"]) - utc(update["accepted_at"])).total_seconds()
