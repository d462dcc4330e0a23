"""Runs the cases: one line each, then the sum. Started by `run`, which prepared the work folder."""

import os
import sys
import traceback
from pathlib import Path

import case_majors
import namespace
import self_test
from agent import Setup
from case_clock import clock_1970
from case_dogstatsd import dogstatsd_node, dogstatsd_python, dogstatsd_script
from case_keys import key_backend, key_faults, key_secrecy, key_sources
from case_lambda import lambda_run
from case_lambda_fields import lambda_fields
from case_lambda_figures import lambda_figures
from case_lambda_libraries import lambda_announced, lambda_node, lambda_python
from case_ledger import ledger
from case_memory import memory
from case_outage import outage_20s, outage_26h
from case_proxies import python_products
from case_socket import python_socket
from case_soak import soak
from case_spool import spool_disk
from case_stdin import stdin_run
from case_tracers import node_tracer, python_tracer
from case_ways import ways_out
from case_week import bad_week
from checks import Failed

CASES = [python_tracer, node_tracer, *case_majors.CASES, python_socket, python_products, stdin_run, lambda_run,
         lambda_announced, lambda_fields, lambda_python, lambda_node, ledger,
         dogstatsd_python, dogstatsd_node, dogstatsd_script, spool_disk, clock_1970, outage_20s, outage_26h, bad_week,
         key_sources, key_faults, key_backend, key_secrecy,
         ways_out]

# Only when named: `memory` for a static program, since what the C library of a machine holds beside is not ours to promise, and what
# takes long.
NAMED_ONLY = [memory, lambda_figures, soak]


def main(arguments):
    work, namespaced = os.environ["E2E_WORK"], os.environ["E2E_NAMESPACE"] == "yes"
    if namespaced:
        namespace.furnish(work)
    else:
        print("not in namespaces of its own: ports are chosen by the system, tracers get DD_TRACE_AGENT_URL, "
              "and the extension does not stand in /opt/extensions")
    if arguments[:1] == ["--self-test"]:
        return report(self_test.TESTS, None)
    known = {case.__name__: case for case in [*CASES, *NAMED_ONLY]}
    wrong = [name for name in arguments[1:] if name not in known]
    if not arguments or wrong or not os.access(arguments[0], os.X_OK):
        print(f"usage: run BINARY [{' | '.join(known)}]... (got {' '.join(arguments)})", file=sys.stderr)
        return 64
    binary = Path(arguments[0]).resolve()
    return report([known[name] for name in arguments[1:]] or CASES, Setup(binary, work, namespaced))


def report(cases, setup):
    """Prints the outcome of each case as it comes; any failure makes the exit code 1."""
    failed = 0
    for case in cases:
        try:
            print(f"ok {case.__name__}: {case(setup) if setup else case()}", flush=True)
        except Exception as err:  # a case that breaks counts as failed, and the others still run
            failed += 1
            print(f"FAIL {case.__name__}: {err}", flush=True)
            if not isinstance(err, Failed):
                traceback.print_exc()
    print(f"{len(cases) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main(sys.argv[1:]))
