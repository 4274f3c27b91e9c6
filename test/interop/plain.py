"""Rows of an Arrow table as JSON has them, one form for all readers: see pyiceberg_read.py."""

import datetime
import json
import uuid

import pyarrow

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def plain(value, kind):
    if value is None:
        return None
    if pyarrow.types.is_struct(kind):
        return {field.name: plain(value[field.name], field.type) for field in kind}
    if pyarrow.types.is_map(kind):
        return {key: plain(item, kind.item_type) for key, item in value}
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        return [plain(item, kind.value_type) for item in value]
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    if pyarrow.types.is_decimal(kind):
        return format(value, "f")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def print_rows(table) -> None:
    """Not by `to_pylist` of whole rows: it takes a moment too early for Python's local times as an error."""
    names = table.schema.names
    columns = [
        [plain(value, field.type) for value in table.column(index).to_pylist()]
        for index, field in enumerate(table.schema)
    ]
    for row in zip(*columns):
        print(json.dumps(dict(zip(names, row))))
