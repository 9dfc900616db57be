"""What one thread sees and a test waits for."""

import threading

# Generous: a bound for a broken system, not a measure of a slow one.
TIMEOUT_S = 30


class Observed:
    """An append-only list that one thread fills while a test waits for a condition on it."""

    def __init__(self):
        self._entries = []
        self._changed = threading.Condition()

    def append(self, entry):
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def __len__(self):
        return len(self._entries)

    def since(self, mark=0):
        """A copy of the entries from position `mark` on."""
        with self._changed:
            return self._entries[mark:]

    def wait_for(self, condition, what, mark=0, timeout=TIMEOUT_S):
        """Waits until `condition(entries from mark on)` is truthy, and returns its value."""
        with self._changed:
            found = self._changed.wait_for(lambda: condition(self._entries[mark:]), timeout)
            if not found:
                seen = "\n  ".join(str(entry) for entry in self._entries[mark:][-20:])
                raise AssertionError(f"waited {timeout} s in vain for {what}; seen last:\n  {seen}")
            return found
