"""redis-py against the counters' listener: redis_py.py ADDRESS GUARDED_ADDRESS PASSWORD. Ends with 0 if all is well."""

import json
import os
import sys
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ADDRESS, GUARDED_ADDRESS, PASSWORD = sys.argv[1:]


def connect(protocol, address=ADDRESS, **options):
    host, port = address.split(":")
    return redis.Redis(host=host, port=int(port), protocol=protocol, decode_responses=True, socket_timeout=10, **options)


def refusal(act):
    try:
        return f"answered {act()!r}"
    except redis.RedisError as error:
        return str(error)


def mapping(reply):
    """A map of the protocol: a dict already, or in RESP2 names and values in turn."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))


def token():
    """A UUID version 7, minted now."""
    number = time.time_ns() // 1_000_000 << 80 | 7 << 76 | 2 << 62 | int.from_bytes(os.urandom(7), "big")
    digits = f"{number:032x}"
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def check(actual, expected):
    assert actual == expected, f"{actual!r} instead of {expected!r}"


def counts(client, key):
    answers = [client.get(key), client.incr(key), client.incrby(key, 41), client.decr(key), client.decrby(key, 50), client.get(key)]
    check(answers, [None, 1, 42, 41, -9, "-9"])
    check(client.mget(key, "nobody"), ["-9", None])
    check([client.exists(key, "nobody", key), client.delete(key, "nobody"), client.exists(key)], [2, 1, 0])
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(500):
            pipeline.incr(key).get(key)
        check(pipeline.execute(), [answer for value in range(1, 501) for answer in (value, str(value))])


def hears(client, key):
    subscriber, channel = client.pubsub(ignore_subscribe_messages=True), f"counter:{key}"

    def value(wanted):
        for _ in range(30):
            message = subscriber.get_message(timeout=1)
            if message and json.loads(message["data"])["value"] == wanted:
                return message
        raise AssertionError(f"{wanted} was never told")

    subscriber.subscribe(channel)
    first = value(500)
    body = json.loads(first["data"])
    check([first["channel"], body["key"], body["value_s"], body["complete"]], [channel, key, "500", True])
    client.incr(key)
    value(501)
    subscriber.unsubscribe(channel)
    while subscriber.subscribed:
        subscriber.get_message(timeout=10)
    subscriber.close()


def adds(client, key):
    once = token()
    check([client.execute_command("HC.ADD", key, 3, "TOKEN", once) for _ in range(2)], [504, 504])
    check([client.execute_command("HC.ADD", key, 1, "ACK", ack) for ack in ("memory", "fsync", "replicated")], [505, 506, 507])
    reading = mapping(client.execute_command("HC.GET", key))
    check([reading["value"], reading["complete"], set(reading)], [507, 1, {"value", "as_of", "lag_ms", "complete"}])
    entries = mapping(client.execute_command("HC.INFO", key)).values()
    check(sum(mapping(entry)["increments"] - mapping(entry)["decrements"] for entry in entries), 507)
    session = client.execute_command("HC.SESSION")
    client.incr(key)
    assert client.execute_command("HC.SESSION") != session


def refuses(client, key):
    # The client takes the first word off the server's text.
    check(refusal(lambda: client.incrby(key, "x")), "value is not an integer or out of range")
    check(refusal(lambda: client.incrby(key, 2**63 - 1)), "increment or decrement would overflow")
    check(refusal(lambda: client.execute_command("INCR")), "wrong number of arguments for 'incr' command")
    check(refusal(lambda: client.execute_command("NOPE", "a")), "unknown command 'NOPE', with args beginning with: 'a' ")
    with client.pipeline() as transaction:
        told = refusal(transaction.incr(key).execute)
    assert told.startswith("transactions are not supported"), told
    check(client.get(key), "508")


def logs_in(protocol, key):
    once = Retry(NoBackoff(), 0)  # else it tries a wrong password for seconds
    nobody, stranger = (connect(protocol, GUARDED_ADDRESS, password=wrong, retry=once) for wrong in (None, "guessed"))
    told = refusal(lambda: nobody.incr(key))
    assert told.startswith(("Authentication required", "HELLO must be called")), told
    check(refusal(lambda: stranger.incr(key)), "invalid username-password pair or user is disabled.")
    check(connect(protocol, GUARDED_ADDRESS, password=PASSWORD).incr(key), 1)


CLIENTS = [(protocol, connect(protocol), f"python-{protocol}") for protocol in (2, 3)]
for protocol, client, key in CLIENTS:
    for part in (counts, hears, adds, refuses):
        part(client, key)
    logs_in(protocol, key)
print("restart the node", flush=True)
sys.stdin.readline()
for _, client, key in CLIENTS:
    check([client.get(key), client.incr(key)], ["508", 509])
