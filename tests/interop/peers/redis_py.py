"""The lock of redis-py, driven by lines on standard input; what they mean is in ../src/peer.rs."""

import sys
import time

try:
    import redis
    from redis.exceptions import LockNotOwnedError
except ModuleNotFoundError as error:
    print(f"missing the Python package {error.name}", flush=True)
    sys.exit()

client = redis.Redis.from_url(sys.argv[1])
locks = {}


def acquire(key, ttl, patience=0):
    # No time to live is what this library does unless told.
    timeout = int(ttl) / 1000 or None
    lock = client.lock(key, timeout=timeout, sleep=0.01)
    if patience:
        acquired = lock.acquire(blocking_timeout=int(patience) / 1000)
    else:
        acquired = lock.acquire(blocking=False)
    if acquired:
        locks[key] = lock
    return "acquired" if acquired else "busy"


def release(key):
    try:
        locks.pop(key).release()
    except LockNotOwnedError:
        return "not ours"
    return "released"


def extend(key, ttl):
    try:
        locks[key].extend(int(ttl) / 1000, replace_ttl=True)
    except LockNotOwnedError:
        return "not ours"
    return "extended"


def number(key, log, times):
    for _ in range(int(times)):
        with client.lock(key, timeout=10, sleep=0.005):
            entries = client.llen(log)
            time.sleep(0.001)
            client.rpush(log, f"{entries} theirs")
        time.sleep(0.003)
    return "numbered"


print("ready redis-py", redis.__version__, flush=True)
verbs = {"acquire": acquire, "wait": acquire, "release": release, "extend": extend, "number": number}
for line in sys.stdin:
    verb, *words = line.split()
    try:
        answer = verbs[verb](*words)
    except Exception as error:
        answer = f"error {error!r}"
    print(answer, flush=True)
