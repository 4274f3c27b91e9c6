"""Encodes the rows of a Parquet file with pyarrow, in memory, for so many seconds each time it is told how many on stdin.

parquet_pyarrow.py FILE: prints JSON, a line at the start and one for each line read: files, seconds, CPU seconds, bytes.
"""

import json
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

pa.set_cpu_count(1)
# Dictionary columns stay such, as they are for the encoder that it is compared with.
table = pq.read_table(sys.argv[1], read_dictionary=["device_id", "status"], use_threads=False)


def encode():
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1)
    return sink.getvalue().size


print(json.dumps({"version": pa.__version__}), flush=True)
for line in sys.stdin:
    files, started, cpu_started = 0, time.perf_counter(), time.process_time()
    while files == 0 or time.perf_counter() - started < float(line):
        size = encode()
        files += 1
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    print(json.dumps({"files": files, "seconds": seconds, "cpuSeconds": cpu_seconds, "byteLength": size}), flush=True)
