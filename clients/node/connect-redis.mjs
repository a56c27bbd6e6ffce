// connect-redis against a cell: sessions written through one server are there at the others.
import { RedisStore } from "connect-redis";
import { createClient } from "redis";
import { assert, check, finish, servers } from "./check.mjs";

const clients = await Promise.all(servers.map(async ({ host, port }) => {
  const client = createClient({ socket: { host, port } });
  client.on("error", () => {});
  return client.connect();
}));
await clients[0].flushDb();
const stores = clients.map((client) => new RedisStore({ client, prefix: "sess:", scanCount: 10, ttl: 1200 }));
const [a, b, c] = stores;
const session = (name) => ({ name, cookie: { originalMaxAge: 600_000 } });

await check("a session is set, found at every server, and touched", async () => {
  await a.set("s1", session("one"));
  for (const store of stores) assert.equal((await store.get("s1")).name, "one");
  assert.ok((await clients[2].ttl("sess:s1")) > 0);
  await b.touch("s1", session("one"));
  assert.equal(await c.get("nothing"), null);
});
await check("sessions are listed, counted and cleared", async () => {
  for (let nth = 0; nth < 30; nth += 1) await stores[nth % 3].set(`n${nth}`, session(`${nth}`));
  assert.equal((await a.ids()).length, 31);
  assert.equal(await b.length(), 31);
  assert.equal((await c.all()).length, 31);
  await a.destroy("n0");
  assert.equal(await b.length(), 30);
  await c.clear();
  assert.equal(await a.length(), 0);
});
await check("a session whose cookie has expired is not kept", async () => {
  await a.set("old", { cookie: { expires: new Date(Date.now() - 1000) } });
  assert.equal(await b.get("old"), null);
});
await Promise.all(clients.map((client) => client.close()));
finish();
