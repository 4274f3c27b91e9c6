// The settings at which a known broker is at its best, as a configuration file of its own form; anything else would
// make a comparison worthless. Brokers are known by the name that they are given.

interface KnownBroker {
  /** The whole file, for one listener on 127.0.0.1; `folder` is there for what the broker needs beside it. */
  config(port: number, webSocket: boolean, folder: string): string
  /** How its command is told of the file. */
  configOption: string
  /** What makes its program print its version and end. */
  versionOption: string
}

const mosquitto: KnownBroker = {
  // Without set_tcp_nodelay, small windows are ten times slower: Nagle's algorithm waits for acknowledgements that the
  // other side delays. Without the rest it queues, logs, and publishes its own statistics.
  // 2.0.11 ends at once where its only listener speaks WebSocket, so it gets another one that nobody uses.
  config: (
    port,
    webSocket,
    folder,
  ) => `${webSocket ? `listener 0 ${folder}/mqtt.sock\n` : ''}listener ${port} 127.0.0.1
${webSocket ? 'protocol websockets\n' : ''}allow_anonymous true
set_tcp_nodelay true
persistence false
log_dest none
max_inflight_messages 0
max_queued_messages 0
sys_interval 0
`,
  configOption: '-c',
  versionOption: '-h',
}

const flashmq: KnownBroker = {
  // With its default buffers a flood of QoS 0 is erratic.
  config: (port, webSocket, folder) => `thread_count 1
allow_anonymous true
zero_byte_username_is_anonymous true
log_level error
log_file ${folder}/flashmq.log
storage_dir ${folder}
max_qos_msg_pending_per_client 65535
max_packet_size 65536
client_initial_buffer_size 16384
listen {
  protocol ${webSocket ? 'websockets' : 'mqtt'}
  port ${port}
  inet_protocol ip4
  inet4_bind_address 127.0.0.1
  tcp_nodelay true
}
`,
  configOption: '--config-file',
  versionOption: '--version',
}

export function knownBroker(name: string): KnownBroker | undefined {
  if (name === 'flashmq') return flashmq
  return name.startsWith('mosquitto') ? mosquitto : undefined
}
