"""A plugin of pytest for clients' own test-suites: what the service does not have counts as missing, not as failed.

A test that fails because the service refused something by name is reported as missing, with that name. The names are
listed here: a command that is refused though the service should have it still fails. Tests that fail for another reason
which is not a fault are in the file named by QUORATE_EXPECTED, each with the reason; a test there that passes fails the
run, so that the file stays true.
"""

import os
import re

import pytest

ABSENT = (
    "bitmaps",
    "encodings or access times of keys",
    "geographic indexes",
    "HyperLogLog",
    "lists",
    "blocking operations",
    "LOLWUT",
    "MEMORY",
    "modules",
    "a monitor of all commands",
    "moving keys between databases",
    "functions; use EVAL",
    "Redis Cluster",
    "Redis's replication and persistence",
    "serialized values",
    "sets",
    "sharded channels",
    "sorted sets",
    "sorting",
    "streams",
    "the longest common subsequence",
    "these operations on hashes yet",
)
OTHERS = {
    "ACL for clients; users are in the configuration": r"for '(DELUSER|DRYRUN|GENPASS|GETUSER|HELP|LOAD|LOG|SETUSER)'",
    "CLIENT PAUSE, UNPAUSE, UNBLOCK": r"for '(PAUSE|UNPAUSE|UNBLOCK)'",
    "CLIENT TRACKING": r"for '(TRACKING|TRACKINGINFO|CACHING)'",
    "COMMAND GETKEYSANDFLAGS": r"for 'GETKEYSANDFLAGS'",
    "CONFIG SET; the configuration is a file": r"CONFIG SET failed",
    "DEBUG": r"DEBUG is refused|'DEBUG' cannot be used",
    "COPY between databases": r"COPY between databases is not supported",
    "cmsgpack in scripts": r"global variable 'cmsgpack'",
}
REFUSED = re.compile(r"does not have (" + "|".join(map(re.escape, ABSENT)) + ")")

expected = {}
counts = {}


def pytest_configure(config):
    path = os.environ.get("QUORATE_EXPECTED")
    if path:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                name, _, reason = line.strip().partition("  # ")
                if name and not name.startswith("#"):
                    expected[name] = reason


def pytest_collection_modifyitems(items):
    for item in items:
        reason = expected.get(item.nodeid)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


def missing(text):
    found = REFUSED.search(text)
    if found:
        return found.group(1)
    return next((name for name, pattern in OTHERS.items() if re.search(pattern, text)), None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    name = missing(str(call.excinfo.value)) if call.excinfo and report.outcome == "failed" else None
    if name:
        counts[name] = counts.get(name, 0) + 1
        report.outcome = "skipped"
        report.wasxfail = f"missing: {name}"
    return report


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line("what tests needed and the service does not have:")
    for name, count in sorted(counts.items()):
        terminalreporter.write_line(f"  {count:3} {name}")
