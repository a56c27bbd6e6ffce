// node-redis against a cell: both versions of the protocol, every group of commands that the service has.
import { createClient, WatchError, ErrorReply } from "redis";
import { assert, check, finish, servers } from "./check.mjs";

async function connect(server, RESP) {
  const client = createClient({ socket: { host: server.host, port: server.port }, RESP });
  client.on("error", () => {});
  await client.connect();
  return client;
}

for (const RESP of [2, 3]) {
  const clients = await Promise.all(servers.map((server) => connect(server, RESP)));
  const [a, b, c] = clients;
  const name = (what) => `RESP${RESP}: ${what}`;
  await a.flushDb();

  await check(name("a write at one server is read at every other"), async () => {
    assert.equal(await a.set("k", "1"), "OK");
    for (const client of clients) assert.equal(await client.get("k"), "1");
  });
  await check(name("strings"), async () => {
    assert.equal(await a.set("s", "x", { NX: true, PX: 60_000 }), "OK");
    assert.equal(await b.set("s", "y", { NX: true }), null);
    assert.equal(await b.set("s", "y", { GET: true, KEEPTTL: true }), "x");
    assert.ok((await c.pTTL("s")) > 0);
    assert.equal(await c.append("s", "z"), 2);
    assert.equal(await a.getRange("s", 0, 0), "y");
    assert.equal(await a.getDel("s"), "yz");
    await a.mSet({ m1: "1", m2: "2" });
    assert.deepEqual(await b.mGet(["m1", "m2", "none"]), ["1", "2", null]);
    assert.equal(await c.incrBy("n", 41), 41);
    assert.equal(await c.incr("n"), 42);
    assert.equal(Number(await c.incrByFloat("n", 0.5)), 42.5);
  });
  await check(name("hashes"), async () => {
    assert.equal(await a.hSet("h", { f: "1", g: "2" }), 2);
    assert.deepEqual({ ...(await b.hGetAll("h")) }, { f: "1", g: "2" });
    assert.equal(await c.hIncrBy("h", "f", 4), 5);
    const fields = [];
    for await (const found of b.hScanIterator("h")) fields.push(...found);
    assert.equal(fields.length, 2);
  });
  await check(name("expiry"), async () => {
    await a.set("e", "v");
    assert.ok(await a.expire("e", 100));
    assert.ok((await b.ttl("e")) > 90);
    assert.ok(await c.persist("e"));
    assert.equal(await a.ttl("e"), -1);
  });
  await check(name("scan sees every key"), async () => {
    const wanted = new Set();
    for (let nth = 0; nth < 50; nth += 1) {
      wanted.add(`scan:${nth}`);
      await a.set(`scan:${nth}`, "x");
    }
    for await (const keys of b.scanIterator({ MATCH: "scan:*" })) keys.forEach((key) => wanted.delete(key));
    assert.equal(wanted.size, 0);
  });
  await check(name("pipelines are answered in order"), async () => {
    const answers = await Promise.all(Array.from({ length: 500 }, (_, nth) => a.set(`p${nth % 7}`, `${nth}`, { GET: true })));
    for (let nth = 7; nth < 500; nth += 1) assert.equal(answers[nth], `${nth - 7}`);
  });
  await check(name("transactions, and WATCH that sees a change"), async () => {
    assert.deepEqual(await a.multi().set("t", "1").incr("t").get("t").exec(), ["OK", 2, "2"]);
    const watcher = await connect(servers[1], RESP);
    await watcher.watch("t");
    await c.set("t", "other");
    await assert.rejects(watcher.multi().set("t", "mine").exec(), WatchError);
    assert.equal(await a.get("t"), "other");
    await watcher.close();
  });
  await check(name("scripts"), async () => {
    const script = "return {KEYS[1], ARGV[1], redis.call('SET', KEYS[1], ARGV[1])}";
    assert.deepEqual(await a.eval(script, { keys: ["sc"], arguments: ["v"] }), ["sc", "v", "OK"]);
    const digest = await b.scriptLoad("return redis.call('GET', KEYS[1])");
    assert.equal(await b.evalSha(digest, { keys: ["sc"], arguments: [] }), "v");
    await assert.rejects(c.evalSha("0".repeat(40), { keys: [], arguments: [] }), /NOSCRIPT/);
  });
  await check(name("messages"), async () => {
    const subscriber = await connect(servers[0], RESP);
    const message = new Promise((resolve) => subscriber.subscribe("news", resolve));
    while ((await a.publish("news", "hello")) === 0);
    assert.equal(await message, "hello");
    await subscriber.close();
  });
  await check(name("the connection says who it is"), async () => {
    await a.clientSetName("matrix");
    assert.equal(await a.clientGetName(), "matrix");
    assert.match(await a.info("server"), /redis_version:7\.2\.4/);
    assert.ok((await a.clientList()).length >= 1);
    assert.equal(await a.ping(), "PONG");
    assert.ok((await a.commandCount()) > 50);
    await a.select(0);
  });
  await check(name("what is missing is refused by name"), async () => {
    await assert.rejects(a.lPush("l", "x"), (error) => error instanceof ErrorReply && /'LPUSH'.*lists/i.test(error.message));
    await assert.rejects(a.xAdd("x", "*", { f: "v" }), /streams/);
  });
  await check(name("binary strings"), async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, nth) => nth));
    await a.set(bytes, bytes);
    const { RESP_TYPES } = await import("redis");
    const raw = b.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    assert.deepEqual(await raw.get(bytes), bytes);
  });
  await Promise.all(clients.map((client) => client.close()));
}
finish();
