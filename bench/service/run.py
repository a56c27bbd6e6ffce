#!/usr/bin/env python3
"""Figures of the service beside redis-server and etcd, from one run, as a table in Markdown.

    bench/service/run.py target/dist/quorate [--rounds 5] [--quick]

Each workload goes through all servers before the next round begins, so that what else the machine does hits all of them
alike; the table has the median of the rounds. Needs Debian's redis-server, redis-tools, etcd-server, and for etcd's load
golang-go and golang-etcd-server-dev (its own client library; without them etcd is left out). Everything runs on loopback
addresses, and on one disk: three servers on it share its syncs.
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS, SIZE = 10_000, 100
# What, operation, clients, pipeline, operations.
WORKLOADS = [
    ("writes, 1 client", "set", 1, 1, 3_000),
    ("writes, 8 clients", "set", 8, 1, 16_000),
    ("writes, 64 clients", "set", 64, 1, 64_000),
    ("writes, 8 clients, pipeline of 16", "set", 8, 16, 128_000),
    ("reads, 1 client", "get", 1, 1, 30_000),
    ("reads, 50 clients", "get", 50, 1, 150_000),
    ("reads, 50 clients, pipeline of 16", "get", 50, 16, 500_000),
]


def free_port(address="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def ask(port, *words):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as stream:
        request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        stream.sendall(request.encode())
        return stream.recv(65536).decode(errors="replace")


def until(what, done):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"{what} did not happen within a minute")


class Servers:
    """Every process of the run; ended with it."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []

    def start(self, name, command):
        log = open(os.path.join(self.folder, name + ".log"), "w", encoding="utf-8")
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))

    def end(self):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()

    def redis(self, name, *options):
        port, data = free_port(), os.path.join(self.folder, name)
        os.mkdir(data)
        self.start(name, ["redis-server", "--port", str(port), "--dir", data, "--save", "", *options])
        until(name, lambda: "PONG" in ask(port, "PING"))
        return port

    def quorate_alone(self, binary):
        port, page = free_port(), free_port()
        data = os.path.join(self.folder, "alone")
        listen = ["--listen", f"127.0.0.1:{port}", "--page", f"127.0.0.1:{page}"]
        self.start("alone", [binary, "serve", "--data", data, *listen])
        until("a write of quorate alone", lambda: "OK" in ask(port, "SET", "ready", "1"))
        return port

    def quorate_cell(self, binary):
        ports = [free_port() for _ in range(3)]
        udp = free_port()
        base = f"127.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        listed = ", ".join(f'{name} = "{base}.{nth}:{udp}"' for nth, name in enumerate("abc", 1))
        for name, port in zip("abc", ports):
            path = os.path.join(self.folder, name + ".toml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(
                    f'data = "cell-{name}"\n[clients]\nlisten = ["127.0.0.1:{port}"]\n[page]\nlisten = []\n'
                    f'[cell]\nserver = "{name}"\nservers = {{ {listed} }}\n'
                )
            self.start("cell-" + name, [binary, "serve", "--config", path])
        for port in ports:
            until("a write of the cell", lambda: "OK" in ask(port, "SET", "ready", "1"))
        stands = [port for port in ports if "quorate_standing:sync site" in ask(port, "INFO", "replication")]
        return stands[0], next(port for port in ports if port != stands[0])

    def etcd(self, program, count):
        clients = [free_port() for _ in range(count)]
        peers = [free_port() for _ in range(count)]
        cluster = ",".join(f"m{nth}=http://127.0.0.1:{port}" for nth, port in enumerate(peers))
        for nth in range(count):
            client, peer = f"http://127.0.0.1:{clients[nth]}", f"http://127.0.0.1:{peers[nth]}"
            command = [program, "--name", f"m{nth}", "--data-dir", os.path.join(self.folder, f"etcd{count}-{nth}")]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client]
            command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
            command += ["--initial-cluster", cluster, "--initial-cluster-state", "new", "--log-level", "error"]
            self.start(f"etcd{count}-{nth}", command)
        environment = dict(os.environ, ETCDCTL_API="3")
        status = ["etcdctl", "--endpoints", ",".join(f"127.0.0.1:{port}" for port in clients), "endpoint", "status"]

        def leader():
            found = subprocess.run(status, env=environment, capture_output=True, text=True, check=False)
            lines = [line for line in found.stdout.splitlines() if ", true," in line]
            return lines[0].split(",")[0] if lines else None

        until(f"an election of etcd, {count} members", leader)
        return leader()


def by_redis_benchmark(port, operation, clients, pipeline, count):
    command = ["redis-benchmark", "-p", str(port), "-t", operation, "-c", str(clients), "-P", str(pipeline)]
    command += ["-n", str(count), "-r", str(KEYS), "-d", str(SIZE), "--precision", "3"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = float(re.search(r"throughput summary: ([\d.]+)", said)[1])
    # Each line: so many percent took at most so long.
    steps = [(float(share), float(took)) for share, took in re.findall(r"([\d.]+)% <= ([\d.]+) milliseconds \(cum", said)]
    at = lambda share: next((took for reached, took in steps if reached >= share), steps[-1][1])
    return rate, at(50), at(99), at(99.9)


def by_etcd_load(load, endpoint, operation, clients, pipeline, count):
    if pipeline > 1:
        return None
    verb = "put" if operation == "set" else "get"
    command = [load, endpoint, verb, str(clients), str(count // 4), str(KEYS), str(SIZE)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(float(number) for number in said.split())


def etcd_load(folder):
    """Etcd's load, compiled; None where it cannot be."""
    if not shutil.which("go") or not shutil.which("etcd"):
        return None
    path = os.path.join(folder, "etcd-load")
    environment = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOCACHE=os.path.join(folder, "go"))
    command = ["go", "build", "-o", path, os.path.join(HERE, "etcd.go")]
    return path if subprocess.run(command, env=environment, check=False).returncode == 0 else None


def start_all(servers, binary, etcd):
    """Each server's name, and how it is loaded."""
    redis = lambda port: lambda *load: by_redis_benchmark(port, *load)
    sync_site, follower = servers.quorate_cell(binary)
    targets = {
        "quorate, cell of 3, at the sync site": redis(sync_site),
        "quorate, cell of 3, at a follower": redis(follower),
        "quorate, alone": redis(servers.quorate_alone(binary)),
        "redis-server, appendfsync always": redis(servers.redis("always", "--appendonly", "yes", "--appendfsync", "always")),
        "redis-server, appendfsync no": redis(servers.redis("no", "--appendonly", "yes", "--appendfsync", "no")),
    }
    load = etcd_load(servers.folder)
    if load is None:
        print("etcd is left out: etcd-server, golang-go or golang-etcd-server-dev is missing", file=sys.stderr)
        return targets
    for count in (3, 1):
        endpoint = servers.etcd(etcd, count)
        name = "etcd, 3 members, at the leader" if count == 3 else "etcd, alone"
        targets[name] = lambda *of, endpoint=endpoint: by_etcd_load(load, endpoint, *of)
    return targets


def report(results, rounds):
    print(f"Median of {rounds} rounds, {os.cpu_count()} cores, values of {SIZE} bytes, {KEYS} keys; times in milliseconds.\n")
    for what, *_ in WORKLOADS:
        print(f"| {what} | a second | p50 | p99 | p99.9 |\n| --- | ---: | ---: | ---: | ---: |")
        for name, found in results[what].items():
            if found:
                rate, *times = (statistics.median(column) for column in zip(*found))
                print(f"| {name} | {rate:,.0f} | " + " | ".join(f"{took:.2f}" for took in times) + " |")
        print()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="the program, of the profile dist")
    parser.add_argument("--etcd", default="etcd", help="another etcd than the one that Debian packages")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the operations: whether it works, not how fast")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quorate-bench-") as folder:
        servers = Servers(folder)
        try:
            targets = start_all(servers, os.path.abspath(arguments.binary), arguments.etcd)
            results = {what: {name: [] for name in targets} for what, *_ in WORKLOADS}
            for nth in range(arguments.rounds):
                for what, operation, clients, pipeline, count in WORKLOADS:
                    count = count // 10 if arguments.quick else count
                    for name, load in targets.items():
                        found = load(operation, clients, pipeline, count)
                        if found:
                            results[what][name].append(found)
                print(f"round {nth + 1} of {arguments.rounds} is over", file=sys.stderr)
            report(results, arguments.rounds)
        finally:
            servers.end()


if __name__ == "__main__":
    main()
