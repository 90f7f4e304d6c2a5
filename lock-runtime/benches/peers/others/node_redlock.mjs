// The lock of node-redlock, driven by lines on standard input; what they mean is in ../src/waiting/serve.rs.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

// `import` would look for packages beside this file alone; `require` looks in NODE_PATH too.
const require = createRequire(import.meta.url);

function load() {
  try {
    return { Redis: require("ioredis").default, ...require("redlock") };
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") {
      throw error;
    }
    console.log(JSON.stringify({ missing: `the Node package ${error.message.match(/'(.*?)'/)[1]}` }));
    process.exit();
  }
}

const TTL = 10_000;

const { Redis, default: Redlock } = load();
// "With `retryCount=-1` there will be unlimited retries until the lock is acquired."
const redlock = new Redlock([new Redis(process.argv[2])], { retryCount: -1 });
let taken;

const now = () => process.hrtime.bigint();

// Timers count in milliseconds; the rest is waited for by looking at the clock.
async function until(instant) {
  const left = Number(instant - now()) / 1e6;
  if (left > 2) {
    await sleep(left - 2);
  }
  while (now() < instant) {
    await new Promise(setImmediate);
  }
}

async function locked(key, body) {
  const lock = await redlock.acquire([key], TTL);
  const output = await body();
  await lock.release();
  return output;
}

const verbs = {
  contend: async (key, tasks, begin, end) => {
    const waits = [];
    let inTime = 0;
    const task = async () => {
      await until(BigInt(begin));
      for (let begun = now(); begun < BigInt(end); begun = now()) {
        const there = await locked(key, now);
        waits.push(Number(there - begun));
        inTime += there < BigInt(end) ? 1 : 0;
      }
    };
    await Promise.all(Array.from({ length: Number(tasks) }, task));
    return { waits, in_time: inTime };
  },
  once: async (key, hold, begin) => {
    await until(BigInt(begin));
    await locked(key, () => until(now() + BigInt(hold) * 1_000_000n));
    return { done: Number(now()) };
  },
  take: async (key) => {
    taken = await redlock.acquire([key], TTL);
    return {};
  },
  free: async () => {
    const at = Number(now());
    await taken.release();
    return { at };
  },
  wait: async (key) => ({ at: Number(await locked(key, now)) }),
};

console.log(JSON.stringify({ ready: true }));
let turn = Promise.resolve();
createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [verb, ...words] = line.split(" ");
    turn = turn.then(async () => console.log(JSON.stringify(await verbs[verb](...words))));
  })
  .on("close", () => process.exit());
