"""What happens in a round, all of it from the round's seed."""

import random

from commands import HARMLESS, KINDS, MOODS, Asked

# Of these a round has one or two.
TROUBLES = (
    "restart_broker",
    "kill_broker",
    "wipe_broker",
    "freeze_broker",
    "freeze_agent",
    "cut",
    "cut_in_packet",
    "swallow",
    "take_over",
    "usurp",
    "replug",
)
KILL_MOMENTS = ("now", "frame", "message")


def plan(seed):
    """The steps of a round: (name of a method of World, its arguments)."""
    chance = random.Random(seed)
    steps = []
    for number in range(1, chance.randint(12, 20)):
        steps.append(("ask", {"asked": asked(chance, number)}))
        if chance.random() < 0.4:
            steps.append(("pause", {"seconds": chance.uniform(0.0, 0.1)}))
    extra = []
    for number in range(number + 1, number + chance.randint(3, 5)):
        # Its way through the agent takes a few ms, so most kills meet it there.
        extra.append([("ask", {"asked": asked(chance, number)}), ("kill_agent", kill(chance))])
    if chance.random() < 0.15:
        extra.append([("restart_agent", {})])
    for name in chance.sample(TROUBLES, chance.randint(1, 2)):
        extra.append([(name, trouble(chance, name))])
    for _ in range(chance.randint(4, 9)):
        how = chance.choice(("same bytes", "signed again", "other content"))
        extra.append([("repeat", {"how": how, "pick": chance.random()})])
    for those in extra:
        # Not before there is something to disturb.
        at = chance.randint(3, len(steps))
        steps[at:at] = those
    return steps


def asked(chance, number):
    command_type = chance.choice(HARMLESS)
    if KINDS[command_type].retransmitted:
        mood = chance.choice(("accept", "silent", "second frame"))
        return Asked(number, command_type, mood, chance.choice((2, 3)))
    mood = chance.choices(list(MOODS), list(MOODS.values()))[0]
    return Asked(number, command_type, mood, chance.choice((0, 1, 1, 2)))


def kill(chance):
    return {
        "moment": chance.choice(KILL_MOMENTS),
        "after_s": chance.choice((0.0, chance.uniform(0.0, 0.004), chance.uniform(0.0, 0.04))),
        "down_s": chance.choice((0.0, 0.0, chance.uniform(0.0, 0.5))),
        # Without a pause most of what follows finds no vehicle yet.
        "then_s": chance.choice((0.0, 0.3, 0.3)),
    }


def trouble(chance, name):
    span = chance.uniform(0.02, 0.4)
    return {
        "freeze_broker": {"seconds": span},
        "freeze_agent": {"seconds": 3 * span},
        "cut_in_packet": {
            "sender": chance.choice(("agent", "broker")),
            "count": chance.randint(1, 3000),
        },
        "swallow": {
            "senders": chance.choice((("agent",), ("broker",), ("agent", "broker"))),
            "seconds": span,
        },
        "take_over": {"seconds": span / 2},
        "usurp": {"seconds": span / 2},
        "replug": {"seconds": span},
    }.get(name, {})
