"""Case `memory`: 41 MB of spans pushed in one go at an agent whose intake answers nothing."""

import re
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import msgpack
from agent import API_KEY, Agent, Setup
from checks import check, equal
from fake_http import Answer
from fake_intake import FakeIntake

MIB = 1024 * 1024
FLOOD_BYTES, REQUEST_TRACES, AT_ONCE, SLACK = 41_000_000, 150, 4, 4 * MIB
SILENCE = 300  # seconds; the case ends long before


def memory(setup: Setup):
    return "; ".join(_flood(setup, name, size) for name, size in (("32MiB", 32 * MIB), ("8MiB", 8 * MIB)))


def _flood(setup, max_memory, size):
    folder = setup.folder("memory")
    # Without a spool, which would take what this case counts as lost, on a disk with room for it.
    env = {"DD_MAX_MEMORY": max_memory, "DD_SHUTDOWN_TIMEOUT": "1", "DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES": "0"}
    with FakeIntake(API_KEY, *[Answer(delay=SILENCE)] * 1000) as intake:
        with Agent([setup.binary, "run"], setup.agent_env(folder, intake, **env)) as agent:
            _, port = agent.ready()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                parts = list(pool.map(lambda number: _push(port, number), range(AT_ONCE)))
            peak = _peak(agent.pid)
            ledger = agent.terminate(code=75)  # spans were lost that nobody asked to drop
    taken, refused, pushed = (sum(column) for column in zip(*parts))
    ledger_row = ledger.signals["traces"]
    check(ledger.settles("traces"), f"traces do not add up: {ledger.text}")
    check(" balanced " in ledger.text, f"not balanced: {ledger.text}")
    equal((ledger_row["accepted"], ledger_row["sent"]), (taken, 0), f"spans accepted and sent in {ledger.text}")
    check(0 < taken, "nothing was taken")
    check(FLOOD_BYTES <= pushed, f"only {pushed} bytes were pushed")
    check(peak <= size + SLACK, f"{max_memory}: {peak / MIB:.1f} MiB were resident")
    return (f"{pushed / 1e6:.0f} MB pushed at {max_memory}: at most {peak / MIB:.1f} MiB resident, "
            f"{taken} spans taken and counted as lost, {refused} refused with 429")


def _push(port, number):
    """A quarter of the flood over one connection: how many spans were taken, how many refused, how many bytes were sent."""
    taken = refused = pushed = 0
    headers = {"Content-Type": "application/msgpack", "Datadog-Send-Real-Http-Status": "true"}
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    first = 1 + number * 1_000_000
    while pushed < FLOOD_BYTES / AT_ONCE:
        body = msgpack.packb([_trace(first + trace) for trace in range(REQUEST_TRACES)])
        connection.request("PUT", "/v0.4/traces", body, headers)
        answer = connection.getresponse()
        answer.read()
        check(answer.status in (200, 429), f"answered {answer.status}")
        taken += 10 * REQUEST_TRACES * (answer.status == 200)
        refused += 10 * REQUEST_TRACES * (answer.status == 429)
        pushed, first = pushed + len(body), first + REQUEST_TRACES
    connection.close()
    return taken, refused, pushed


def _trace(trace_id):
    """Ten spans of some 700 bytes, texts of which differ from span to span."""
    return [{
        "service": "web-store", "name": "web.request", "resource": f"GET /cart/{trace_id % 50}", "type": "web",
        "trace_id": trace_id, "span_id": span_id, "parent_id": span_id - 1, "start": 1_700_000_000_000_000_000 + trace_id,
        "duration": 1_000_000 + span_id, "error": 0,
        "meta": {f"some.tag.name-{tag}": f"{hash((trace_id, span_id, tag)) & (1 << 64) - 1:016x}" for tag in range(16)},
        "metrics": {"_sampling_priority_v1": 1.0, "_dd.top_level": 1.0, "process_id": 7.0, "n": 1.5, "limit": 1.0},
    } for span_id in range(1, 11)]


def _peak(pid):
    return int(re.search(r"^VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)[1]) * 1024
