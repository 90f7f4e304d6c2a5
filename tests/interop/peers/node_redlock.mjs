// The lock of node-redlock, driven by lines on standard input; what they mean is in ../src/peer.rs.

import { createRequire } from "node:module";
import { join } from "node:path";
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
    console.log(`missing the Node package ${error.message.match(/'(.*?)'/)[1]}`);
    process.exit();
  }
}

const { Redis, default: Redlock, ExecutionError, ResourceLockedError } = load();
const client = new Redis(process.argv[2]);
const once = new Redlock([client], { retryCount: 0 });
const locks = new Map();

// What `operation` gives, or `refusal` if the server answered that the key is somebody else's. Other trouble is thrown.
async function unlessRefused(refusal, operation) {
  try {
    return await operation();
  } catch (error) {
    if (!(error instanceof ExecutionError)) {
      throw error;
    }
    for (const { votesAgainst } of await Promise.all(error.attempts)) {
      for (const reason of votesAgainst.values()) {
        if (!(reason instanceof ResourceLockedError)) {
          throw reason;
        }
      }
    }
    return refusal;
  }
}

function acquire(redlock, key, ttl) {
  return unlessRefused("busy", async () => {
    locks.set(key, await redlock.acquire([key], Number(ttl)));
    return "acquired";
  });
}

const verbs = {
  acquire: (key, ttl) => acquire(once, key, ttl),
  wait: (key, ttl, patience) => {
    const retryDelay = 10;
    const patient = new Redlock([client], { retryDelay, retryJitter: 0, retryCount: Math.ceil(patience / retryDelay) });
    return acquire(patient, key, ttl);
  },
  release: (key) =>
    unlessRefused("not ours", async () => {
      await locks.get(key).release();
      return "released";
    }),
  extend: (key, ttl) =>
    unlessRefused("not ours", async () => {
      locks.set(key, await locks.get(key).extend(Number(ttl)));
      return "extended";
    }),
  number: async (key, log, times) => {
    const eager = new Redlock([client], { retryDelay: 5, retryJitter: 2, retryCount: 2000 });
    for (let done = 0; done < times; done += 1) {
      await eager.using([key], 10_000, async () => {
        const entries = await client.llen(log);
        await sleep(1);
        await client.rpush(log, `${entries} theirs`);
      });
      await sleep(3);
    }
    return "numbered";
  },
};

const { version } = require(join(require.resolve("redlock"), "../../../package.json"));
console.log("ready node-redlock", version, "with ioredis", require("ioredis/package.json").version);
for await (const line of createInterface({ input: process.stdin })) {
  const [verb, ...words] = line.split(" ");
  try {
    console.log(await verbs[verb](...words));
  } catch (error) {
    console.log(`error ${error}`);
  }
}
client.disconnect();
