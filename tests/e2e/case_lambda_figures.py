"""Case `lambda_figures`, only when named, for a static program: what an extension costs the function. Prints, and asserts nothing but that the
work was done and that memory does not grow with the number of invocations.

Times are told beside those of an empty static program from the same run, because both feel what else the machine does.
"""

import os
import shutil
import statistics
import subprocess
import time
import zipfile
from pathlib import Path

from agent import API_KEY, GUARD_S, Agent, Setup
from case_lambda import NAME, SHUTDOWN_MS, install, lambda_env
from checks import check
from fake_http import Answer, FakeServer
from fake_intake import FakeIntake
from fake_lambda import FakeLambda
from recording import Invocation, init_events

STARTS, INVOCATIONS, OUTAGE_INVOCATIONS = 20, 1_000, 100


class Sink(FakeServer):
    """An intake that answers at once and looks at nothing."""

    def __init__(self):
        super().__init__()
        self.url = f"http://{self.address}"

    def handle(self, *_):
        return Answer(202, b"{}")


class Failing(FakeServer):
    """An intake that fails."""

    def __init__(self):
        self.asked = 0
        super().__init__()
        self.url = f"http://{self.address}"

    def handle(self, *_):
        self.asked += 1
        return Answer(500)


def lambda_figures(setup: Setup):
    folder = setup.folder("lambda_figures")
    executable = install(setup, folder)
    try:
        lines = [_starts(setup, folder, executable), _thousand(setup, folder, executable), _outage(setup, folder, executable),
                 _sizes(folder, executable)]
    finally:
        executable.unlink()
    for line in lines:
        print("   " + line, flush=True)
    return f"{STARTS} starts, {INVOCATIONS} invocations"


def _starts(setup, folder, executable):
    rows = [_start(setup, folder, executable) for _ in range(STARTS)]
    empty = [_empty(folder) for _ in range(STARTS)]
    texts = [f"{key} {statistics.median(row[key] for row in rows):.2f}" for key in rows[0]]
    if all(empty):
        texts.append(f"an empty static program: CPU ms {statistics.median(cpu for cpu, _ in empty):.2f}, wall ms to its end {statistics.median(wall for _, wall in empty):.2f}")
    return f"start, median of {STARTS}: " + ", ".join(texts)


def _start(setup, folder, executable):
    seen, row = {}, {}
    with FakeIntake(API_KEY) as intake, FakeLambda(NAME, lambda name: seen.setdefault(name, time.monotonic_ns())) as api:
        with Agent([executable], lambda_env(setup, folder, intake, api)) as agent:
            api.wait_next(1)
            row["CPU ms to the first /next"] = agent.cpu_ms()
            row["page faults"] = int(Path(f"/proc/{agent.pid}/stat").read_text().rsplit(")", 1)[1].split()[7])
            row["threads"] = len(list(Path(f"/proc/{agent.pid}/task").iterdir()))
            started = agent.started_ns
            api.shutdown("spindown", SHUTDOWN_MS)
            agent.finish()
    for name in ("register", "next"):
        row[f"wall ms to {name}"] = (seen[name] - started) / 1e6
    return row


def _empty(folder):
    """CPU and wall of a program that does nothing, from the same compiler if there is one."""
    program = folder / "empty"
    if not program.exists():
        source = folder / "empty.c"
        source.write_text("int main(void) { return 0; }\n")
        compiler = next((found for found in ("musl-gcc", "cc", "gcc") if shutil.which(found)), None)
        if not compiler or subprocess.run([compiler, "-O1", "-static", "-o", program, source], check=False).returncode:
            return None
    began = time.monotonic_ns()
    process = subprocess.Popen([program])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    return (usage.ru_utime + usage.ru_stime) * 1e3, (time.monotonic_ns() - began) / 1e6


def _thousand(setup, folder, executable):
    """The function's tracer is silent, its log is not: ten lines an invocation. The sandbox does not freeze, which would only add wakes."""
    waits = []
    with Sink() as intake, FakeLambda(NAME) as api:
        # Without looks at /proc: a sandbox has a handful of processes, and this machine has hundreds.
        env = {"DD_SERVERLESS_FLUSH_STRATEGY": "end", "DD_LAMBDA_PROC_ENHANCED_METRICS": "false"}
        with Agent([executable], lambda_env(setup, folder, intake, api) | env) as agent:
            api.wait_next(1)
            idle, report = agent.pss_kib(), []
            began = agent.cpu_ms()
            for number in range(INVOCATIONS):
                wait, report = _invoke(api, number, report)
                waits.append(wait)
                if number == INVOCATIONS // 2:
                    half = agent.pss_kib()
            cpu, after = agent.cpu_ms() - began, agent.pss_kib()
            api.send_telemetry(report)
            api.shutdown("spindown", SHUTDOWN_MS)
            logs = agent.finish().signals["logs"]
        check(after <= half + 256, f"PSS grew from {half} to {after} KiB in the second half of {INVOCATIONS} invocations")
        check(10 * INVOCATIONS < logs["accepted"] == logs["sent"], f"lines: {logs}")
    waits.sort()
    return (f"PSS KiB at the first /next {idle}, after {INVOCATIONS} invocations {after}; CPU ms an invocation {cpu / INVOCATIONS:.2f}; end of an invocation to "
            f"the next /next, what the harness takes included: median {waits[len(waits) // 2]:.2f} ms, 99 of 100 below {waits[len(waits) * 99 // 100]:.2f}")


def _invoke(api, number, report):
    """One invocation of ten lines, with the report of the one before: milliseconds from its end to the next /next, and its own report."""
    lines = [f"line {line}\n" for line in range(10)]
    invocation = Invocation(f"55555555-aaaa-4bbb-8ccc-{number:012}", lines=lines, cold=number == 0)
    api.answer_next(invocation.invoke(int(time.time() * 1000) + 1000 * GUARD_S))
    api.send_telemetry(report + (init_events(invocation.at(-1)) if number == 0 else []) + invocation.begin())
    ended = time.monotonic_ns()
    api.send_telemetry([invocation.done()])
    api.wait_next(number + 2)
    return (time.monotonic_ns() - ended) / 1e6, [invocation.report()]


def _outage(setup, folder, executable):
    """The same with an intake that fails: what invocations cost after the breaker has opened."""
    waits = []
    with Failing() as intake, FakeLambda(NAME) as api:
        env = {"DD_SERVERLESS_FLUSH_STRATEGY": "end", "DD_LAMBDA_PROC_ENHANCED_METRICS": "false", "DD_FORWARDER_BACKOFF_BASE": "7200",
               "DD_FORWARDER_BACKOFF_MAX": "7200", "DD_FORWARDER_STORAGE_MAX_DISK_RATIO": "1"}
        with Agent([executable], lambda_env(setup, folder, intake, api) | env) as agent:
            api.wait_next(1)
            report = []
            for number in range(1 + OUTAGE_INVOCATIONS):
                wait, report = _invoke(api, number, report)
                waits.append(wait)
                if number == 0:
                    began, tried = agent.cpu_ms(), intake.asked
            cpu = agent.cpu_ms() - began
            # Metrics and spans have endpoints of their own, which may be tried for the first time in between.
            check(intake.asked - tried <= 3, f"{intake.asked - tried} tries in {OUTAGE_INVOCATIONS} invocations")
            api.send_telemetry(report)
            api.shutdown("spindown", SHUTDOWN_MS)
            check(agent.process.wait(GUARD_S) == 0, agent.tail())  # its last line tells of the spool
    waits = sorted(waits[1:])
    return (f"without an intake, {OUTAGE_INVOCATIONS} invocations after the breaker opened: CPU ms an invocation {cpu / OUTAGE_INVOCATIONS:.2f}; end of an "
            f"invocation to the next /next: median {waits[len(waits) // 2]:.2f} ms")


def _sizes(folder, executable):
    layer = folder / "layer.zip"
    with zipfile.ZipFile(layer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.write(executable, f"extensions/{NAME}")
    return f"program {executable.stat().st_size} bytes, in a zip {layer.stat().st_size}"
