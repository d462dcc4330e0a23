"""Case `python_socket`: a client library that is told the agent's Unix socket instead of a port."""

import tempfile
from pathlib import Path

from agent import API_KEY, Agent, Setup, run_client
from case_tracers import CLIENTS, NAMES
from checks import check, equal
from compare import compare
from fake_intake import FakeIntake


def python_socket(setup: Setup):
    folder = setup.folder("python_socket")
    # The system takes only short paths for sockets, so it lies in a folder of its own.
    with tempfile.TemporaryDirectory(prefix="mote-e2e-") as place, FakeIntake(API_KEY) as intake:
        socket = Path(place) / "apm.socket"
        env = setup.agent_env(folder, intake) | {"DD_APM_RECEIVER_SOCKET": str(socket)}
        with Agent([setup.binary, "run"], env) as agent:
            _, port = agent.ready()
            check(any(f" socket={socket}" in line for line in agent.all_lines()), "the readiness line does not name the socket")
            client = setup.client_env(port, **NAMES) | {"DD_TRACE_AGENT_URL": f"unix://{socket}"}
            python, path = setup.newest_ddtrace()
            truth = run_client([python, CLIENTS / "shop.py"], client | path, folder)
            ledger = agent.terminate()
        intake.require_no_faults()
        summary = compare(truth, intake.chunks())
        ledger.require_delivered(traces=len(intake.spans()), stats=len(intake.groups()))
        equal(socket.exists(), False, "the socket's file after the end")
    return summary
