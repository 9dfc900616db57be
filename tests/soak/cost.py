"""What the agent's reading of PX4's onboard stream costs, on a clean line without commands."""

import time

from process import processor_seconds
from soak import Soak

SPAN_S = 30


def cost_of_the_stream(folder, seed):
    """Rows of (what, figure): processor time idle, with the stream, and per frame."""
    folder.mkdir()
    soak = Soak(folder, seed)
    try:
        soak.vehicle.streaming = False
        soak.start()
        idle, _ = span(soak)
        soak.vehicle.streaming = True
        busy, frames = span(soak)
    finally:
        soak.close()
    return [
        ("processor time without a stream", f"{1000 * idle / SPAN_S:.2f} ms/s"),
        ("processor time with the onboard stream", f"{1000 * busy / SPAN_S:.2f} ms/s"),
        ("frames of the stream", f"{frames / SPAN_S:.0f}/s"),
        ("processor time per frame", f"{1e6 * (busy - idle) / frames:.1f} µs"),
    ]


def span(soak):
    """Processor seconds, and the frames that were sent meanwhile."""
    frames, begun = soak.vehicle.noise.frames["sent"], processor_seconds(soak.agent.pid)
    time.sleep(SPAN_S)
    used = processor_seconds(soak.agent.pid) - begun
    return used, soak.vehicle.noise.frames["sent"] - frames
