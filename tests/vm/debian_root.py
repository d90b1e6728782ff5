# SPDX-License-Identifier: GPL-2.0-or-later
"""A small Debian with its own systemd, for the virtual machine that boots it: made once by debootstrap."""

import glob
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile

from kernel import Unusable, cache_directory, output

# what an installed nfq-balancer runs on, and what its admin and the tests need besides
PACKAGES = ("systemd-sysv", "kmod", "make", "iproute2", "nftables", "iptables", "conntrack", "procps", "netbase",
            "libnetfilter-queue1", "libnetfilter-conntrack3", "libmnl0", "libconfuse2", "libevent-2.1-7",
            "libjansson4", "liburcu8", "libcap-ng0", "libpcap0.8", "python3-pytest")
# what no test reads, and what is the build machine's own
LEFT_OUT = ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*", "usr/share/doc/*", "usr/share/man/*",
            "usr/share/locale/*", "etc/resolv.conf", "etc/hostname")


def _mirror(suite):
    """Where apt gets this release from; debootstrap knows one itself."""
    found = output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {suite}",
                   "Component: main", "Origin: Debian")
    return found.split()[:1]


def _make(directory, target, suite):
    os.makedirs(directory, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        fresh = os.path.join(scratch, "fresh")
        command = ["debootstrap", "--variant=minbase", "--include=" + ",".join(PACKAGES), suite, fresh, *_mirror(suite)]
        try:
            made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        except FileNotFoundError:
            raise Unusable("no program debootstrap") from None
        if made.returncode:
            raise Unusable("debootstrap: " + (made.stdout.strip() or "no message").splitlines()[-1])
        unwanted = [path for pattern in LEFT_OUT for path in glob.glob(os.path.join(fresh, pattern))]
        output("rm", "-rf", "--", *unwanted)
        # made for other packages: of no more use
        for old in glob.glob(os.path.join(directory, "root-*")):
            shutil.rmtree(old)
        os.rename(fresh, target)


def debian():
    """The root directory, of the same release as this machine (whose build runs there): from the cache, or made."""
    release = platform.freedesktop_os_release()
    suite = release.get("VERSION_CODENAME", "")
    if release.get("ID") != "debian" or not suite:
        raise Unusable("a guest with systemd needs a build made on Debian: what runs there is that build")
    directory = cache_directory()
    target = os.path.join(directory, f"root-{suite}-{hashlib.sha256(' '.join(PACKAGES).encode()).hexdigest()[:8]}")
    if not os.path.isdir(target):
        _make(directory, target, suite)
    return target
