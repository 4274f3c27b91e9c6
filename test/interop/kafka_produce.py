"""librdkafka writes to the Kafka door: kafka_produce.py BOOTSTRAP HTTP. Prints what came of it as JSON."""
import json
import struct
import sys
import time
import urllib.request
from io import BytesIO

import fastavro
from confluent_kafka import KafkaException, Producer

bootstrap, http = sys.argv[1:]
RAW = "default.telemetry.raw"
with urllib.request.urlopen(f"{http}/schema-registry/subjects/{RAW}-value/versions/latest") as answer:
    latest = json.load(answer)
schema = fastavro.parse_schema(json.loads(latest["schema"]))


def encode(seq):
    body = BytesIO()
    reading = {
        "event_time": int(time.time() * 1e6) + seq, "seq": seq, "temperature": 20.0, "humidity": 40.0, "pressure": None,
        "air_quality": None, "occupancy": "vacant", "firmware": "1.2.0", "battery": 90.0,
    }
    fastavro.schemaless_writer(body, schema, reading)
    return b"\0" + struct.pack(">i", latest["id"]) + body.getvalue()


def deliver(config, topic, messages):
    """Acknowledged messages and the first error."""
    result = {"acknowledged": 0, "error": None}

    def on_delivery(error, _):
        if error is None:
            result["acknowledged"] += 1
        else:
            result["error"] = result["error"] or f"{error.name()}: {error.str()}"

    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2", **config})
    for key, value in messages:
        producer.produce(topic, key=key, value=value, on_delivery=on_delivery)
    producer.flush(20)
    return result


acknowledged = 0
for n, codec in enumerate(["none", "gzip", "snappy", "lz4", "zstd"]):
    good = deliver(
        {"enable.idempotence": True, "compression.type": codec, "linger.ms": 5},
        RAW, [(f"press-{i % 9}", encode(20 * n + i)) for i in range(20)],
    )
    assert good["error"] is None, (codec, good)
    acknowledged += good["acknowledged"]
unframed = deliver({}, RAW, [("press-1", b"no frame")])
normalized = deliver({}, "default.telemetry.normalized", [("press-1", encode(1))])
try:
    Producer({"bootstrap.servers": bootstrap, "transactional.id": "mine"}).init_transactions(10)
    transaction = None
except KafkaException as error:
    transaction = f"{error.args[0].name()}: {error.args[0].str()}"
print(json.dumps({
    "acknowledged": acknowledged, "unframed": unframed["error"], "normalized": normalized["error"],
    "transaction": transaction,
}))
