"""The lock of redis-py, driven by lines on standard input; what they mean is in ../src/waiting/serve.rs."""

import json
import os
import queue
import sys
import threading
import time

try:
    import redis
except ModuleNotFoundError as error:
    print(json.dumps({"missing": f"the Python package {error.name}"}), flush=True)
    sys.exit()

TTL = 10

client = redis.Redis.from_url(sys.argv[1])
taken = None


def fail(arguments):
    sys.__excepthook__(*arguments[:3])
    os._exit(1)


def until(instant):
    left = instant - time.monotonic_ns()
    if left > 0:
        time.sleep(left / 1e9)


def contend(key, tasks, begin, end):
    begin, end = int(begin), int(end)
    waits, in_time = [], []

    def task():
        until(begin)
        while (begun := time.monotonic_ns()) < end:
            with client.lock(key, timeout=TTL):
                there = time.monotonic_ns()
            waits.append(there - begun)
            in_time.append(there < end)

    threads = [threading.Thread(target=task) for _ in range(int(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"waits": waits, "in_time": sum(in_time)}


def once(key, hold, begin):
    until(int(begin))
    with client.lock(key, timeout=TTL):
        time.sleep(int(hold) / 1000)
    return {"done": time.monotonic_ns()}


def take(key):
    global taken
    taken = client.lock(key, timeout=TTL)
    taken.acquire()
    return {}


def free():
    at = time.monotonic_ns()
    taken.release()
    return {"at": at}


def wait(key):
    with client.lock(key, timeout=TTL):
        at = time.monotonic_ns()
    return {"at": at}


def read():
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


# A thread that fails ends the process, and not itself alone.
threading.excepthook = fail
lines = queue.Queue()
threading.Thread(target=read, daemon=True).start()
print(json.dumps({"ready": True}), flush=True)
verbs = {"contend": contend, "once": once, "take": take, "free": free, "wait": wait}
while True:
    verb, *words = lines.get().split()
    print(json.dumps(verbs[verb](*words)), flush=True)
