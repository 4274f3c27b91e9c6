"""Reads Parquet files through pyarrow and prints the rows of each as one line of JSON: an array of arrays.

    parquet_read.py FILE...

What JSON has no type for: 64-bit integers, times and timestamps (microseconds) and the digits of decimals are text,
dates their days, bytes and uuids "x" and hexadecimal text, NaN and infinities their names; maps are objects, their
keys behind a ".". Arrow's scalars are taken apart rather than Python's values, which cannot hold every timestamp.
"""

import decimal
import json
import math
import sys

import pyarrow as pa
import pyarrow.parquet as pq

decimal.getcontext().prec = 60


def plain(scalar):
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if isinstance(kind, pa.UuidType):
        return "x" + scalar.value.as_py().hex()
    if pa.types.is_int64(kind) or pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return str(scalar.value if not pa.types.is_int64(kind) else scalar.as_py())
    if pa.types.is_date32(kind):
        return scalar.value
    if pa.types.is_decimal(kind):
        return str(int(scalar.as_py().scaleb(kind.scale)))
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return "x" + scalar.as_py().hex()
    if pa.types.is_map(kind):
        entries = ((plain(entry["key"]), plain(entry["value"])) for entry in scalar.values)
        return {"." + key: value for key, value in sorted(entries)}
    if pa.types.is_list(kind):
        return [plain(item) for item in scalar.values]
    if pa.types.is_struct(kind):
        return {name: plain(scalar[name]) for name in scalar}
    value = scalar.as_py()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


for path in sys.argv[1:]:
    table = pq.ParquetFile(path).read()
    columns = [[plain(value) for value in column] for column in table.columns]
    print(json.dumps([list(row) for row in zip(*columns)]))
