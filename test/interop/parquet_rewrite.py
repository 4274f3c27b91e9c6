"""Writes Parquet files again as Arrow, and with it PyIceberg, writes them: the same columns and field ids, no page index.

    parquet_rewrite.py FILE...

FILE becomes FILE.arrow, in small pages and row groups of 100 rows; every other file without dictionaries.
"""

import sys

import pyarrow.parquet as pq

for number, file in enumerate(sys.argv[1:]):
    pq.write_table(
        pq.read_table(file),
        file + ".arrow",
        row_group_size=100,
        compression="zstd",
        data_page_size=200,
        write_batch_size=7,
        use_dictionary=number % 2 == 0,
    )
