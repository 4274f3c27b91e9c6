"""Reads tables through Spark with Iceberg's runtime, in one start, and prints their rows as JSON.

    spark_read.py < {"data": DIR | null, "rest": URL | null, "queries": [SQL, ...]}

Tables of DIR/catalog.db are millrace.NAMESPACE.TABLE, those of the REST catalog rest.NAMESPACE.TABLE; S3 is found by
AWS's variables. Before the rows of each query a line {"query": number}; a query that fails gives {"error": text}.
"""

import glob
import json
import os
import sys

import pyarrow
from plain import print_rows
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

INSTALLED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.interop")


def session(data, rest):
    jars = glob.glob(os.path.join(INSTALLED, "spark/libs/*.jar"))
    builder = SparkSession.builder.master("local[1]")
    if rest is not None:
        jars += glob.glob(os.path.join(INSTALLED, "iceberg-rest/libs/iceberg-aws-bundle-*.jar"))
        builder = (
            builder.config("spark.sql.catalog.rest", "org.apache.iceberg.spark.SparkCatalog")
            .config("spark.sql.catalog.rest.type", "rest")
            .config("spark.sql.catalog.rest.uri", rest)
            .config("spark.sql.catalog.rest.io-impl", "org.apache.iceberg.aws.s3.S3FileIO")
            .config("spark.sql.catalog.rest.s3.endpoint", os.environ.get("AWS_ENDPOINT_URL_S3", ""))
            .config("spark.sql.catalog.rest.s3.path-style-access", "true")
        )
    if data is not None:
        builder = (
            builder.config("spark.sql.catalog.millrace", "org.apache.iceberg.spark.SparkCatalog")
            .config("spark.sql.catalog.millrace.catalog-impl", "org.apache.iceberg.jdbc.JdbcCatalog")
            .config("spark.sql.catalog.millrace.uri", f"jdbc:sqlite:file:{data}/catalog.db")
            .config("spark.sql.catalog.millrace.jdbc.schema-version", "V1")
            .config("spark.sql.catalog.millrace.warehouse", f"file://{data}/warehouse")
        )
    return (
        builder.config("spark.jars", ",".join(jars))
        .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.memory", "768m")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )


def main() -> None:
    request = json.load(sys.stdin)
    spark = session(request.get("data"), request.get("rest"))
    for number, query in enumerate(request["queries"]):
        print(json.dumps({"query": number}))
        try:
            # `toArrow` would cast to Spark's schema, and fails where a null struct holds a field that is never null.
            frame = spark.sql(query)
            batches = frame._collect_as_arrow()
            print_rows(pyarrow.Table.from_batches(batches, None if batches else to_arrow_schema(frame.schema)))
        except Exception as error:  # noqa: BLE001
            print(json.dumps({"error": str(error)[:2000]}))
    spark.stop()


main()
