"""Compares what the intake decoded with what a tracer program wrote down about its own spans."""

import json

from checks import check, equal

# The two texts that the shops choose against the rules, and what the rules make of them:
# names keep ASCII letters, digits and dots from the first letter on; services are lower-cased tag values.
NORMALISED_NAME = {"1.price-list/ü": "price_list"}
NORMALISED_SERVICE = {"Shop Wörker": "shop_wörker"}
OBFUSCATED = {"SELECT * FROM cart WHERE id = 42": "SELECT * FROM cart WHERE id = ?"}


def by_service(record, span, in_chunk):
    """Whose parent has another service, which the tracer or the agent sees."""
    return record["top_level"]


def by_service_in_chunk(record, span, in_chunk):
    """As an agent sees it that gets a trace in parts: a span whose parent is not there counts as well."""
    return record["top_level"] or span.parentID not in in_chunk


def only_roots(record, span, in_chunk):
    """What dd-trace marks itself when it computes statistics, and the agent leaves as it is."""
    return span.parentID == 0


def compare(truth, chunks, is_top_level=by_service):
    """All there, none twice, every field equal. Gives the sentence for the `ok` line."""
    decoded = _by_id(chunks)
    wanted = {(int(t["trace_id"][16:], 16), int(t["span_id"])): t for t in truth}
    equal(len(wanted), len(truth), "distinct ids in the client")
    missing, extra = wanted.keys() - decoded.keys(), decoded.keys() - wanted.keys()
    equal([wanted[key]["name"] for key in missing], [], f"missing of {len(wanted)} spans")
    equal([decoded[key][0].name for key in extra], [], "spans that the client never made")
    for key, record in wanted.items():
        span, chunk, in_chunk = decoded[key]
        _compare_span(record, span, chunk)
        equal(span.metrics.get("_top_level", 0) == 1, is_top_level(record, span, in_chunk), f"top level mark of {span.name}")
    for tracer_payload, chunk in chunks:
        _check_chunk(tracer_payload, chunk, wanted)
    traces, errors = len({t["trace_id"] for t in truth}), sum(t["error"] for t in truth)
    return (f"{len(truth)} spans of {traces} traces in {len(chunks)} chunks, {errors} errors: ids, parents, names, "
            "services, resources, types, tags, metrics, stacks, priorities, top level; none missing, none twice")


def _by_id(chunks):
    decoded = {}
    for _, chunk in chunks:
        in_chunk = {span.spanID for span in chunk.spans}
        for span in chunk.spans:
            key = (span.traceID, span.spanID)
            check(key not in decoded, f"span {span.name} {key} arrived twice")
            decoded[key] = (span, chunk, in_chunk)
    return decoded


def _compare_span(record, span, chunk):
    where = f"span {record['name']} ({record['resource']})"
    wanted = {
        "name": NORMALISED_NAME.get(record["name"], record["name"]),
        "service": NORMALISED_SERVICE.get(record["service"], record["service"]),
        "parentID": int(record["parent_id"]), "error": record["error"],
        "resource": OBFUSCATED.get(record["resource"], record["resource"]),
        "type": record["type"],
    }
    wanted |= {key: record[key] for key in ("start", "duration") if key in record}
    equal({key: getattr(span, key) for key in wanted}, wanted, where)
    equal({key: span.meta.get(key) for key in record["meta"]}, record["meta"], f"{where} tags")
    equal({key: span.metrics.get(key) for key in record["metrics"]}, record["metrics"], f"{where} metrics")
    structs = {key: value.hex() for key, value in span.meta_struct.items()}
    equal(structs, record.get("meta_struct", {}), f"{where} binary attributes")
    if not record["error"]:
        check("error.message" not in span.meta, f"{where} has an error message but no error")
    equal(chunk.priority, record["priority"], f"{where} priority of its chunk")
    links = [{**link, "span_id": int(link["span_id"])} for link in record["links"]]
    equal(_links(span, links), links, f"{where} links")
    equal(_events(span), record["events"], f"{where} events")


def _links(span, wanted):
    """Links as fields of the span, or as the JSON that tracers write into a tag for versions without such a field. Trace state is
    looked at where the program has chosen it."""
    links = json.loads(span.meta.get("_dd.span_links", "[]"))
    found = [{"trace_id": link["trace_id"], "span_id": int(link["span_id"], 16), "tracestate": link.get("tracestate", ""),
              "attributes": link.get("attributes", {})} for link in links]
    found += [{"trace_id": f"{link.traceID_high:016x}{link.traceID:016x}", "span_id": link.spanID,
               "tracestate": link.tracestate, "attributes": dict(link.attributes)} for link in span.spanLinks]
    for link, chosen in zip(found, wanted):
        if "tracestate" not in chosen:
            del link["tracestate"]
    return found


def _events(span):
    """The same for events."""
    events = json.loads(span.meta.get("events", "[]"))
    found = [{"name": e["name"], "time": e["time_unix_nano"], "attributes": e.get("attributes", {})} for e in events]
    return found + [{"name": e.name, "time": e.time_unix_nano, "attributes": {k: _value(v) for k, v in e.attributes.items()}}
                    for e in span.spanEvents]


def _value(value):
    """What an event's attribute holds; the number of its type says where."""
    if value.type == 4:
        return [_value(each) for each in value.array_value.values]
    return getattr(value, ("string_value", "bool_value", "int_value", "double_value")[value.type])


def _check_chunk(tracer_payload, chunk, wanted):
    """What belongs to a chunk or payload as a whole and is copied there from its spans."""
    first = chunk.spans[0]
    equal({span.traceID for span in chunk.spans}, {first.traceID}, "trace ids in one chunk")
    high_half = wanted[first.traceID, first.spanID]["trace_id"][:16]
    equal(first.meta.get("_dd.p.tid", "0" * 16), high_half, f"upper half of the trace id on {first.name}")
    if "_dd.p.dm" in first.meta:
        equal(chunk.tags.get("_dd.p.dm"), first.meta["_dd.p.dm"], "decision maker of the chunk")
    check(not chunk.droppedTrace or chunk.priority <= 0, "a kept trace is marked as dropped")
    for span in chunk.spans:
        for member, tag in (("env", "env"), ("appVersion", "version"), ("runtimeID", "runtime-id")):
            if tag in span.meta:
                equal(getattr(tracer_payload, member), span.meta[tag], f"{member} of the tracer payload")
