"""Rewrites a Parquet file with pyarrow and prints, as JSON, the seconds of each run: parquet_pyarrow.py FILE RUNS"""

import json
import os
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

pa.set_cpu_count(1)
source, runs = sys.argv[1], int(sys.argv[2])
target = source + ".pyarrow"
# Dictionary columns stay such, as they are for the encoder that it is compared with.
table = pq.read_table(source, read_dictionary=["device_id", "status"], use_threads=False)
seconds, cpu_seconds = [], []
for _ in range(runs):
    started, cpu_started = time.perf_counter(), time.process_time()
    pq.write_table(table, target, compression="zstd", compression_level=1)
    seconds.append(time.perf_counter() - started)
    cpu_seconds.append(time.process_time() - cpu_started)
size = os.path.getsize(target)
print(json.dumps({"version": pa.__version__, "seconds": seconds, "cpuSeconds": cpu_seconds, "byteLength": size}))
