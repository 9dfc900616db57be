"""Runs a timeline, and says what came of it."""

import time

from judgement import RETURN_S, Judgement
from observed import TIMEOUT_S
from process import quarters
from soak import Soak

# From the second quarter to the last.
GROWTH_KB = 1024
# Frames that noise which looks like one can hold back at the end.
HELD_BACK = 10
# Half a second of the stream: what was on its way when the vehicle went, to an agent that had to wait
# for the processor.
LOST_PER_ABSENCE = 260


def soak_for(folder, seed, steps, is_warmed_up=True):
    """Returns rows of (what, figure), and the violations. Memory is judged only when warmed up."""
    folder.mkdir()
    soak = Soak(folder, seed)
    violations = soak.ledger.violations
    rows = []
    try:
        soak.start()
        if is_warmed_up:
            soak.warm_up()
        soak.run(steps)
        rows += check_reader(soak)
        rows += check_memory(soak, is_warmed_up)
        soak.settle()
    except AssertionError as error:
        violations.append(str(error))
    finally:
        soak.close()
    check_agent(soak)
    soak.ledger.read()
    soak.ledger.check(soak.asked, soak.vehicle.answers)
    judgement = Judgement(soak.ledger, soak.vehicle, soak.gaps, soak.watcher)
    judgement.judge(soak.asked)
    returns = judgement.returns()
    rows += sorted(soak.events.items())
    rows += [("command frames", soak.ledger.frames())]
    rows += sorted(soak.ledger.tally(soak.asked).items())
    rows += sorted(judgement.counts.items())
    rows += [("device names", soak.vehicle.nodes)]
    rows += [(f"back within {RETURN_S:g} s", f"{sum(s <= RETURN_S for s in returns)}/{len(returns)}")]
    if returns:
        middle, last = returns[len(returns) // 2], returns[-1]
        rows += [("back after", f"{middle:.2f} s (median), {last:.2f} s (longest)")]
    rows += [("violations", len(violations))]
    return rows, violations


def check_reader(soak):
    """Noise costs the frames that it hits, and no others."""
    soak.vehicle.streaming = False
    intact = soak.vehicle.noise.frames["intact"]
    least = intact - HELD_BACK - LOST_PER_ABSENCE * len(soak.gaps)
    until = time.monotonic() + TIMEOUT_S
    while (read := soak.metric("link_frames_total")) < least and time.monotonic() < until:
        time.sleep(0.1)
    # Heartbeats go on. One noise in 65536 has a checksum that fits, and a run has over a hundred.
    if not least <= read <= soak.vehicle.noise.frames["intact"] + 1:
        soak.ledger.violations.append(f"of {intact} intact frames {read} were read")
    return [
        ("frames on the line", soak.vehicle.noise.frames["sent"]),
        ("intact frames", intact),
        ("frames read", read),
        ("bad checksums", soak.metric("link_bad_checksums_total")),
        ("bytes skipped", soak.metric("link_skipped_bytes_total")),
    ]


def check_memory(soak, is_judged):
    medians = quarters(soak.resident)
    if is_judged and medians[3] - medians[1] > GROWTH_KB:
        soak.ledger.violations.append(f"resident memory grew: {medians} kB by quarters")
    told = ", ".join(f"{median / 1024:.1f}" for median in medians)
    return [("resident memory by quarters", f"{told} MB")]


def check_agent(soak):
    if len(soak.watcher.sessions) != 1:
        soak.ledger.violations.append(f"sessions: {soak.watcher.sessions}")
    for line in soak.agent.log.read_text(errors="replace").splitlines():
        if " ERROR " in line or "panic" in line:
            soak.ledger.violations.append(f"in the log: {line}")
