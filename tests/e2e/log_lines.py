"""Compares delivered log entries with the invocations they came from."""

import json
from collections import Counter

from checks import check, equal
from recording import Invocation, unix_ms


def text_of(entry):
    """The line itself: nested under `message.message` when the entry carries the `lambda` object."""
    message = entry["message"]
    return message["message"] if isinstance(message, dict) and "lambda" in message else message


def request_of(entry):
    message = entry["message"]
    return message["lambda"].get("request_id") if isinstance(message, dict) and "lambda" in message else None


def compare_logs(entries, invocations):
    """Every line once, under its own request, in order, with its time and severity. Gives the number of lines."""
    wanted = sum((_check_invocation(entries, invocation) for invocation in invocations), 0)
    known = {invocation.request_id for invocation in invocations}
    strangers = [request_of(entry) for entry in entries if request_of(entry) not in known | {None}]
    equal(strangers, [], "request ids that no invocation had")
    return wanted


def _check_invocation(entries, invocation: Invocation):
    where = f"logs of {invocation.request_id}"
    own = [entry for entry in entries if request_of(entry) == invocation.request_id]
    texts = [text_of(entry) for entry in own]
    for wanted in (invocation.start_line(), invocation.report_line()):
        equal(texts.count(wanted), 1, f"{where}: times that {wanted!r} arrived")
    for offset, line in enumerate(invocation.lines):
        _check_line(own, line, unix_ms(invocation.at(1 + offset)), where)
    ends = [entry for entry in own if str(text_of(entry)).startswith(f"END RequestId: {invocation.request_id}")]
    equal(len(ends), 1, f"{where}: END lines")
    timed_out = [entry for entry in own if "Task timed out after" in str(text_of(entry))]
    equal(len(timed_out), int(invocation.status == "timeout"), f"{where}: lines that tell of a timeout")
    equal([entry["status"] for entry in timed_out], ["error"] * len(timed_out), f"{where}: status of the timeout line")
    twice = [text for text, count in Counter(map(str, texts)).items() if 1 < count]
    equal(twice, [], f"{where}: lines that arrived twice")
    return len(invocation.lines) + 3


def _check_line(own, line, time_ms, where):
    """One function record. An object may be delivered as an object or as its JSON text."""
    wanted = line if isinstance(line, dict) else line.removesuffix("\n")
    found = [entry for entry in own if wanted in (text_of(entry), _as_object(text_of(entry)))]
    equal(len(found), 1, f"{where}: times that {wanted!r} arrived")
    equal(found[0]["timestamp"], time_ms, f"{where}: time of {wanted!r}")
    structured = _as_object(line) if isinstance(line, str) else line
    level = structured.get("level", "INFO").lower() if isinstance(structured, dict) else "info"
    equal(found[0]["status"], level, f"{where}: status of {wanted!r}")


def _as_object(text):
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None


def check_lambda_fields(entries, arn):
    """What the intake needs to show a line beside its function."""
    for entry in entries:
        equal(entry["ddsource"], "lambda", "ddsource")
        equal(entry["hostname"], arn.lower(), "hostname")
        equal(entry["message"]["lambda"]["arn"], arn.lower(), "lambda.arn")
        check(entry["message"]["lambda"].get("request_id", "x"), "an empty request id instead of none")
        check(isinstance(entry.get("ddtags", ""), str), "ddtags is not text")
