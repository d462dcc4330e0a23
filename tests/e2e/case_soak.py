"""Case `soak`, only when named: nobody takes anything, for `SOAK_MINUTES` (20), under a steady load of all signals."""

import os
import re
import secrets
import time
from pathlib import Path

from agent import API_KEY, Agent, Setup
from checks import check
from door import Door
from fake_intake import FakeIntake
from load import Load

MIB = 1024 * 1024
MEMORY, SLACK, DISK = 8 * MIB, 4 * MIB, 4 * MIB
EVERY_S, LOOK_S = 0.01, 5.0


def soak(setup: Setup):
    seconds = float(os.environ.get("SOAK_MINUTES", "20")) * 60
    folder = setup.folder("soak")
    with FakeIntake(API_KEY) as intake, Door(intake) as door:
        door.turn("silent")
        env = setup.agent_env(
            folder, DD_API_KEY=API_KEY, DD_DD_URL=door.url, DD_APM_DD_URL=door.url, DD_LOGS_CONFIG_LOGS_DD_URL=door.url,
            DD_MAX_MEMORY=str(MEMORY), DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES=str(DISK), DD_FORWARDER_TIMEOUT="2",
            DD_FORWARDER_STORAGE_MAX_DISK_RATIO="1",
        )
        with Agent([setup.binary, "run"], env) as agent, Load(agent, EVERY_S) as load:
            looks, end = [], time.monotonic() + seconds
            while time.monotonic() < end:
                load.padding = secrets.token_hex(100)  # hardly compresses
                load.stopping.wait(LOOK_S)
                looks.append(_look(agent, folder / "state/spool"))
            load.stop()
            lost = " lost=0" not in agent.ledger_now().text  # the oldest had to go, if it took long enough
            ledger = agent.terminate(code=75 if lost else 0)
    (folder / "looks").write_text("".join(f"{memory} {disk}\n" for memory, disk in looks))  # for whoever wants to see the curve
    memory, disk = zip(*looks)
    check(max(memory) <= MEMORY + SLACK, f"{max(memory) / MIB:.1f} MiB were resident")
    check(max(disk) <= DISK, f"{max(disk) / MIB:.1f} MiB were on disk")
    quarter = len(looks) // 4 or 1
    growth = max(memory[-quarter:]) - max(memory[quarter:2 * quarter] or memory)
    check(growth <= MIB, f"memory grew by {growth / MIB:.1f} MiB between the second and the last quarter")
    check(" balanced " in ledger.text and all(ledger.settles(name) for name in ledger.signals), ledger.text)
    return (f"{seconds / 60:g} minutes, {load.sent} records of each signal: at most {max(memory) / MIB:.1f} MiB resident "
            f"({growth / 1024:+.0f} KiB from the second quarter to the last), {max(disk) / MIB:.1f} MiB on disk; {ledger.text}")


def _look(agent, spool):
    status = Path(f"/proc/{agent.pid}/status").read_text()
    files = [path for path in spool.glob("*") if path.is_file()]
    sizes = []
    for path in files:
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # deleted meanwhile
            pass
    ledger = agent.ledger_now()
    check("UNBALANCED" not in ledger.text, f"not balanced: {ledger.text}")
    return int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1]) * 1024, sum(sizes)
