"""Reads a table through PyIceberg and prints its rows as JSON, one a line.

    pyiceberg_read.py DATA_DIR|http://HOST:PORT NAMESPACE.TABLE [FILTER]
    pyiceberg_read.py --describe DATA_DIR|http://HOST:PORT NAMESPACE.TABLE

The catalog is DATA_DIR/catalog.db, or an Iceberg REST catalog; S3 is found by AWS's variables.

Rows are objects by column name. What JSON has no type for: timestamps and times are integers of microseconds (since
the epoch, since midnight), dates ISO text, decimals and uuids their text, bytes hexadecimal text, NaN and infinities
their names. FILTER is a row filter of PyIceberg, which exercises bounds and partition values: a wrong bound loses
rows. --describe prints the table instead: columns with id, type and whether required, snapshot, files, partitioning,
sort order.
"""

import datetime
import json
import os
import sys
import uuid

from pyiceberg.catalog import load_catalog
from pyiceberg.types import (
    BinaryType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    ListType,
    MapType,
    StructType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def plain(value, kind):
    if value is None:
        return None
    if isinstance(kind, StructType):
        return {field.name: plain(value[field.name], field.field_type) for field in kind.fields}
    if isinstance(kind, ListType):
        return [plain(item, kind.element_type) for item in value]
    if isinstance(kind, MapType):
        return {key: plain(item, kind.value_type) for key, item in value}
    if isinstance(kind, TimestamptzType):
        return (value - EPOCH) // MICROSECOND
    if isinstance(kind, DateType):
        return value.isoformat()
    if isinstance(kind, TimeType):
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    if isinstance(kind, DecimalType):
        return format(value, "f")
    if isinstance(kind, UUIDType):
        return str(value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value))
    if isinstance(kind, (BinaryType, FixedType)):
        return value.hex()
    if isinstance(kind, (FloatType, DoubleType)) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def describe(table):
    schema, snapshot = table.schema(), table.current_snapshot()
    return {
        "columns": [
            {"id": field.field_id, "name": field.name, "type": str(field.field_type), "required": field.required}
            for field in schema.fields
        ],
        "snapshot": None if snapshot is None else str(snapshot.snapshot_id),
        "files": len(list(table.scan().plan_files())),
        "sorted_by": [schema.find_column_name(field.source_id) for field in table.sort_order().fields],
        "partitioned_by": [str(field) for field in table.spec().fields],
    }


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--describe"]
    data, name = arguments[0], arguments[1]
    if data.startswith("http"):
        s3 = {
            "s3.endpoint": os.environ.get("AWS_ENDPOINT_URL_S3"),
            "s3.access-key-id": os.environ.get("AWS_ACCESS_KEY_ID"),
            "s3.secret-access-key": os.environ.get("AWS_SECRET_ACCESS_KEY"),
            "s3.region": os.environ.get("AWS_REGION"),
        }
        catalog = load_catalog("rest", type="rest", uri=data, **s3)
    else:
        catalog = load_catalog(
            "millrace", type="sql", uri=f"sqlite:///{data}/catalog.db", warehouse=f"file://{data}/warehouse"
        )
    table = catalog.load_table(name)
    if "--describe" in sys.argv:
        print(json.dumps(describe(table)))
        return
    fields = table.schema().fields
    scan = table.scan(row_filter=arguments[2]) if len(arguments) > 2 else table.scan()
    for row in scan.to_arrow().to_pylist():
        print(json.dumps({field.name: plain(row[field.name], field.field_type) for field in fields}))


if __name__ == "__main__":
    main()
