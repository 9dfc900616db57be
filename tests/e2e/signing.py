"""Signs requests as docs/signing.md says, with nothing but the standard library."""

import hashlib
import hmac
import json
import secrets
import time

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from seeds import BASE


# What is signed of a command that comes by HTTP.
BY_HTTP = {"method": "POST", "topic": "/api/v1/open/downlink/commands"}


def secret(api_id):
    """An issuer's key, each its own."""
    return hashlib.sha256(api_id.encode()).digest()


def credentials(body: bytes, topic=f"{BASE}/commands/cloud", api_id="cloud", key=None,
                timestamp=None, nonce=None, challenge=None, method="MQTT"):
    """The signature's fields, by the names of the envelope."""
    timestamp = str(int(time.time()) if timestamp is None else timestamp)
    nonce = nonce or secrets.token_hex(16)
    lines = [method, topic, timestamp, nonce, hashlib.sha256(body).hexdigest()]
    if challenge is not None:
        lines.append(challenge)
    key = key or secret(api_id)
    signature = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()
    fields = {"api_id": api_id, "timestamp": timestamp, "nonce": nonce, "signature": signature}
    return fields if challenge is None else {**fields, "challenge": challenge}


def properties(body: bytes, others=None, **how):
    """As MQTT 5 user properties beside the plain body, and beside other properties."""
    beside = others or Properties(PacketTypes.PUBLISH)
    beside.UserProperty = named(credentials(body, **how))
    return beside


def headers(body: bytes, **how):
    """As HTTP headers beside the plain body."""
    return named(credentials(body, **{**BY_HTTP, **how}))


def named(fields):
    names = {"api_id": "Id"}
    return [
        (f"X-Api-{names.get(name, name.capitalize())}", value) for name, value in fields.items()
    ]


def envelope(body: bytes, **how):
    """As an envelope around the body, for publishers without MQTT 5."""
    auth = credentials(body, **how)
    auth["timestamp"] = int(auth["timestamp"])
    return json.dumps({"auth": auth, "body": body.decode()}).encode()
