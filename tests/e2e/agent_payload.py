"""The outgoing trace payload (`/api/v0.2/traces`) as protobuf classes, from the documented table of its fields."""

from protobuf_table import build, refuse_unknown

TABLE = """
AgentPayload: 1 hostName string, 2 env string, 5 tracerPayloads TracerPayload*, 6 tags map<string,string>,
  7 agentVersion string, 8 targetTPS double, 9 errorTPS double, 10 rareSamplerEnabled bool
TracerPayload: 1 containerID string, 2 languageName string, 3 languageVersion string, 4 tracerVersion string,
  5 runtimeID string, 6 chunks TraceChunk*, 7 tags map<string,string>, 8 env string, 9 hostname string,
  10 appVersion string
TraceChunk: 1 priority int32, 2 origin string, 3 spans Span*, 4 tags map<string,string>, 5 droppedTrace bool
Span: 1 service string, 2 name string, 3 resource string, 4 traceID uint64, 5 spanID uint64, 6 parentID uint64,
  7 start int64, 8 duration int64, 9 error int32, 10 meta map<string,string>, 11 metrics map<string,double>,
  12 type string, 13 meta_struct map<string,bytes>, 14 spanLinks SpanLink*, 15 spanEvents SpanEvent*
SpanLink: 1 traceID uint64, 2 traceID_high uint64, 3 spanID uint64, 4 attributes map<string,string>,
  5 tracestate string, 6 flags uint32
SpanEvent: 1 time_unix_nano fixed64, 2 name string, 3 attributes map<string,AttributeAnyValue>
AttributeAnyValue: 1 type int32, 2 string_value string, 3 bool_value bool, 4 int_value int64,
  5 double_value double, 6 array_value AttributeArray
AttributeArray: 1 values AttributeAnyValue*
"""

AgentPayload = build(TABLE, "AgentPayload")


def decode(body):
    """Bytes to an AgentPayload."""
    payload = AgentPayload.FromString(body)
    refuse_unknown(payload)
    for tracer_payload in payload.tracerPayloads:
        refuse_unknown(tracer_payload)
        for chunk in tracer_payload.chunks:
            for message in (chunk, *chunk.spans):
                refuse_unknown(message)
    return payload
