"""Reads tables through DuckDB's Iceberg extension and prints their rows as JSON, one a line.

    duckdb_read.py < {"rest": URL | null, "queries": [SQL, ...]}

Tables of the REST catalog are lake.NAMESPACE.TABLE; others are read by iceberg_scan('METADATA_LOCATION'). Before the
rows of each query a line {"query": number}; a query that fails gives {"error": text}.

S3 is found by AWS's variables. The extensions are files of Python packages: nothing is downloaded.
"""

import glob
import json
import os
import sys
from urllib.parse import urlsplit

import duckdb
from plain import print_rows


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
    request, connection = json.load(sys.stdin), connect()
    if request.get("rest") is not None:
        connection.execute(
            f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{request['rest']}', AUTHORIZATION_TYPE 'none', "
            "ACCESS_DELEGATION_MODE 'none')"
        )
    for number, query in enumerate(request["queries"]):
        print(json.dumps({"query": number}))
        try:
            print_rows(connection.execute(query).to_arrow_table())
        except Exception as error:  # noqa: BLE001
            print(json.dumps({"error": str(error)[:2000]}))


main()
