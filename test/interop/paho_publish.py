# Publishes COUNT messages with paho, waits for every acknowledgement, and prints what came back as JSON.
import json
import sys
import threading
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

host, port, transport, version, device, count = sys.argv[1:7]
count = int(count)
acknowledged, refused, done = [], [], threading.Event()
client = mqtt.Client(
    CallbackAPIVersion.VERSION2,
    client_id=device,
    protocol=MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311,
    transport=transport,
)
client.ws_set_options(path="/mqtt")
client.max_inflight_messages_set(100)


def on_publish(_client, _userdata, mid, reason, _properties):
    (refused if reason.is_failure else acknowledged).append([mid, str(reason)])
    if len(acknowledged) + len(refused) == count:
        done.set()


client.on_publish = on_publish
client.connect(host, int(port))
client.loop_start()
for line in sys.stdin:
    client.publish(f"devices/{device}/telemetry", line.strip(), qos=1)
done.wait(30)
client.disconnect()
client.loop_stop()
print(json.dumps({"acknowledged": len(acknowledged), "refused": refused}))
