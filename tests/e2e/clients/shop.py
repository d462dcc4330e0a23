"""A small shop traced with ddtrace. Writes what it knows of its own spans to the file named as argument.

The truth is taken from the program (what it asked for) and from the finished span object (what only the
tracer knows: ids, times, stack), never from anything that passed through an agent.
"""

import json
import sys

from ddtrace import tracer
from ddtrace.constants import MANUAL_DROP_KEY, MANUAL_KEEP_KEY

TRUTH = []


class OutOfStock(Exception):
    pass


class traced:
    """`tracer.trace` that remembers: parent, top level and priority are ours, not the tracer's."""

    open = []

    def __init__(self, name, service="shop", resource=None, kind=None, tags=(), metrics=()):
        self.arguments = dict(name=name, service=service, resource=resource, span_type=kind)
        self.tags, self.metrics = dict(tags), dict(metrics)

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
        }

    def root(self):
        return self.parent.root() if self.parent else self

    def priority(self):
        return -1 if self.span.name == "shop.health" else 2 if self.span.name == "shop.audit" else 1


def check_stock(i):
    with traced("stock.check", "stock", f"stock/{i % 7}", "worker", metrics={"stock.left": i % 5}):
        with traced("stock.cache", "stock-cache", "get", "cache", {"cache.hit": str(i % 2 == 0)}):
            pass
        if i % 5 == 0:
            raise OutOfStock(f"ausverkauft: «Gerät {i}» 🚫")


def request(i):
    tags = {"customer.name": "Zoë Ångström 😀", "ключ": "值", "http.method": "GET", "empty": ""}
    with traced("web.request", "shop", f"GET /artikel/{i}/größe", "web", tags, {"items": i, "ratio": i / 8}):
        with traced("auth.verify", "shop", "token"):
            pass
        try:
            check_stock(i)
        except OutOfStock:
            pass  # handled: the request itself succeeds
        with traced("1.price-list/ü", "Shop Wörker", "prices", "worker", metrics={"big": 2.0**53, "small": -1e-9}):
            pass
        if i % 9 == 0:
            raise ValueError(f"order {i} broke\nin two lines")


def main(path):
    for i in range(60):
        try:
            request(i)
        except ValueError:
            pass
    with traced("shop.audit") as span:
        span.set_tag(MANUAL_KEEP_KEY)
    with traced("shop.health") as span:
        span.set_tag(MANUAL_DROP_KEY)
    # Above 300 finished spans the tracer sends the first part of a trace before its root has ended.
    with traced("batch.import", resource="nightly"):
        for i in range(350):
            with traced("batch.row", resource=f"row {i}"):
                pass
    with open(path, "w", encoding="utf-8") as file:
        json.dump([span.record() for span in TRUTH], file, ensure_ascii=False)


main(sys.argv[1])
