"""What programs do with redis-py, against the server at the port given; ends with an error at the first difference."""

import sys
import threading

import redis

PORT = int(sys.argv[1])


def strings_and_hashes(client):
    client.flushdb()
    assert client.set("a", b"\x00\xff", nx=True) and client.get("a") == b"\x00\xff"
    assert client.set("a", "b", nx=True) is None
    assert client.set("n", 5, ex=100) and 0 < client.ttl("n") <= 100
    assert client.incr("n", 3) == 8 and client.incrbyfloat("n", 0.5) == 8.5
    assert client.mset({"x": 1, "y": 2}) and client.mget("x", "y", "none") == [b"1", b"2", None]
    assert client.hset("h", mapping={"f": 1, "g": 2}) == 2 and client.hgetall("h") == {b"f": b"1", b"g": b"2"}
    assert sorted(client.scan_iter(match="[xy]")) == [b"x", b"y"]
    assert client.delete("x", "y") == 2 and client.exists("x") == 0
    try:
        client.lpush("l", 1)
        raise AssertionError("lists are refused")
    except redis.ResponseError as error:
        assert "does not have lists" in str(error)


def transactions(client):
    with client.pipeline(transaction=False) as pipeline:
        assert pipeline.set("p", 1).get("p").incr("p").execute() == [True, b"1", 2]
    with client.pipeline() as pipeline:
        assert pipeline.set("p", 1).incr("p").execute() == [True, 2]
    with client.pipeline() as pipeline:
        pipeline.watch("p")
        client.set("p", 9)
        pipeline.multi()
        pipeline.set("p", 10)
        try:
            pipeline.execute()
            raise AssertionError("the key was changed")
        except redis.WatchError:
            pass

    def increment(pipeline):
        pipeline.multi()
        pipeline.incr("p")

    assert client.transaction(increment, "p") == [10]


def messages(client):
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe("news")
    listener.get_message(timeout=5)
    client.publish("news", "hello")
    assert listener.get_message(timeout=5)["data"] == b"hello"
    listener.close()


def locks(client):
    client.delete("lock")
    with client.lock("lock", timeout=10) as lock:
        assert not client.lock("lock", timeout=10, blocking=False).acquire()
        assert lock.extend(10) and lock.reacquire() and lock.owned()
    assert client.exists("lock") == 0
    total = []

    def work():
        for _ in range(10):
            with client.lock("counter-lock", timeout=10, sleep=0.001):
                total.append(int(client.get("counter") or 0) + 1)
                client.set("counter", total[-1])

    client.delete("counter")
    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert total == list(range(1, 41))


for protocol in (2, 3):
    client = redis.Redis(port=PORT, protocol=protocol, client_name="tests")
    assert client.ping() and client.client_getname() in ("tests", b"tests")
    assert client.info()["redis_version"] == "7.2.4" and client.config_get("save")
    assert any(each["name"] == "tests" for each in client.client_list())
    for part in (strings_and_hashes, transactions, messages, locks):
        part(client)
    print("version", protocol, "done")
print("all done")
