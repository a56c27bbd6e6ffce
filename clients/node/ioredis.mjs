// ioredis against a cell: its ready check, pipelines, transactions, scripts of its own, streams of keys, messages.
import Redis from "ioredis";
import { assert, check, finish, servers } from "./check.mjs";

const clients = servers.map((server) => new Redis(server));
const [a, b, c] = clients;
await Promise.all(clients.map((client) => client.ping()));
await a.flushdb();

await check("a write at one server is read at every other", async () => {
  assert.equal(await a.set("k", "1"), "OK");
  for (const client of clients) assert.equal(await client.get("k"), "1");
});
await check("conditions and times", async () => {
  assert.equal(await a.set("c", "x", "PX", 60_000, "NX"), "OK");
  assert.equal(await b.set("c", "y", "EX", 60, "NX"), null);
  assert.ok((await c.pttl("c")) > 50_000);
  assert.equal(await c.getex("c", "PERSIST"), "x");
  assert.equal(await a.ttl("c"), -1);
});
await check("pipelines are answered in order, errors in their places", async () => {
  const pipeline = a.pipeline();
  for (let nth = 0; nth < 300; nth += 1) pipeline.incr("n");
  pipeline.lpush("l", "x");
  pipeline.get("n");
  const answers = await pipeline.exec();
  assert.equal(answers.length, 302);
  assert.deepEqual(answers[299], [null, 300]);
  assert.match(answers[300][0].message, /lists/);
  assert.deepEqual(answers[301], [null, "300"]);
});
await check("transactions, and WATCH that sees a change", async () => {
  assert.deepEqual(await a.multi().set("t", "1").incr("t").exec(), [[null, "OK"], [null, 2]]);
  const watcher = new Redis(servers[1]);
  await watcher.watch("t");
  await c.set("t", "other");
  assert.equal(await watcher.multi().set("t", "mine").exec(), null);
  assert.equal(await a.get("t"), "other");
  watcher.disconnect();
});
await check("a script of its own, by EVALSHA and again by EVAL where it is not known", async () => {
  for (const client of clients) {
    client.defineCommand("swap", { numberOfKeys: 1, lua: "return redis.call('SET', KEYS[1], ARGV[1], 'GET')" });
  }
  assert.equal(await a.swap("sw", "1"), null);
  assert.equal(await b.swap("sw", "2"), "1");
  assert.equal(await a.swap("sw", "3"), "2");
});
await check("a stream of keys sees every key", async () => {
  const wanted = new Set();
  for (let nth = 0; nth < 60; nth += 1) {
    wanted.add(`scan:${nth}`);
    await a.set(`scan:${nth}`, "x");
  }
  for await (const keys of b.scanStream({ match: "scan:*", count: 20 })) keys.forEach((key) => wanted.delete(key));
  assert.equal(wanted.size, 0);
});
await check("messages, by name and by pattern", async () => {
  const subscriber = new Redis(servers[0]);
  const got = [];
  subscriber.on("message", (channel, text) => got.push([channel, text]));
  subscriber.on("pmessage", (pattern, channel, text) => got.push([pattern, channel, text]));
  await subscriber.subscribe("news");
  await subscriber.psubscribe("ne*");
  assert.equal(await a.publish("news", "hello"), 2);
  while (got.length < 2) await new Promise(setImmediate);
  assert.deepEqual(got.sort((one, two) => one.length - two.length), [["news", "hello"], ["ne*", "news", "hello"]]);
  subscriber.disconnect();
});
await check("buffers", async () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, nth) => nth));
  await a.set("bytes", bytes);
  assert.deepEqual(await b.getBuffer("bytes"), bytes);
  assert.deepEqual(await c.hset("h", { f: "1" }), 1);
  assert.deepEqual(await a.hgetall("h"), { f: "1" });
});
await check("a client that is killed connects again and goes on", async () => {
  const client = new Redis({ ...servers[2], retryStrategy: () => 10 });
  const id = await client.client("ID");
  assert.equal(await c.client("KILL", "ID", id), 1);
  assert.equal(await client.set("again", "1"), "OK");
  client.disconnect();
});
clients.forEach((client) => client.disconnect());
finish();
