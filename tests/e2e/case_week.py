"""Case `bad_week`: seven days of a board in fast-forward, with the journal: power cuts, a day without a network, a clock that starts in
1970, full flash, another key. libfaketime moves the wall clock; a tmpfs is the flash."""

import glob
import signal
import subprocess
import time

from agent import GUARD_S, Agent, Setup
from case_clock import LIBRARY
from case_outage import FAST, HOUR_S, MoodyIntake
from checks import check, equal, wait_until
from door import Door
from load import Load, arrived

KEYS = ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210")
FLASH_KIB = 512


class Week:
    """The board: its clock, flash, network and key, and the agent on it."""

    def __init__(self, setup, library, folder, intake, door):
        self.setup, self.folder, self.intake, self.door = setup, folder, intake, door
        self.flash, self.key, self.offset = folder / "flash", folder / "key", folder / "offset"
        self.ahead, self.load, self.sent, self.starts = 0, None, 0, 0
        self.env = setup.agent_env(folder, **FAST, **{
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.offset), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DD_DD_URL": door.url, "DD_APM_DD_URL": door.url,
            "DD_LOGS_CONFIG_LOGS_DD_URL": door.url, "DD_API_KEY_FILE": str(self.key), "DD_MAX_MEMORY": "8MiB",
            "DD_RUN_PATH": str(self.flash), "DD_FORWARDER_STORAGE_MODE": "journal",
            "DD_FORWARDER_STORAGE_MAX_SIZE_IN_BYTES": "256KiB",
        })

    def now(self):
        return time.time() + self.ahead

    def leap(self, hours):
        self.set_clock(self.ahead + hours * HOUR_S)

    def set_clock(self, ahead):
        self.ahead = ahead
        self.offset.write_text(f"{ahead:+.0f}\n")

    def start(self):
        """Power comes: the agent is ready at once, whatever it finds."""
        self.starts += 1
        self.agent = Agent([self.setup.binary, "run"], self.env)
        self.agent.ready()
        self.load = Load(self.agent, 0.01, self.now)
        self.load.sent = self.sent

    def cut_power(self):
        """In the middle of a load."""
        self.agent.process.kill()
        self.agent.process.wait()
        self.sent = self.load.sent
        self.list_spool()

    def stop(self):
        old = any("too_old" in row for row in self.agent.ledger_now().signals.values())
        ledger = self.agent.terminate(code=75 if old else 0)
        check(" balanced " in ledger.text and all(ledger.settles(name) for name in ledger.signals), ledger.text)
        lost = {name: row["dropped"] - row.get("too_old", 0) for name, row in ledger.signals.items()}
        equal(lost, dict.fromkeys(lost, 0), f"lost but for its age: {ledger.text}")
        self.sent = self.load.sent
        self.list_spool()

    def send(self, count):
        self.load.send(count)
        self.sent = self.load.sent

    def list_spool(self):
        done = subprocess.run([self.setup.binary, "spool", "--json"], env=self.env, capture_output=True, text=True)
        equal(done.returncode, 0, f"exit code of mote spool ({done.stderr[-300:]})")

    def wait_through(self):
        def through():
            rows = self.agent.ledger_now().signals.values()
            return all(row["memory"] == row["spool"] == 0 for row in rows)

        wait_until(through, GUARD_S, "everything sent")


def bad_week(setup: Setup):
    library = glob.glob(LIBRARY)
    if not library or not setup.namespaced:
        return "left out: it takes libfaketime and a mount namespace"
    folder = setup.folder("bad_week")
    (folder / "flash").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FLASH_KIB}k", "flash", folder / "flash"], check=True)
    board_time = lambda: week.now()  # noqa: E731 - the intake's clock is the true one, which the week moves
    with MoodyIntake(board_time) as intake, Door(intake) as door:
        week = Week(setup, library[0], folder, intake, door)
        intake.api_key = KEYS[0]
        week.key.write_text(KEYS[0])
        week.set_clock(0)
        for day in (_quiet_day, _power_cuts, _no_network, _no_clock, _full_flash, _other_key, _quiet_day):
            day(week)
        found = arrived(intake)
    everything = set(range(1, week.sent + 1))
    equal(everything - set(found["spans"]), set(), "spans that never arrived")
    equal(everything - set(found["lines"]), set(), "lines that never arrived")
    intake.require_no_faults()
    late = [span for span in intake.spans() if not 0 < span.start / 1e9 < week.now() + 60]
    equal(late, [], "spans from the future")
    twice = len(found["spans"]) - len(everything)
    return (f"7 days, {week.starts} starts, 3 power cuts: all {week.sent} spans and lines arrived, {twice} spans twice after cuts; "
            f"every ledger balanced, the spool readable after each day")


def _quiet_day(week):
    week.start()
    for _ in range(4):
        week.send(5)
        week.leap(6)
    week.wait_through()
    week.stop()


def _power_cuts(week):
    for hours in (8, 8, 8):
        week.start()
        week.send(10)
        week.cut_power()
        week.leap(hours)


def _no_network(week):
    week.door.turn("refuse")
    week.start()
    for _ in range(4):
        week.send(5)
        week.leap(6)
    week.door.turn("open")
    week.wait_through()
    week.stop()


def _no_clock(week):
    """The board has lost its time; nobody sets it until the intake tells."""
    truth = week.ahead
    week.offset.write_text(f"-{time.time() - 30:.0f}\n")
    began = time.time()
    week.start()
    week.load.now = lambda: 30 + time.time() - began
    week.send(10)
    week.wait_through()
    week.set_clock(truth)  # somebody sets it at last
    week.load.now = week.now
    week.send(5)
    week.wait_through()
    week.stop()
    week.leap(24)


def _full_flash(week):
    """Something else fills the flash while there is no network."""
    week.start()
    week.door.turn("refuse")
    week.send(5)
    hog = week.flash / "hog"
    with open(hog, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    week.send(10)
    week.leap(12)
    hog.unlink()
    week.door.turn("open")
    week.wait_through()
    week.stop()
    week.leap(12)


def _other_key(week):
    """The account has another key; the file follows, and a signal tells the agent."""
    week.start()
    week.intake.api_key = KEYS[1]
    week.intake.turn(status=403)
    week.send(10)
    wait_until(lambda: any("403" in line for line in week.agent.all_lines()), GUARD_S, "the refusal")
    week.key.write_text(KEYS[1])
    week.intake.turn()
    week.agent.signal(signal.SIGHUP)
    week.wait_through()
    week.stop()
    week.leap(24)
