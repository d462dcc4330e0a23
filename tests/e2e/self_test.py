"""Tests of the harness itself: a comparison that cannot fail shows nothing."""

import gzip
import http.client
import json
import zlib
from pathlib import Path

import zstandard

import agent_payload
from agent import API_KEY, Ledger
from case_lambda_fields import equal_lists
from checks import Failed, equal
from compare import compare
from fake_http import Answer
from fake_intake import LOGS, TRACES, FakeIntake
from fake_lambda import IDENTIFIER, NEXT, REGISTER, TELEMETRY, FakeLambda
from log_lines import compare_logs
from recording import Invocation, unix_ms

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
PAYLOAD = bytes.fromhex(GOLDEN["protobuf_hex"])


def golden_payload_decodes():
    payload = agent_payload.decode(PAYLOAD)
    equal((payload.hostName, payload.env, payload.targetTPS, payload.errorTPS), ("gw-1", "none", 10.0, 10.0), "payload")
    tracer_payload = payload.tracerPayloads[0]
    names = (tracer_payload.languageName, tracer_payload.env, tracer_payload.appVersion)
    equal(names, ("python", "prod", "1.2.3"), "tracer payload")
    web, sql = tracer_payload.chunks[0].spans
    numbers = (web.traceID, web.spanID, web.start, web.duration)
    equal(numbers, (0x1122334455667788, 1, 1700000000 * 10**9, 150000000), "root")
    equal((dict(web.metrics)["_top_level"], web.meta["_dd.p.tid"]), (1.0, "6553f10000000000"), "root tags")
    equal((sql.error, sql.parentID, sql.type), (1, 1, "sql"), "child")
    equal(sql.meta["sql.query"], "SELECT * FROM cart WHERE id = ?", "child tag")
    equal(sql.meta_struct["_dd.stack"].hex(), "81a66672616d65739101", "meta_struct")
    link, event = sql.spanLinks[0], sql.spanEvents[0]
    numbers = (link.traceID_high, link.spanID, link.flags)
    equal((*numbers, link.tracestate), (7301444403200000000, 99, 2147483649, "dd=s:1"), "link")
    equal((event.time_unix_nano, event.attributes["ratio"].double_value), (1700000000015000000, 0.5), "event")
    equal([v.int_value for v in event.attributes["codes"].array_value.values], [1, 2], "array attribute")
    dropped = agent_payload.decode(bytes.fromhex(GOLDEN["dropped_chunk_hex"]))
    chunk = dropped.tracerPayloads[0].chunks[0]
    equal((chunk.priority, chunk.droppedTrace), (-128, True), "dropped chunk")
    return "every member of the golden payload, and priority -128"


def unknown_field_is_refused():
    _fails(lambda: agent_payload.decode(PAYLOAD + b"\x1a\x01x"), ValueError)  # field 3 is free in AgentPayload
    return "field 3 in a payload"


def fields_are_compared_one_by_one():
    wanted = {"a": {"b": 1, "c": "?"}, "d": ["x"]}
    equal_lists([{"a": {"b": 1, "c": "anything"}, "d": ["x"]}], [wanted], "fields")
    wrong = [{"b": 2, "c": 1}, {"b": 1}, {"b": 1, "c": ""}, {"b": 1, "c": 1, "e": 0.5}]
    for found in ([], *([{"a": inner, "d": ["x"]}] for inner in wrong), [{"a": {"b": 1, "c": 1}, "d": []}]):
        _fails(lambda found=found: equal_lists(found, [wanted], "fields"), Failed)
    return "another value, one missing, one too many"


def intake_inflates_and_scripts():
    encodings = {None: bytes, "gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.ZstdCompressor().compress}
    with FakeIntake(API_KEY) as intake:
        for name, deflate in encodings.items():
            equal(_post(intake, TRACES, deflate(PAYLOAD), name, "application/x-protobuf"), 202, f"{name} traces")
        equal(_post(intake, LOGS, gzip.compress(b'[{"message":"a"}]'), "gzip"), 202, "logs")
        equal((len(intake.spans()), len(intake.logs())), (8, 1), "spans and logs")
        intake.require_no_faults()
        intake.answers = [Answer(503), Answer(reset=True)]
        equal(_post(intake, LOGS, b'[{"message":"b"}]'), 503, "scripted status")
        _fails(lambda: _post(intake, LOGS, b'[{"message":"b"}]'), (ConnectionError, http.client.HTTPException))
        equal((len(intake.logs()), len(intake.posts)), (1, 7), "only accepted logs count")
        for path, body in ((LOGS, b"[]"), (LOGS, b'[{"a":1},]'), (LOGS, b"{}"), ("/nowhere", b"x"), (TRACES, b"\x07")):
            equal(_post(intake, path, body), 400, f"{path} {body}")
        equal(len(intake.faults), 5, "faults")
    return "identity, gzip, deflate, zstd; scripted 503 and reset; 5 bad bodies refused"


def comparison_notices_every_difference():
    truth, chunks = _truth_and_chunks()
    compare(truth, chunks)
    span = chunks[0][1].spans[1]
    wrong = {"name": "x", "service": "x", "resource": "x", "type": "x", "parentID": 9, "error": 0, "start": 9}
    for member, value in wrong.items():
        before = getattr(span, member)
        setattr(span, member, value)
        _fails(lambda: compare(truth, chunks))
        setattr(span, member, before)
    changes = [
        lambda t: t[1]["links"].pop(), lambda t: t[1]["links"][0].update(span_id=98), lambda t: t[1]["events"].pop(),
        lambda t: t[1]["events"][0]["attributes"].update(ratio=0.25), lambda t: t[1]["links"][0].update(tracestate=""),
        lambda t: t[1]["meta"].update(extra="1"), lambda t: t[1]["metrics"].update(extra=1), lambda t: t.pop(),
        lambda t: t[1]["meta_struct"].clear(), lambda t: t[0].update(priority=2), lambda t: t[1].update(top_level=True),
        lambda t: t.append({**t[0], "span_id": "77"}),
        lambda t: t[0].update(trace_id="0" * 16 + t[0]["trace_id"][16:]),
    ]
    for change in changes:
        changed = json.loads(json.dumps(truth))
        change(changed)
        _fails(lambda: compare(changed, chunks))
    _fails(lambda: compare(truth, chunks * 2))
    return "a changed field, tag, metric, link, event, id half, priority or mark; a span missing, extra or twice"


def log_comparison_notices_every_difference():
    invocation = Invocation("r-1", "timeout", ["a", {"level": "ERROR", "message": "b"}], cold=True)
    entries = _log_entries(invocation)
    equal(compare_logs(entries, [invocation]), 5, "lines")
    for index in range(len(entries)):
        _fails(lambda: compare_logs(entries[:index] + entries[index + 1:], [invocation]))
        _fails(lambda: compare_logs(entries + entries[index:index + 1], [invocation]))
    return "each of 5 lines missing, each twice"


def ledger_is_read_and_recomputed():
    line = ("INFO | ledger: traces accepted=9 restored=1 sent=7 memory=0 spool=0 dropped=3 [refused=2 malformed=1]; "
            "logs accepted=4 restored=0 sent=4 memory=0 spool=0 dropped=0; balanced lost=0\"}")
    read = Ledger(line)
    read.require_balanced()
    read.require_delivered(logs=4)
    equal(read.signals["traces"]["refused"], 2, "reason")
    _fails(lambda: read.require_delivered(traces=7))
    _fails(lambda: read.require_delivered(metrics=1))
    _fails(lambda: Ledger(line.replace("sent=7", "sent=6")).require_balanced())
    _fails(lambda: Ledger(line.replace("balanced lost=0", "UNBALANCED")).require_balanced())
    return "signals, reasons, a wrong sum, UNBALANCED"


def sandbox_refuses_what_aws_refuses():
    subscription = {
        "schemaVersion": "2022-12-13", "types": ["platform", "function", "extension"],
        "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:%d/lambda/logs"},
        "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    }
    name, identifier = {"Lambda-Extension-Name": "datadog-agent"}, {"Lambda-Extension-Identifier": IDENTIFIER}
    events, elsewhere = {"events": ["INVOKE", "SHUTDOWN"]}, {"protocol": "HTTP", "URI": "http://localhost:1/"}
    with FakeIntake(API_KEY) as listener, FakeLambda("datadog-agent") as sandbox:
        port = int(listener.address.split(":")[1])  # any open port will do as the subscriber's
        subscription["destination"]["URI"] %= port
        calls = [
            ("GET", NEXT, {}, None, 403), ("POST", REGISTER, {"Lambda-Extension-Name": "mote"}, events, 403),
            ("POST", REGISTER, name, {"events": ["INVOKE"]}, 403), ("POST", REGISTER, name, events, 200),
            ("POST", REGISTER, name, events, 403), ("PUT", TELEMETRY, {}, subscription, 403),
            ("PUT", TELEMETRY, identifier, {**subscription, "buffering": {"timeoutMs": 24}}, 400),
            ("PUT", TELEMETRY, identifier, {**subscription, "destination": elsewhere}, 400),
            ("PUT", TELEMETRY, identifier, subscription, 200), ("PUT", TELEMETRY, identifier, subscription, 403),
        ]
        for method, path, headers, body, wanted in calls:
            equal(_call(sandbox, method, path, headers, body)[0], wanted, f"{method} {path} {headers} {body}")
        equal(len(sandbox.violations), 8, "violations")
        sandbox.waiting = True  # as if a call were pending: its answer is kept for the one that comes
        sandbox.answer_next(Invocation("r-1").invoke(1))
        sandbox.waiting = False
        status, body = _call(sandbox, "GET", NEXT, identifier, None)
        equal((status, json.loads(body)["requestId"]), (200, "r-1"), "next")
    return "8 wrong calls refused and noted, 3 right ones answered"


TESTS = [fields_are_compared_one_by_one, golden_payload_decodes, unknown_field_is_refused, intake_inflates_and_scripts, comparison_notices_every_difference,
         log_comparison_notices_every_difference, ledger_is_read_and_recomputed, sandbox_refuses_what_aws_refuses]


def _fails(action, kind=Failed):
    try:
        action()
    except kind:
        return
    raise Failed("accepted what it should refuse")


def _post(intake, path, body, encoding=None, content_type="application/json"):
    headers = {"DD-API-KEY": API_KEY, "Content-Type": content_type} | ({"Content-Encoding": encoding} if encoding else {})
    return _request(intake, "POST", path, headers, body)[0]


def _call(sandbox, method, path, headers, body):
    return _request(sandbox, method, path, headers, json.dumps(body) if body else None)


def _request(server, method, path, headers, body):
    connection = http.client.HTTPConnection(server.address, timeout=10)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _truth_and_chunks():
    """The golden payload and what its tracer would have written down."""
    tracer_payload = agent_payload.decode(PAYLOAD).tracerPayloads[0]
    root, child = tracer_payload.chunks[0].spans
    truth = [{
        "trace_id": f"6553f10000000000{span.traceID:016x}", "span_id": str(span.spanID), "parent_id": str(span.parentID),
        "name": span.name, "service": span.service, "resource": span.resource, "type": span.type, "error": span.error,
        "start": span.start, "duration": span.duration, "meta": dict(span.meta), "metrics": dict(span.metrics),
        "meta_struct": {key: value.hex() for key, value in span.meta_struct.items()}, "top_level": span is root, "priority": 1, "links": [], "events": [],
    } for span in (root, child)]
    trace_id, attributes = "6553f100000000001122334455667788", {"reason": "retry"}
    truth[1]["links"] = [{"trace_id": trace_id, "span_id": 99, "attributes": attributes, "tracestate": "dd=s:1"}]
    attributes = {"exception.message": "boom", "handled": False, "attempt": 3, "ratio": 0.5, "codes": [1, 2]}
    truth[1]["events"] = [{"name": "exception", "time": 1_700_000_000_015_000_000, "attributes": attributes}]
    return truth, [(tracer_payload, tracer_payload.chunks[0])]


def _log_entries(invocation):
    def entry(text, status="info", at=0):
        return {"message": {"message": text, "lambda": {"arn": "a", "request_id": invocation.request_id}},
                "status": status, "timestamp": unix_ms(invocation.at(at))}

    return [entry(invocation.start_line()), entry("a", at=1), entry('{"level":"ERROR","message":"b"}', "error", 2),
            entry(f"END RequestId: {invocation.request_id} Task timed out after 0.12 seconds", "error"),
            entry(invocation.report_line())]
