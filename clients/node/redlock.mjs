// node-redlock against a cell: the cell is one resource of locks, whichever of its servers a client uses.
import { Redis } from "ioredis";
import RedlockPackage from "redlock";
import { assert, check, finish, servers } from "./check.mjs";

const Redlock = RedlockPackage.default ?? RedlockPackage;
const clients = servers.map((server) => new Redis(server));
await clients[0].flushdb();
const locks = clients.map((client) => new Redlock([client], { retryCount: 0 }));
const patient = clients.map((client) => new Redlock([client], { retryCount: 200, retryDelay: 20 }));

await check("a lock is refused at every other server while it is held", async () => {
  const held = await locks[0].acquire(["r"], 20_000);
  for (const lock of locks) await assert.rejects(lock.acquire(["r"], 1000));
  await held.release();
  await (await locks[1].acquire(["r"], 1000)).release();
});
await check("a lock of several resources is all or nothing", async () => {
  const held = await locks[0].acquire(["x", "y"], 20_000);
  await assert.rejects(locks[1].acquire(["y", "z"], 1000));
  await (await locks[2].acquire(["z"], 1000)).release();
  await held.release();
});
await check("a lock is extended by who holds it, and by nobody else", async () => {
  const held = await locks[0].acquire(["e"], 20_000);
  const longer = await held.extend(60_000);
  assert.ok((await clients[2].pttl("e")) > 30_000);
  await longer.release();
  const lost = await locks[1].acquire(["e"], 20_000);
  await clients[0].set("e", "thief");
  await assert.rejects(lost.extend(1000));
  await clients[0].del("e");
});
await check("a lock that is not released ends by itself", async () => {
  await locks[0].acquire(["t"], 200);
  await (await patient[1].acquire(["t"], 1000)).release();
});
await check("only one at a time, of six that want it at three servers", async () => {
  let inside = 0;
  const work = patient.flatMap((lock) => [lock, lock]).map(async (lock) => {
    for (let nth = 0; nth < 5; nth += 1) {
      await lock.using(["only"], 5000, async () => {
        inside += 1;
        assert.equal(inside, 1);
        await new Promise(setImmediate);
        inside -= 1;
      });
    }
  });
  await Promise.all(work);
});
clients.forEach((client) => client.disconnect());
finish();
