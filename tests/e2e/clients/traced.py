"""What the traced programs share: spans that the program itself remembers.

The truth is taken from the program (what it asked for) and from the finished span object (what only the
tracer knows: ids, times, stack), never from anything that passed through an agent. Works with ddtrace 1 to 4.
"""

import json
import os
import time
from pathlib import Path

from ddtrace import tracer

TRUTH = []
WARM_UP = "warm.up"


class traced:
    """`tracer.trace` that remembers: parent, top level and priority are ours, not the tracer's."""

    open = []

    def __init__(self, name, service="shop", resource=None, kind=None, tags=(), metrics=()):
        self.arguments = dict(name=name, service=service, resource=resource, span_type=kind)
        self.tags, self.metrics = dict(tags), dict(metrics)
        self.links, self.events = [], []  # filled in by who makes them

    def __enter__(self):
        self.parent = traced.open[-1] if traced.open else None
        self.span = tracer.trace(**self.arguments).__enter__()
        traced.open.append(self)
        for key, value in self.tags.items():
            self.span.set_tag(key, value)
        for key, value in self.metrics.items():
            self.span.set_metric(key, value)
        return self.span

    def __exit__(self, *exception):
        traced.open.pop()
        self.span.__exit__(*exception)
        TRUTH.append(self)

    def record(self):
        span, wanted = self.span, self.arguments
        failed = bool(span.error)
        stack = {k: span.get_tag(k) for k in ("error.message", "error.type", "error.stack")} if failed else {}
        same_service = self.parent and self.parent.arguments["service"] == wanted["service"]
        return {
            "trace_id": f"{span.trace_id:032x}", "span_id": str(span.span_id),
            "parent_id": str(self.parent.span.span_id if self.parent else 0),
            "name": wanted["name"], "service": wanted["service"], "resource": wanted["resource"] or wanted["name"],
            "type": wanted["span_type"] or "", "error": int(failed), "start": span.start_ns,
            "duration": span.duration_ns, "meta": {**self.tags, **stack}, "metrics": self.metrics,
            "top_level": not same_service, "priority": self.root().priority(),
            "links": self.links, "events": self.events,
        }

    def root(self):
        return self.parent.root() if self.parent else self

    def priority(self):
        return -1 if self.span.name == "shop.health" else 2 if self.span.name == "shop.audit" else 1


def wait_until_counted():
    """Sends spans until one came with the word that the tracer counts them itself, which the relay tells by a file (RELAY_COUNTED).
    A tracer that asks the agent first what it can do may send its first spans before it has the answer."""
    if counted := os.environ.get("RELAY_COUNTED"):
        for _ in range(600):
            with traced(WARM_UP):
                pass
            tracer.flush()
            if Path(counted).exists():
                return
            time.sleep(0.1)
        raise TimeoutError("the tracer does not count its spans")


def write_truth(path):
    with open(path, "w", encoding="utf-8") as file:
        json.dump([span.record() for span in TRUTH], file, ensure_ascii=False)
