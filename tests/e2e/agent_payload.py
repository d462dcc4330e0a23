"""The outgoing trace payload (`/api/v0.2/traces`) as protobuf classes, built from a table of its fields.

The table is the documented one and knows nothing of the agent's encoder, so that the two can disagree.
Enumerations are read as int32, which is the same on the wire.
"""

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

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

PACKAGE = "mote.e2e"
FIELD = descriptor_pb2.FieldDescriptorProto


def _set_type(field, name):
    scalar = getattr(FIELD, f"TYPE_{name.upper()}", None)
    field.type = scalar or FIELD.TYPE_MESSAGE
    if not scalar:
        field.type_name = f".{PACKAGE}.{name}"


def _add_field(message, number, name, kind):
    field = message.field.add(name=name, number=int(number), label=FIELD.LABEL_OPTIONAL)
    pair = re.fullmatch(r"map<(\w+),(\w+)>", kind)
    if pair or kind.endswith("*"):
        field.label = FIELD.LABEL_REPEATED
    if not pair:
        _set_type(field, kind.rstrip("*"))
        return
    # A map is a repeated nested message whose name protobuf prescribes: the field in CamelCase plus "Entry".
    entry = message.nested_type.add(name="".join(p[:1].upper() + p[1:] for p in name.split("_")) + "Entry")
    entry.options.map_entry = True
    for entry_number, (entry_name, entry_kind) in enumerate(zip(("key", "value"), pair.groups()), 1):
        _add_field(entry, entry_number, entry_name, entry_kind)
    field.type, field.type_name = FIELD.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{entry.name}"


def _build():
    file = descriptor_pb2.FileDescriptorProto(name="agent_payload.proto", package=PACKAGE, syntax="proto3")
    for line in re.sub(r"\n  ", " ", TABLE).strip().splitlines():
        name, fields = line.split(": ", 1)
        message = file.message_type.add(name=name)
        for row in re.split(r", (?=\d)", fields):
            _add_field(message, *row.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.AgentPayload"))


AgentPayload = _build()


def decode(body):
    """Bytes to an AgentPayload; a field that the table does not know is an error, not a curiosity."""
    payload = AgentPayload.FromString(body)
    _refuse_unknown(payload)
    for tracer_payload in payload.tracerPayloads:
        _refuse_unknown(tracer_payload)
        for chunk in tracer_payload.chunks:
            for message in (chunk, *chunk.spans):
                _refuse_unknown(message)
    return payload


def _refuse_unknown(message):
    extra = [field.field_number for field in unknown_fields.UnknownFieldSet(message)]
    if extra:
        raise ValueError(f"{message.DESCRIPTOR.name} holds unknown fields {extra}")
