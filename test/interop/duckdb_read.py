"""Reads a table through DuckDB's Iceberg extension and prints its rows as JSON, one a line, as pyiceberg_read.py does.

    duckdb_read.py METADATA_LOCATION [CONDITION]         a table by its metadata file, local or in S3
    duckdb_read.py http://HOST:PORT NAMESPACE.TABLE [CONDITION]   through an Iceberg REST catalog

S3 is found by AWS's variables. The extensions are files of Python packages: nothing is downloaded.
"""

import glob
import json
import os
import sys
from urllib.parse import urlsplit

import duckdb
from plain import plain


def connect():
    connection = duckdb.connect()
    for name in ("avro", "httpfs", "iceberg"):
        package = __import__(f"duckdb_extension_{name}")
        (file,) = glob.glob(os.path.join(os.path.dirname(package.__file__), "**/*.duckdb_extension"), recursive=True)
        connection.load_extension(file)
    connection.execute("SET TimeZone = 'UTC'")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3")
    if endpoint is not None:
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{urlsplit(endpoint).netloc}', "
            f"URL_STYLE 'path', USE_SSL false, REGION '{os.environ['AWS_REGION']}')"
        )
    return connection


def main() -> None:
    connection, source, rest = connect(), sys.argv[1], sys.argv[2:]
    if source.startswith("http"):
        connection.execute(
            f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{source}', AUTHORIZATION_TYPE 'none', "
            "ACCESS_DELEGATION_MODE 'none')"
        )
        namespace, table = rest.pop(0).split(".")
        relation = f'lake."{namespace}"."{table}"'
    else:
        relation = f"iceberg_scan('{source}')"
    where = f" WHERE {rest[0]}" if rest else ""
    cursor = connection.execute(f"SELECT * FROM {relation}{where}")
    names = [column[0] for column in cursor.description]
    for row in cursor.fetchall():
        print(json.dumps({name: plain(value) for name, value in zip(names, row)}))


main()
