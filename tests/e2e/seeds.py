"""The five reference requests and their curl lines, word for word, small ways to vary them, and their
device's topics."""

import json

BASE = "downlink/v1/px4/px4-real-1"

BODIES = {
    "image_stop_capture": '{"vendor":"px4","device_id":"px4-real-1","command_type":"image_stop_capture","payload":{"target_camera_id":0},"idempotency_key":"req-image_stop_capture-001","timeout_seconds":30}',
    "request_camera_capture_status": '{"vendor":"px4","device_id":"px4-real-1","command_type":"request_camera_capture_status","payload":{"capture_status":0},"idempotency_key":"req-request_camera_capture_status-001","timeout_seconds":30}',
    "do_digicam_control": '{"vendor":"px4","device_id":"px4-real-1","command_type":"do_digicam_control","payload":{"session_control":0,"zoom_absolute":0,"zoom_relative":0,"focus":0,"shoot_command":0,"command_identity":0,"shot_id":0},"idempotency_key":"req-do_digicam_control-001","timeout_seconds":30}',
    "preflight_reboot_shutdown": '{"vendor":"px4","device_id":"px4-real-1","command_type":"preflight_reboot_shutdown","payload":{"autopilot":0,"companion":0,"component_action":0,"component_id":0,"conditions":0},"idempotency_key":"req-preflight_reboot_shutdown-001","timeout_seconds":30}',
    "nav_roi": '{"vendor":"px4","device_id":"px4-real-1","command_type":"nav_roi","payload":{"roi_mode":0,"wp_index":0,"roi_index":0,"x":0,"y":0,"z":30.0},"idempotency_key":"req-nav_roi-001","timeout_seconds":30}',
}

TYPES = tuple(BODIES)

CURL = r"""
curl -X POST "/api/v1/open/downlink/commands" \
  -H "Content-Type: application/json" \
  -H "X-Api-Id: YOUR_API_ID" \
  -H "X-Api-Timestamp: YOUR_UNIX_SECONDS" \
  -H "X-Api-Nonce: YOUR_NONCE" \
  -H "X-Api-Signature: YOUR_SIGNATURE" \
  -d "BODY"
"""
CURL_QUERY = 'curl "/api/v1/open/downlink/commands/8cdb5bf3-8902-c5f7-f9aa-dc7fa0af1de0"'


def curl(command_type):
    """The line that creates a command, as it is printed."""
    return CURL.strip().replace("BODY", BODIES[command_type].replace('"', r"\""))


def request(command_type, /, **changes):
    """A reference request with some of its top-level fields changed; `...` removes one."""
    body = {**json.loads(BODIES[command_type]), **changes}
    return {name: value for name, value in body.items() if value is not ...}
