"""Case `lambda_fields`: hundreds of invocations, cold, warm, failing, timed out, with late lines, over two processes of one sandbox; every
field of what arrives is compared with `lambda_expected.json`, which says where each expectation comes from."""

import base64
import json
import re
import signal
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

from agent import API_KEY, Agent, Setup
from case_lambda import NAME, SHUTDOWN_MS, install, lambda_env
from case_lambda_libraries import Sandbox
from checks import check, equal
from fake_intake import SKETCHES, FakeIntake
from fake_lambda import FakeLambda, post
from log_lines import request_of, text_of
from recording import ARN, FUNCTION, Invocation, event, unix_ms

EXPECTED = Path(__file__).parent / "lambda_expected.json"
FIRST, SECOND = 240, 60  # invocations of each process
KINDS = ["plain", "announced", "failing", "unavailable", "structured", "late"]
BEGAN = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(seconds=FIRST + SECOND)
TRACE, PARENT = 7_000_000_000_000_000_000, 6_000_000_000_000_000_000
EVENT = {"version": "2.0", "rawQueryString": "", "routeKey": "GET /orders/{id}", "headers": {},
         "requestContext": {"apiId": "a1", "domainName": "a1.execute-api.us-east-1.amazonaws.com", "stage": "$default", "requestId": "q",
                            "http": {"method": "GET", "path": "/orders/7", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "curl/8"}}}


class Story:
    """One invocation: what happens in it, and what is to be seen of it."""

    def __init__(self, number, kind, cold=False):
        self.number, self.kind, self.cold = number, kind, cold
        lines = [f"line of {number}\n"]
        if kind == "structured":
            lines.append(json.dumps({"level": "WARN", "ddtags": f"order:{number}", "message": "m"}))
        status = {"failing": "error", "timeout": "timeout"}.get(kind, "success")
        start = BEGAN + timedelta(seconds=number)  # telemetry is sorted by time
        self.invocation = Invocation(f"44444444-aaaa-4bbb-8ccc-{number:012}", status, lines, start, cold=cold)
        self.late = [event(self.invocation.at(121), "function", f"late line of {number}")] if kind == "late" else []

    @property
    def announced(self):
        return self.kind in ("announced", "failing", "unavailable", "timeout")

    def work(self, port):
        """The calls of the function's tracer, if it makes any."""
        if not self.announced:
            return
        event = json.loads(json.dumps(EVENT))
        event["requestContext"]["timeEpoch"] = unix_ms(self.invocation.start) - 40
        event["headers"] = {"X-Datadog-Trace-Id": str(TRACE + self.number), "x-datadog-PARENT-id": str(PARENT), "x-datadog-sampling-priority": "1",
                            "x-datadog-tags": "_dd.p.tid=6553f10000000000"}
        request = {"lambda_runtime_aws_request_id": self.invocation.request_id}
        status, headers = post(port, "/lambda/start-invocation", json.dumps(event).encode(), **request)
        equal((status, headers["x-datadog-trace-id"], headers["x-datadog-tags"]), (200, str(TRACE + self.number), "_dd.p.tid=6553f10000000000"), "answer to the start")
        if self.kind == "timeout":
            return  # it is stopped before it can say more
        if self.kind == "failing":
            stack = base64.b64encode("Traceback: «kaputt»".encode()).decode()
            request |= {"x_datadog_invocation_error": "true", "x_datadog_invocation_error_msg": "kaputt", "x_datadog_invocation_error_type": "ValueError",
                        "x_datadog_invocation_error_stack": stack}
        answer = json.dumps({"statusCode": 503 if self.kind == "unavailable" else 200}).encode()
        status, _ = post(port, "/lambda/end-invocation", answer, x_datadog_span_id=str(self.number + 1), **request)
        equal(status, 200, "answer to the end")

    def values(self):
        """What stands in the braces of expected texts."""
        start = self.invocation.start
        return {"id": self.invocation.request_id, "number": self.number, "arn": ARN.lower(), "function": FUNCTION, "name": FUNCTION.lower(),
                "start_ms": unix_ms(start), "trace": TRACE + self.number, "span": self.number + 1, "parent": PARENT,
                "duration_ms": f"{self.invocation.duration_ms:.2f}", "cold": str(self.cold).lower(), "report": self.invocation.report_line()}


def lambda_fields(setup: Setup):
    folder = setup.folder("lambda_fields")
    executable = install(setup, folder)
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    stories = [Story(number, KINDS[number % len(KINDS)], cold=number == 0) for number in range(FIRST + SECOND)]
    stories[FIRST - 1] = Story(FIRST - 1, "timeout")
    try:
        with FakeIntake(API_KEY) as intake:
            for part, reason in ((stories[:FIRST], "timeout"), (stories[FIRST:], "spindown")):
                _process(setup, folder, executable, intake, part, reason)
            intake.require_no_faults()
            return _compare(expected, stories, intake)
    finally:
        executable.unlink()


def _process(setup, folder, executable, intake, stories, reason):
    env = {"DD_SERVICE": "Shop", "DD_ENV": "e2e", "DD_TAGS": "team:web", "DD_LAMBDA_PROC_ENHANCED_METRICS": "false", "DD_LOG_LEVEL": "error",
           "DD_SERVERLESS_FLUSH_STRATEGY": "end"}
    with FakeLambda(NAME) as api:
        with Agent([executable], lambda_env(setup, folder, intake, api) | env) as agent:
            api.wait_next(1)
            port = agent.ready()[0]
            sandbox = Sandbox(api, agent)
            for story in stories:
                sandbox.run(story.invocation, lambda story=story: story.work(port))
                sandbox.report = story.late + sandbox.report
            agent.signal(signal.SIGCONT)
            api.send_telemetry(sandbox.report)
            api.shutdown(reason, SHUTDOWN_MS)
            agent.finish(within=SHUTDOWN_MS / 1000)
        equal(api.violations, [], "calls that the API refused")


def _compare(expected, stories, intake):
    entries = [entry for entry in intake.logs() if not str(text_of(entry)).startswith("INIT_START")]
    own = Counter()
    for story in stories:
        found = [entry for entry in entries if request_of(entry) == story.invocation.request_id]
        wanted = _filled([expected["logs"][kind] for kind in _lines(story)], story.values())
        equal_lists([_tags_as_list(entry) for entry in found], wanted, f"log entries of {story.invocation.request_id} ({story.kind})")
        own.update(lines=len(found))
    strangers = [entry for entry in entries if request_of(entry) not in {story.invocation.request_id for story in stories}]
    equal(strangers, [], "lines of no invocation")
    spans = {}
    for span in intake.spans():
        spans.setdefault(span.traceID, []).append(span)
    announced = [story for story in stories if story.announced]
    for story in announced:
        found = sorted((_plain(span) for span in spans.pop(story.values()["trace"])), key=lambda span: span["name"])
        found = [span for span in found if span["name"] != "aws.lambda.cold_start"]
        equal(found[1]["parentID"], found[0]["spanID"], "parent of aws.lambda")
        equal_lists(found, _filled(expected["spans"][story.kind], story.values()), f"spans of {story.invocation.request_id} ({story.kind})")
    leftover = [span.name for found in spans.values() for span in found]
    check(set(leftover) <= {"aws.lambda.cold_start"}, f"spans of nobody: {leftover[:5]}")
    points = _compare_metrics(expected["metrics"], stories, intake.metrics[SKETCHES])
    return (f"{len(stories)} invocations of {len({story.kind for story in stories})} kinds in two processes: {own['lines']} lines, {len(announced)} traces, "
            f"{points} points, each field as expected")


def _lines(story):
    kinds = ["start", "line"] + (["structured"] if story.kind == "structured" else [])
    kinds.append({"failing": "end of failing", "timeout": "end of timeout"}.get(story.kind, "end"))
    return kinds + ["late"] * len(story.late) + ["report"]


def _compare_metrics(expected, stories, sketches):
    """Sum and number of values of each metric and tags, over all invocations."""
    wanted, found = Counter(), Counter()
    for story in stories:
        for name, values in expected["of each invocation"].items():
            value = values.get(story.kind, values.get("else"))
            if value is not None:
                wanted[name, story.cold] += value
                wanted[f"{name} (number)", story.cold] += 1
    for name, number in expected["of the sandbox"].items():
        wanted[name, None] += number["sum"]
        wanted[f"{name} (number)", None] += number["number"]
    common = set(_filled(expected["tags"], stories[0].values()))
    for sketch in sketches:
        if not sketch.metric.startswith("aws.lambda.enhanced."):
            continue
        name, tags = sketch.metric.removeprefix("aws.lambda.enhanced."), set(sketch.tags)
        cold = {"cold_start:true": True, "cold_start:false": False}
        [mark] = [tag for tag in tags if tag in cold] or [None]
        equal((sketch.host, sorted(_known(tags - {mark}))), ("", sorted(common)), f"host and tags of {sketch.metric}")
        mark = None if name in expected["of the sandbox"] else cold.get(mark)
        for part in sketch.dogsketches:
            found[name, mark] += part.sum
            found[f"{name} (number)", mark] += part.cnt
    equal({key: round(value, 6) for key, value in found.items()}, {key: round(value, 6) for key, value in wanted.items()}, "sums and numbers of metrics")
    return sum(value for (name, _), value in found.items() if name.endswith("(number)"))


def _known(tags):
    """What depends on machine and build, in a form that does not."""
    return {re.sub(r"^(runtime|architecture|dd_extension_version):.+", r"\1:?", tag) for tag in tags}


def _tags_as_list(entry):
    return entry | {"ddtags": sorted(_known(entry["ddtags"].split(",")))}


def _plain(span):
    plain = {key: getattr(span, key) for key in ("name", "service", "resource", "type", "error", "traceID", "spanID", "parentID")}
    return plain | {"duration_ms": round(span.duration / 1e6, 3), "meta": dict(span.meta), "metrics": dict(span.metrics)}


def _filled(template, values):
    """The template with what stands in braces put in; a text that is nothing else becomes a number where it looks like one."""
    if isinstance(template, list):
        return [_filled(item, values) for item in template]
    if isinstance(template, dict):
        return {key: sorted(_filled(item, values)) if key == "ddtags" else _filled(item, values) for key, item in template.items()}
    if not isinstance(template, str):
        return template
    text = re.sub(r"<(\w+)>", lambda place: str(values[place[1]]), template)
    number = re.fullmatch(r"#(\d+)(?:\+(\d+))?", text)
    return int(number[1]) + int(number[2] or 0) if number else text


def equal_lists(found, wanted, what):
    """Each with its like, field by field; `?` is wanted where anything will do that is there."""
    equal(len(found), len(wanted), f"number of {what}")
    for one, other in zip(found, wanted):
        one, other = _flat(one), _flat(other)
        different = sorted(key for key in one.keys() | other.keys() if _differs(one.get(key), other.get(key)))
        equal({key: one.get(key) for key in different}, {key: other.get(key) for key in different}, f"fields of {what}")


def _differs(found, wanted):
    return not found if wanted == "?" else found != wanted


def _flat(value, path=""):
    """Each leaf by its path, so that a difference is told and not two wholes."""
    if not isinstance(value, dict):
        return {path: value}
    return {key: leaf for name, member in value.items() for key, leaf in _flat(member, f"{path}/{name}").items()}
