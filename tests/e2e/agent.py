"""The agent under test as a child process: its lines, its ports, its ledger, its end."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import defaultdict
from pathlib import Path

from checks import check, equal, wait_until

API_KEY = "0123456789abcdef0123456789abcdef"
HOSTNAME = "e2e-host"
READY = re.compile(r"ready: communication=[\w.]+:(\d+) traces=[\w.]+:(\d+)")
GUARD_S = 30  # no promise is this slow; it only keeps a broken agent from hanging the run


class Agent:
    """Started by the constructor; leaving the `with` block kills what still runs."""

    def __init__(self, command, env, stdin=subprocess.DEVNULL, **more):
        self.lines = {"stdout": [], "stderr": []}
        self.started_ns = time.monotonic_ns()
        self.process = subprocess.Popen(
            command, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8", errors="replace", **more,
        )
        self.pid = self.process.pid
        self.readers = [threading.Thread(target=self._read, args=(name,), daemon=True) for name in self.lines]
        for reader in self.readers:
            reader.start()

    def _read(self, name):
        for line in getattr(self.process, name):
            self.lines[name].append(line.rstrip("\n"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()  # also ends a stopped process
        self.process.wait()

    def all_lines(self):
        return self.lines["stdout"] + self.lines["stderr"]

    def ready(self):
        """Waits for the readiness line; gives the ports (communication, traces)."""

        def found():
            check(self.process.poll() is None or self._match(), f"ended before it was ready: {self.tail()}")
            return self._match()

        return [int(port) for port in wait_until(found, GUARD_S, "the readiness line").groups()]

    def dogstatsd_port(self):
        """The UDP port that the readiness line names."""
        return int(next(m[1] for line in self.all_lines() if (m := re.search(r"ready: .*dogstatsd=[\w.]+:(\d+)", line))))

    def _match(self):
        return next((m for line in self.all_lines() if (m := READY.search(line))), None)

    def signal(self, number):
        self.process.send_signal(number)

    def finish(self, code=0, within=GUARD_S):
        """Waits for the end that was already asked for and gives the ledger of the last line."""
        try:
            found = self.process.wait(within)
        except subprocess.TimeoutExpired:
            found = f"still running after {within} s"
        for reader in self.readers:
            reader.join(GUARD_S)
        check(found == code, f"exit code: found {found}, wanted {code}; {self.tail()}")
        panics = [line for line in self.all_lines() if "panicked" in line]
        equal(panics, [], "panics")
        last = [lines[-1] for lines in self.lines.values() if lines]
        ledgers = [line for line in last if "ledger: " in line]
        equal(len(ledgers), 1, f"last lines with a ledger ({self.tail()})")
        return Ledger(ledgers[0])

    def terminate(self, code=0):
        self.signal(signal.SIGTERM)
        return self.finish(code)

    def ledger_now(self):
        """Asks for the ledger of this moment."""
        before = len(self._ledger_lines())
        self.signal(signal.SIGUSR1)
        return Ledger(wait_until(lambda: self._ledger_lines()[before:], GUARD_S, "the ledger after SIGUSR1")[0])

    def _ledger_lines(self):
        return [line for line in self.all_lines() if "ledger: " in line]

    def tail(self):
        return "last lines: " + " | ".join(self.all_lines()[-5:])

    def cpu_ms(self):
        """CPU time of the whole process so far, ended threads included (the kernel's clock of that process)."""
        return time.clock_gettime_ns((~self.pid << 3) | 2) / 1e6

    def pss_kib(self):
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])


class Ledger:
    """`ledger: traces accepted=1 ... dropped=1 reason=1; logs ...; balanced lost=0`, per signal."""

    def __init__(self, line):
        self.text = line[line.index("ledger: "):]
        nothing = dict.fromkeys(("accepted", "restored", "sent", "memory", "spool", "dropped"), 0)
        self.signals = defaultdict(lambda: nothing)  # a signal of which there was nothing is not printed
        for part in self.text.removeprefix("ledger: ").split(";"):
            if "accepted=" in part:
                self.signals[part.split()[0]] = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", part)}

    def settles(self, name):
        """accepted + restored = sent + memory + spool + dropped, computed here and not believed."""
        row = self.signals[name]
        return row["accepted"] + row["restored"] == row["sent"] + row["memory"] + row["spool"] + row["dropped"]

    def require_balanced(self):
        check("balanced lost=0" in self.text and "UNBALANCED" not in self.text, f"not balanced: {self.text}")
        for name in self.signals:
            check(self.settles(name), f"{name} does not add up: {self.text}")

    def require_delivered(self, malformed=0, **counts):
        """Everything accepted was sent, and as much as the other side decoded: traces=spans, logs=entries. `malformed` is how many
        telemetry events could not be read, each counted as a line that was dropped."""
        self.require_balanced()
        for name, count in counts.items():
            row = self.signals[name]
            found = {key: row[key] for key in ("accepted", "sent", "memory", "spool", "dropped")}
            bad = malformed if name == "logs" else 0
            wanted = {"accepted": count + bad, "sent": count, "memory": 0, "spool": 0, "dropped": bad}
            equal(found, wanted, f"ledger of {name} against {count} decoded")


class Setup:
    """Where things are, and how an agent and a client are started in this run."""

    def __init__(self, binary, work, namespaced):
        self.binary, self.work, self.namespaced = binary, Path(work), namespaced

    def folder(self, name):
        """An empty folder for one case."""
        path = self.work / "cases" / name
        for old in sorted(path.rglob("*"), reverse=True):
            old.rmdir() if old.is_dir() and not old.is_symlink() else old.unlink()
        path.mkdir(parents=True, exist_ok=True)
        return path

    def agent_env(self, folder, intake=None, **more):
        """What an operator would set, and no more. Ports stay at their defaults where those are surely free. Cases count metrics, so the
        machine's own are off."""
        env = {"PATH": os.environ["PATH"], "DD_HOSTNAME": HOSTNAME, "DD_RUN_PATH": str(folder / "state"), "DD_HOST_METRICS": "false"}
        (folder / "state").mkdir(exist_ok=True)
        if intake:
            env |= {"DD_API_KEY": API_KEY, "DD_APM_DD_URL": intake.url, "DD_LOGS_CONFIG_LOGS_DD_URL": intake.url,
                    "DD_DD_URL": intake.url}
            env["DD_APM_TELEMETRY_DD_URL"] = intake.url  # which tracers send unasked
        if not self.namespaced:
            env |= {"DD_COMMUNICATION_PORT": "0", "DD_APM_RECEIVER_PORT": "0", "DD_DOGSTATSD_PORT": "__random__"}
        return env | more

    def newest_ddtrace(self):
        """The Python and the setting with which a program finds the newest ddtrace."""
        folder = self.work / "python-4"
        return (folder / "interpreter").read_text().strip(), {"PYTHONPATH": str(folder)}

    def client_env(self, trace_port, **more):
        """A tracer at its defaults. Its address is given only where the default port may belong to someone else."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.work), "LANG": "C.UTF-8"}
        if not self.namespaced:
            env["DD_TRACE_AGENT_URL"] = f"http://127.0.0.1:{trace_port}"
        return env | more


def run_client(command, env, folder):
    """Runs a tracer program to its end and reads the truth that it wrote about its own spans."""
    truth = folder / "truth.json"
    done = subprocess.run([*command, str(truth)], env=env, cwd=folder, capture_output=True, text=True, timeout=120)
    check(done.returncode == 0, f"the client failed: {done.stderr[-2000:]}")
    return json.loads(truth.read_text(encoding="utf-8"))
