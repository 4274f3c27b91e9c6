"""Reads a table through PyIceberg's SQL catalog and prints it as JSON lines.

    pyiceberg_read.py DATA_DIR NAMESPACE.TABLE [FILTER]

The first line is the table: {"columns": [{"id", "name", "type", "required"}], "snapshot", "files", "sorted_by",
"partitioned_by"}. Each line after it is one row, by column name. JSON has fewer types than Iceberg, so values that
it cannot hold exactly are written as {"<type>": "<text>"}: long, decimal, timestamptz (microseconds since the
epoch), date, time (microseconds), uuid, binary (hex), and double where it is not finite. FILTER is a row filter of
PyIceberg, which exercises bounds and partition values: a wrong bound loses rows.
"""

import datetime
import decimal
import json
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
    LongType,
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
    if isinstance(kind, LongType):
        return {"long": str(value)}
    if isinstance(kind, TimestamptzType):
        return {"timestamptz": str((value - EPOCH) // MICROSECOND)}
    if isinstance(kind, DateType):
        return {"date": value.isoformat()}
    if isinstance(kind, TimeType):
        micros = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
        return {"time": str(micros)}
    if isinstance(kind, DecimalType):
        assert isinstance(value, decimal.Decimal)
        return {"decimal": format(value, "f")}
    if isinstance(kind, UUIDType):
        return {"uuid": str(value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value))}
    if isinstance(kind, (BinaryType, FixedType)):
        return {"binary": value.hex()}
    if isinstance(kind, (FloatType, DoubleType)) and (value != value or value in (float("inf"), float("-inf"))):
        return {"double": str(value)}
    return value


def main() -> None:
    data, name = sys.argv[1], sys.argv[2]
    catalog = load_catalog(
        "millrace", type="sql", uri=f"sqlite:///{data}/catalog.db", warehouse=f"file://{data}/warehouse"
    )
    table = catalog.load_table(name)
    schema = table.schema()
    scan = table.scan(row_filter=sys.argv[3]) if len(sys.argv) > 3 else table.scan()
    snapshot = table.current_snapshot()
    header = {
        "columns": [
            {"id": field.field_id, "name": field.name, "type": str(field.field_type), "required": field.required}
            for field in schema.fields
        ],
        "snapshot": None if snapshot is None else str(snapshot.snapshot_id),
        "files": len(list(scan.plan_files())),
        "sorted_by": [schema.find_column_name(field.source_id) for field in table.sort_order().fields],
        "partitioned_by": [str(field) for field in table.spec().fields],
    }
    print(json.dumps(header))
    for row in scan.to_arrow().to_pylist():
        print(json.dumps({field.name: plain(row[field.name], field.field_type) for field in schema.fields}))


main()
