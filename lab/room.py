# SPDX-License-Identifier: GPL-2.0-or-later
"""
Room for more connections than the kernel has by default: nf_conntrack_max is one value for all
network namespaces, so it is raised for a while, by as many runs at once as there are.

    with room.raised(4_000_000):
        ...

Each run has a keeper, a process of its own that ends with it, however that ends: by a signal, too. All
keepers hold the same file, where the first one wrote what the value was; the last one puts it back.
Should a keeper be killed as well, the file remains, and the next run's keeper knows.
"""

import contextlib
import fcntl
import subprocess
import sys

CONNTRACK_MAX = "/proc/sys/net/netfilter/nf_conntrack_max"
REMEMBERED = "/run/nfq-balancer-bench-live.conntrack-max"


def _read(path):
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _write(path, entries):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(entries))


@contextlib.contextmanager
def _alone(remembered):
    """For a moment: no run begins or ends."""
    with open(remembered + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _nobody_else(file):
    """Is this the only one that has the file? (It holds the file then.)"""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _put_back(file, value):
    file.seek(0)
    _write(value, int(file.read()))
    file.truncate(0)


def state(value=CONNTRACK_MAX, remembered=REMEMBERED):
    """(the value now, what it is while nobody has it raised, does anybody have it raised?)"""
    with _alone(remembered), open(remembered, "a+", encoding="ascii") as file:
        file.seek(0)
        now = _read(value)
        return now, int(file.read() or now), not _nobody_else(file)


@contextlib.contextmanager
def raised(entries, value=CONNTRACK_MAX, remembered=REMEMBERED):
    """At least so many entries, until the end"""
    keeper = subprocess.Popen([sys.executable, __file__, str(entries), value, remembered], text=True, start_new_session=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if keeper.stdout.readline() != "raised\n":
            raise RuntimeError(f"{value} cannot be raised")
        yield
    finally:
        keeper.stdin.close()  # as it would be at the end of this process
        keeper.wait()
        keeper.stdout.close()


def _keep(entries, value, remembered):
    with open(remembered, "a+", encoding="ascii") as file:
        with _alone(remembered):
            fcntl.flock(file, fcntl.LOCK_SH)
            file.seek(0)
            now = _read(value)
            if not file.read():
                file.write(str(now))
                file.flush()
            if now < entries:
                _write(value, entries)
        with contextlib.suppress(BrokenPipeError):
            print("raised", flush=True)
        sys.stdin.read()
        with _alone(remembered):
            if _nobody_else(file):
                _put_back(file, value)


if __name__ == "__main__":
    _keep(int(sys.argv[1]), *sys.argv[2:])
