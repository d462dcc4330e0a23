"""Protobuf message classes built from a table of fields, and decoding that takes an unknown field for an error.

A table knows nothing of the agent's encoder, so that the two can disagree. Enumerations are read as int32, which is the
same on the wire.
"""

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields

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


def build(table, root):
    """The class of message `root`; the table has a line a message, and its fields as `number name type`."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{root}.proto", package=PACKAGE, syntax="proto3")
    for line in re.sub(r"\n  ", " ", table).strip().splitlines():
        name, fields = line.split(": ", 1)
        message = file.message_type.add(name=name)
        for row in re.split(r", (?=\d)", fields):
            _add_field(message, *row.split(" "))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{root}"))


def refuse_unknown(message):
    """A field that the table does not know is an error, not a curiosity."""
    extra = [field.field_number for field in unknown_fields.UnknownFieldSet(message)]
    if extra:
        raise ValueError(f"{message.DESCRIPTOR.name} holds unknown fields {extra}")
