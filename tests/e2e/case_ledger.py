"""Case `ledger`: retries, refusals and bad chunks, each to be found again in the last line.

The other cases compare their ledger too; this one has the intake fail, where counting is easy to get wrong.
"""

import json

from agent import API_KEY, Agent, Setup
from checks import check, equal
from fake_http import Answer
from fake_intake import FakeIntake
from fake_lambda import post

SPANS = 50


def ledger(setup: Setup):
    _retried(setup, [Answer(503), Answer(reset=True)])
    _refused(setup)
    _malformed_chunk(setup)
    return (f"{SPANS} spans once after 503 and a cut connection; {SPANS} counted as refused after 400; "
            "one bad chunk of two counted as malformed; SIGUSR1 while undelivered; all balanced")


def _retried(setup, answers):
    """A failure is not a loss: the same spans are sent again, and the intake takes them once."""
    with FakeIntake(API_KEY, *answers) as intake, _agent(setup, intake, "ledger") as agent:
        _send(agent, [_trace(SPANS)])
        now = agent.ledger_now()
        now.require_balanced()
        equal(now.signals["traces"]["accepted"], SPANS, "spans accepted as of SIGUSR1")
        intake.wait_posts(len(answers) + 1)
        end = agent.terminate()
        intake.require_no_faults()
        equal(len({span.spanID for span in intake.spans()}), SPANS, "distinct spans at the intake")
        end.require_delivered(traces=len(intake.spans()))


def _refused(setup):
    """400 is final. The spans are lost, but by the intake's word, so the exit code stays 0."""
    with FakeIntake(API_KEY, *[Answer(400)] * 9) as intake, _agent(setup, intake, "ledger") as agent:
        _send(agent, [_trace(SPANS)])
        end = agent.terminate()
        end.require_balanced()
        row = end.signals["traces"]
        equal((row["sent"], row["dropped"], row.get("refused")), (0, SPANS, SPANS), f"sent, dropped, refused in {end.text}")
        equal(len(intake.posts), 1, "requests for a body that was refused for good")


def _malformed_chunk(setup):
    """A span id of 0 costs its chunk, not the request."""
    with FakeIntake(API_KEY) as intake, _agent(setup, intake, "ledger") as agent:
        bad = _trace(2, trace_id=8)
        bad[1]["span_id"] = 0
        _send(agent, [_trace(SPANS), bad])
        end = agent.terminate()
        intake.require_no_faults()
        end.require_balanced()
        row = end.signals["traces"]
        equal((row["sent"], len(intake.spans())), (SPANS, SPANS), "good spans sent, and at the intake")
        check(row["dropped"] == row.get("malformed") == 2, f"two spans malformed, but: {end.text}")


def _agent(setup, intake, name):
    agent = Agent([setup.binary, "run"], setup.agent_env(setup.folder(name), intake))
    agent.ready()
    return agent


def _send(agent, traces):
    status, _ = post(agent.ready()[1], "/v0.4/traces", json.dumps(traces).encode())
    equal(status, 200, "answer to a tracer")


def _trace(count, trace_id=7):
    return [{"service": "s", "name": "op", "resource": f"r{i}", "type": "", "trace_id": trace_id, "span_id": i + 1,
             "parent_id": min(i, 1), "start": 1_700_000_000_000_000_000, "duration": 1, "error": 0,
             "meta": {}, "metrics": {"_sampling_priority_v1": 1} if i == 0 else {}} for i in range(count)]
