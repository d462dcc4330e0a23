"""What every case says when something is not as promised, and how it waits."""

import time


class Failed(Exception):
    """A promise that was not kept; the text is what the FAIL line prints."""


def check(condition, text):
    if not condition:
        raise Failed(text)


def equal(found, wanted, what):
    check(found == wanted, f"{what}: found {_short(found)}, wanted {_short(wanted)}")


def _short(value):
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}... ({len(text)} characters)"


def wait_until(condition, seconds, what):
    """Returns the first true value of `condition`. The bound is a guard against hanging, not a measurement."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        check(time.monotonic() < end, f"not within {seconds} s: {what}")
        time.sleep(0.002)
    return value
