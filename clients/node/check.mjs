// What the scripts of this folder share: named checks, a closing line, and the addresses of the servers.
import assert from "node:assert/strict";

/** The servers of the cell, as `host:port`, from the command line. */
export const servers = process.argv.slice(2).map((server) => {
  const [host, port] = server.split(":");
  return { host, port: Number(port) };
});

let passed = 0;
const failures = [];

/** Runs one named check. */
export async function check(name, body) {
  try {
    await body();
    passed += 1;
  } catch (error) {
    failures.push(name);
    console.log(`FAILED ${name}: ${error.stack}`);
  }
}

/** Prints the closing line; the process fails if a check did. */
export function finish() {
  console.log(`${passed} passed, ${failures.length} failed`);
  process.exit(failures.length === 0 ? 0 : 1);
}

export { assert };
