"""Case `spool_disk`: an outage with a disk that fills up, turns read-only, and works again. A real file system says no each time."""

import json
import random
import subprocess

from agent import API_KEY, GUARD_S, Agent, Setup
from checks import check, equal, wait_until
from fake_http import Answer
from fake_intake import FakeIntake
from fake_lambda import post

LINES = 20


def spool_disk(setup: Setup):
    if not setup.namespaced:
        return "left out: a disk of its own needs a mount namespace"
    folder = setup.folder("spool_disk")
    disk = folder / "disk"
    disk.mkdir()
    _mount("-t", "tmpfs", "-o", "size=64k", "spool", disk)
    with FakeIntake(API_KEY, *[Answer(503)] * 100_000) as intake:
        with _agent(setup, folder, intake, disk / "spool") as agent:
            end = _run(agent, intake, disk)
        equal(len(intake.logs()), end.signals["logs"]["sent"], "lines at the intake")
    _mount("-o", "remount,rw", disk)
    left = sorted(path.name for path in (disk / "spool").iterdir())
    equal(left, ["lock"], "files in the spool when everything is settled")
    row = end.signals["logs"]
    equal((row["sent"], row["dropped"]), (row["accepted"], 0), "lines sent and dropped, of which there was memory for all")
    return f"{row['accepted']} lines, all sent; one warning each"


def _run(agent, intake, disk):
    noise = random.Random(7)
    _send(agent, noise)
    _wait(agent, lambda row: 0 < row["memory"] and 0 < row["spool"])
    wait_until(lambda: _said(agent, "spool: no room"), GUARD_S, "the warning about the room")
    _mount("-o", "remount,ro,size=8m", disk)  # with room, so that it is for being read-only that nothing is written
    _send(agent, noise)
    wait_until(lambda: _said(agent, "spool: cannot write to"), GUARD_S, "the warning")
    _wait(agent, lambda row: 2 * LINES <= row["accepted"] and LINES <= row["memory"])
    _mount("-o", "remount,rw,size=8m", disk)
    _send(agent, noise)
    wait_until(lambda: _said(agent, "works again"), GUARD_S, "that the disk works again")
    _wait(agent, lambda row: row["memory"] == 0 and 3 * LINES <= row["spool"])
    equal(len(_said(agent, "spool: cannot write to")), 1, "warnings")
    with intake.changed:
        intake.answers.clear()
    _wait(agent, lambda row: row["sent"] == row["accepted"] - row["dropped"])
    return agent.terminate()


def _agent(setup, folder, intake, spool):
    fast = {"DD_FORWARDER_BACKOFF_BASE": "0.01", "DD_FORWARDER_BACKOFF_MAX": "0.05", "DD_LOGS_CONFIG_BATCH_WAIT": "0.01"}
    place = {"DD_FORWARDER_STORAGE_PATH": str(spool), "DD_FORWARDER_STORAGE_MAX_DISK_RATIO": "1"}
    agent = Agent([setup.binary, "run"], setup.agent_env(folder, intake, **fast, **place))
    agent.ready()
    return agent


def _send(agent, noise):
    """Lines of 8 KB that hardly compress, each in a body of its own."""
    before = agent.ledger_now().signals["logs"]["accepted"]
    for count in range(1, LINES + 1):
        line = {"time": "2026-01-02T03:04:05Z", "type": "function", "record": noise.randbytes(4000).hex()}
        status, _ = post(agent.ready()[0], "/lambda/logs", json.dumps([line]).encode())
        equal(status, 200, "answer to a line")
        _wait(agent, lambda row: before + count <= row["accepted"])


def _wait(agent, condition):
    """The row of logs as soon as it fulfils `condition`; it adds up at each look."""

    def look():
        now = agent.ledger_now()
        check(now.settles("logs") and "UNBALANCED" not in now.text, f"not balanced: {now.text}")
        row = now.signals["logs"]
        return row if condition(row) else None

    return wait_until(look, GUARD_S, "a ledger as it should be")


def _said(agent, words):
    return [line for line in agent.all_lines() if words in line]


def _mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)
