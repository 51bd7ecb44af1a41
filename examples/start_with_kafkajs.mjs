// Start a workflow and read its result with plain kafkajs: no client of ours.
//
//     npm install kafkajs avsc lz4js          # in the folder of this file
//     node start_with_kafkajs.mjs SERVERS WORKFLOW_ID run_result.avsc [NAMESPACE]
//
// A command is a record of <namespace>.commands, in JSON; its key is the workflow id. Results are Avro
// (schemas/run_result.avsc) behind the ten bytes of Avro's single-object encoding.

import { readFileSync } from "node:fs";
import avro from "avsc";
import kafkajs from "kafkajs";
import lz4 from "lz4js";

const { CompressionCodecs, CompressionTypes, Kafka, Partitioners, logLevel } = kafkajs;
// Workers compress with LZ4, which kafkajs knows by name only.
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
});

const [servers, id, schema, namespace = "default"] = process.argv.slice(2);
const results = avro.Type.forSchema(JSON.parse(readFileSync(schema, "utf8")));
const kafka = new Kafka({ brokers: servers.split(","), logLevel: logLevel.ERROR });

// Each result is there exactly once for consumers that read what is committed, as kafkajs does.
const consumer = kafka.consumer({ groupId: `${namespace}.example-kafkajs` });
await consumer.connect();
await consumer.subscribe({ topics: [`${namespace}.results`], fromBeginning: true });
const ended = new Promise((resolve) => {
  consumer.run({
    eachMessage: async ({ message }) => {
      const run = results.fromBuffer(message.value.subarray(10));
      if (run.workflow_id === id) resolve(run);
    },
  });
});

// This partitioner is Kafka's own: a workflow id is always in the same partition.
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
await producer.connect();
const order = { id, amount: 10, follow_up_s: 0.1 };
const start = { type: "start", workflow: "order_processing", arguments: [order] };
await producer.send({
  topic: `${namespace}.commands`,
  messages: [{ key: id, value: JSON.stringify(start) }],
});
await producer.disconnect();

const { status, result } = await ended;
console.log(id, status, result && JSON.parse(result));
await consumer.disconnect();
