"""Compares the golden tables (test/golden-tables.ts) with their rows, read by PyIceberg.

    golden_pyiceberg.py DIR

For each table of DIR/golden.json: every row and value of a full scan; and for every column of a simple type, scans
that ask for some of its values, which PyIceberg plans by partition values, counts and bounds: a wrong bound loses rows.
Prints one line a table, and what differs; exits 1 where anything does.
"""

import datetime
import decimal
import json
import math
import sys
import uuid

from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import EqualTo, IsNull
from pyiceberg.types import DoubleType, FloatType, PrimitiveType, TimestamptzType, TimeType

from pyiceberg_read import EPOCH, MICROSECOND, plain

# Values of a column that are asked for.
FILTERS_MAX = 3


def key(row):
    return (row["_log_partition"], row["_offset"])


def same(found, wanted):
    """Equal, and -0.0 is not 0.0."""
    if isinstance(found, dict) or isinstance(wanted, dict):
        # Where it reads nested columns PyIceberg 0.12 makes a null map an empty one (pyarrow alone does not).
        if not found and not wanted and found is not None:
            return True
        return (
            isinstance(found, dict)
            and isinstance(wanted, dict)
            and found.keys() == wanted.keys()
            and all(same(found[name], wanted[name]) for name in wanted)
        )
    if isinstance(found, list) and isinstance(wanted, list):
        return len(found) == len(wanted) and all(same(a, b) for a, b in zip(found, wanted))
    if isinstance(found, float) and isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        return found == wanted and math.copysign(1, found) == math.copysign(1, wanted)
    return type(found) is type(wanted) and found == wanted


def differences(found, wanted):
    if len(found) != len(wanted):
        yield f"{len(found)} rows, {len(wanted)} wanted"
    for a, b in zip(found, wanted):
        if a.keys() != b.keys():
            yield f"columns {list(a)}, wanted {list(b)}"
            return
        for name in b:
            if not same(a[name], b[name]):
                yield f"row {key(b)}, {name}: {str(a[name])[:80]!r}, wanted {str(b[name])[:80]!r}"


def literal(value, kind):
    """A value as a filter of PyIceberg takes it."""
    if isinstance(kind, TimestamptzType):
        return (EPOCH + value * MICROSECOND).isoformat()
    if isinstance(kind, TimeType):
        return (datetime.datetime.min + value * MICROSECOND).time().isoformat()
    name = str(kind)
    if name.startswith("decimal"):
        return decimal.Decimal(value)
    if name == "binary" or name.startswith("fixed"):
        return bytes.fromhex(value)
    return uuid.UUID(value) if name == "uuid" else value


def filter_differences(table, wanted):
    for field in table.schema().fields:
        kind = field.field_type
        if not isinstance(kind, PrimitiveType):
            continue
        values = [row[field.name] for row in wanted]
        asked = [value for value in dict.fromkeys(values) if value is not None]
        if isinstance(kind, (FloatType, DoubleType)):
            asked = [value for value in asked if not isinstance(value, str)]
        queries = [(EqualTo(field.name, literal(value, kind)), value) for value in asked[:FILTERS_MAX]]
        if not field.required:
            queries.append((IsNull(field.name), None))
        for expression, value in queries:
            count = table.scan(row_filter=expression).to_arrow().num_rows
            if count != values.count(value):
                yield f"{field.name} = {str(value)[:60]!r}: {count} rows, wanted {values.count(value)}"


def main():
    golden = json.load(open(f"{sys.argv[1]}/golden.json"))
    catalog = load_catalog(
        "millrace", type="sql", uri=f"sqlite:///{golden['catalog']}", warehouse=f"file://{golden['warehouse']}"
    )
    wrong = 0
    for one in golden["tables"]:
        table = catalog.load_table(one["name"])
        snapshot = int(one["snapshot"]) if "snapshot" in one else None
        with open(one["rowsFile"]) as lines:
            wanted = [json.loads(line) for line in lines]
        scan = table.scan(snapshot_id=snapshot)
        fields = scan.projection().fields
        found = [
            {field.name: plain(row[field.name], field.field_type) for field in fields}
            for row in scan.to_arrow().to_pylist()
        ]
        found.sort(key=key)
        problems = list(differences(found, wanted))
        # Filters name columns as they are called now.
        if snapshot is None:
            problems += filter_differences(table, wanted)
        print(f"{one['name']} {one.get('snapshot', 'now')}: {len(found)} rows, {len(problems)} differences")
        for problem in problems[:10]:
            print(f"  {problem}")
        wrong += len(problems)
    sys.exit(1 if wrong else 0)


main()
