"""What not every span has: links, events, 128-bit ids, errors, statements. Writes its truth to the file named as argument."""

import sys

import ddtrace

from traced import traced, wait_until_counted, write_truth

MAJOR = int(ddtrace.__version__.split(".")[0])
ELSEWHERE = {"trace_id": (0x6553F100_0000_0000 << 64) | 0xF0F0_0000_0000_0001, "span_id": 2**64 - 1}


def link(to, other):
    """A link to a span of ours and one to a span of somebody else's. ddtrace 1 has none."""
    if MAJOR < 2:
        return
    to.span.link_span(other.span.context, {"reason": "retry"})
    to.span.set_link(**ELSEWHERE, tracestate="dd=s:1;t.dm:-4", flags=1, attributes={"kind": "queue", "ключ": "значение"})
    to.links += [
        {"trace_id": f"{other.span.trace_id:032x}", "span_id": other.span.span_id, "attributes": {"reason": "retry"}},
        {"trace_id": f"{ELSEWHERE['trace_id']:032x}", "span_id": ELSEWHERE["span_id"], "tracestate": "dd=s:1;t.dm:-4",
         "attributes": {"kind": "queue", "ключ": "значение"}},
    ]


def event(to, name, time_ns, attributes):
    if MAJOR < 2:
        return
    to.span._add_event(name, attributes, time_ns)
    to.events.append({"name": name, "time": time_ns, "attributes": attributes})


def main(path):
    wait_until_counted()
    for i in range(25):
        first = traced("queue.send", "shop", f"send {i % 3}", "worker")
        with first:
            pass
        second = traced("queue.receive", "worker", f"receive {i % 3}", "worker", {"span.kind": "consumer"}, {"n": i})
        try:
            with second:
                link(second, first)
                event(second, "unpacked", 1_700_000_000_123_456_789 + i, {"text": "grün", "count": i, "ratio": 0.5, "ok": i % 2 == 0})
                event(second, "codes", 1_700_000_001_000_000_000, {"codes": [1, i, -3], "names": ["a", "é"]})
                with traced("postgres.query", "shop-db", "SELECT * FROM cart WHERE id = 42", "sql", {"db.type": "postgres"}):
                    pass
                if i % 5 == 0:
                    raise LookupError(f"no item {i}\nat all")
        except LookupError:
            pass
    write_truth(path)


main(sys.argv[1])
