"""Compares what the intake decoded with what a tracer program wrote down about its own spans."""

from checks import check, equal

# The two texts that the shops choose against the rules, and what the rules make of them:
# names keep ASCII letters, digits and dots from the first letter on; services are lower-cased tag values.
NORMALISED_NAME = {"1.price-list/ü": "price_list"}
NORMALISED_SERVICE = {"Shop Wörker": "shop_wörker"}


def compare(truth, chunks):
    """All there, none twice, every field equal. Gives the sentence for the `ok` line."""
    decoded = _by_id(chunks)
    wanted = {(int(t["trace_id"][16:], 16), int(t["span_id"])): t for t in truth}
    equal(len(wanted), len(truth), "distinct ids in the client")
    missing, extra = wanted.keys() - decoded.keys(), decoded.keys() - wanted.keys()
    equal([wanted[key]["name"] for key in missing], [], f"missing of {len(wanted)} spans")
    equal([decoded[key][0].name for key in extra], [], "spans that the client never made")
    for key, record in wanted.items():
        _compare_span(record, *decoded[key])
    for tracer_payload, chunk in chunks:
        _check_chunk(tracer_payload, chunk, wanted)
    traces, errors = len({t["trace_id"] for t in truth}), sum(t["error"] for t in truth)
    return (f"{len(truth)} spans of {traces} traces in {len(chunks)} chunks, {errors} errors: ids, parents, names, "
            "services, resources, types, tags, metrics, stacks, priorities, top level; none missing, none twice")


def _by_id(chunks):
    decoded = {}
    for _, chunk in chunks:
        for span in chunk.spans:
            key = (span.traceID, span.spanID)
            check(key not in decoded, f"span {span.name} {key} arrived twice")
            decoded[key] = (span, chunk)
    return decoded


def _compare_span(record, span, chunk):
    where = f"span {record['name']} ({record['resource']})"
    wanted = {
        "name": NORMALISED_NAME.get(record["name"], record["name"]),
        "service": NORMALISED_SERVICE.get(record["service"], record["service"]),
        "parentID": int(record["parent_id"]), "error": record["error"], "resource": record["resource"],
        "type": record["type"],
    }
    wanted |= {key: record[key] for key in ("start", "duration") if key in record}
    equal({key: getattr(span, key) for key in wanted}, wanted, where)
    equal({key: span.meta.get(key) for key in record["meta"]}, record["meta"], f"{where} tags")
    equal({key: span.metrics.get(key) for key in record["metrics"]}, record["metrics"], f"{where} metrics")
    if not record["error"]:
        check("error.message" not in span.meta, f"{where} has an error message but no error")
    equal(span.metrics.get("_top_level", 0) == 1, record["top_level"], f"{where} top level mark")
    equal(chunk.priority, record["priority"], f"{where} priority of its chunk")


def _check_chunk(tracer_payload, chunk, wanted):
    """What belongs to a chunk or payload as a whole and is copied there from its spans."""
    first = chunk.spans[0]
    equal({span.traceID for span in chunk.spans}, {first.traceID}, "trace ids in one chunk")
    high_half = wanted[first.traceID, first.spanID]["trace_id"][:16]
    equal(first.meta.get("_dd.p.tid"), high_half, f"upper half of the trace id on {first.name}")
    if "_dd.p.dm" in first.meta:
        equal(chunk.tags.get("_dd.p.dm"), first.meta["_dd.p.dm"], "decision maker of the chunk")
    check(not chunk.droppedTrace or chunk.priority <= 0, "a kept trace is marked as dropped")
    for span in chunk.spans:
        for member, tag in (("env", "env"), ("appVersion", "version"), ("runtimeID", "runtime-id")):
            if tag in span.meta:
                equal(getattr(tracer_payload, member), span.meta[tag], f"{member} of the tracer payload")
