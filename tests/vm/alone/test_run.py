# SPDX-License-Identifier: GPL-2.0-or-later
"""
What becomes of bad input to tests/vm/run, of a guest that hangs, and of an interrupted
run. No guest starts: where one would, a shell script stands in for qemu.
"""

import os
import pathlib
import signal
import subprocess

import pytest
from lab import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[3]
# writes to the console that it was given and to standard error, and hangs, or leaves
FAKE_QEMU = """#!/bin/sh
for word; do
	case $word in file:*) echo "the last line of $word" >"${word#file:}" ;; esac
done
echo $$ >>"$NFQB_VM_WORK/pids"
[ -z "$FAKE_LEAVES" ] || exit 0
exec sleep 1000
"""

ENOUGH = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "nfnetlink_queue", "veth", "nf_conntrack_netlink", "nf_tables"]


class Run:
    """tests/vm/run in a directory of its own, before programs of ours"""

    def __init__(self, directory):
        self.directory = directory
        self.processes = []
        self.programs = directory / "programs"
        self.programs.mkdir()
        self.modules = directory / "lib/modules/1.2.3"
        self.modules.mkdir(parents=True)
        self.image = directory / "vmlinuz"
        self.image.write_text("")
        others = {n: v for n, v in os.environ.items() if n not in ("KERNEL", "MODULES", "SKIP_VM") and n[:8] != "NFQB_VM_"}
        self.environ = {**others,
                        "NFQB_VM_WORK": str(directory), "NFQB_VM_GUESTS": "2", "NFQB_VM_MEMORY": "1", "XDG_CACHE_HOME": str(directory / "cache"),
                        "PATH": f"{self.programs}:{os.environ['PATH']}"}

    def program(self, name, script):
        path = self.programs / name
        path.write_text(script)
        path.chmod(0o755)

    def kernel(self, built_in):
        """Name an empty kernel of ours, with these modules built in"""
        (self.modules / "modules.order").write_text("")
        (self.modules / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in built_in))
        subprocess.run(["depmod", "-b", self.directory, "1.2.3"], check=True)
        self.environ.update(KERNEL=str(self.image), MODULES=str(self.modules))

    def hanging(self, **environ):
        """Every guest hangs."""
        self.kernel(ENOUGH)
        self.program("qemu-system-x86_64", FAKE_QEMU)
        self.environ.update(environ)

    def start(self, tests="tests/vm/test_netem.py"):
        self.processes.append(subprocess.Popen(
            [ROOT / "tests/vm/run", tests], env=self.environ, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return self.processes[-1]

    def refusal(self, *tests):
        """The one line that a failing run says"""
        process = self.start(*tests)
        lines = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 1, lines
        assert len(lines) == 1, lines
        return lines[0].removeprefix("check-vm: cannot run: ")

    def pids(self):
        path = self.directory / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def guests_left(self):
        """Those of the guests' processes that live"""
        return [pid for pid in self.pids() if os.path.exists(f"/proc/{pid}/cwd") and
                "sleep" in pathlib.Path(f"/proc/{pid}/cmdline").read_text()]


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path)
    yield made
    for process in made.processes:
        process.kill()  # its guests end with it
        process.communicate()


def test_skipped(run):
    run.environ["SKIP_VM"] = "1"
    process = run.start()
    assert process.communicate(timeout=60)[0].startswith("check-vm: SKIPPED (SKIP_VM=1)")
    assert process.returncode == 0


def test_no_qemu(run):
    for directory in ("/bin", "/usr/bin", "/usr/sbin", "/sbin"):
        for name in os.listdir(directory):
            if name != "qemu-system-x86_64" and not (run.programs / name).is_symlink():
                (run.programs / name).symlink_to(f"{directory}/{name}")
    run.environ["PATH"] = str(run.programs)
    assert run.refusal() == "no qemu-system-x86_64 (package qemu-system-x86)"


def test_too_little_memory(run):
    run.environ["NFQB_VM_MEMORY"] = "100000000"
    assert run.refusal().startswith("too little memory: ")


def test_no_package(run):
    """Debian's archive is not among apt's sources."""
    run.program("apt-cache", "#!/bin/sh\nexit 0\n")
    run.program("apt-get", "#!/bin/sh\nexit 0\n")
    assert run.refusal() == "no package linux-image-amd64 in apt's lists (Debian's archive has it)"


def test_no_download(run):
    """The archive does not answer."""
    run.program("apt-cache", "#!/bin/sh\necho '  Depends: linux-image-6.1.0-1-amd64'\n")
    run.program("apt-get", "#!/bin/sh\necho 'E: Failed to fetch it' >&2\nexit 100\n")
    assert run.refusal() == "the package linux-image-6.1.0-1-amd64 cannot be downloaded: E: Failed to fetch it"
    assert os.listdir(run.directory / "cache/nfq-balancer") == []


def test_no_root_for_systemd(run):
    """debootstrap fails, with its own last words."""
    run.kernel(ENOUGH)
    run.program("debootstrap", "#!/bin/sh\necho 'E: Failed getting release file'\nexit 1\n")
    assert run.refusal("tests/vm/systemd") == "debootstrap: E: Failed getting release file"
    assert os.listdir(run.directory / "cache/nfq-balancer") == []


def test_kernel_without_modules(run):
    run.kernel(["virtio_pci", "9pnet_virtio"])
    assert run.refusal() == "kernel 1.2.3 has no module 9p (cloud kernels lack 9p)"


@pytest.mark.parametrize("image, modules, said", [
    ("vmlinuz", "", "KERNEL and MODULES belong together"),
    ("", "lib/modules/1.2.3", "KERNEL and MODULES belong together"),
    ("nowhere", "lib/modules/1.2.3", "KERNEL=nowhere: no such file"),
    ("/etc/hostname", "nowhere", "MODULES=nowhere: no modules.dep there"),
])
def test_kernel_named_wrongly(run, image, modules, said):
    run.environ.update(KERNEL=image, MODULES=modules)
    assert run.refusal().startswith(said)


def test_one_at_a_time(run):
    run.hanging()
    first = run.start()
    wait_until(lambda: len(run.pids()) == 2, 20, "both guests")
    assert run.refusal().startswith("another run is using ")
    first.terminate()
    first.communicate(timeout=20)


def test_guest_that_hangs(run):
    """It is ended after its limit, and the last lines of its console are shown."""
    run.hanging(NFQB_VM_LIMIT="1")
    process = run.start()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    for number in range(2):
        assert f"guest {number} did not end within 1 s; its console's last lines:\n  | the last line of file:" in said
    assert "0 passed, 1 failed" in said
    assert len(run.pids()) == 2 and run.guests_left() == []


def test_guest_with_systemd(run):
    """It has a number of its own and a root made for it; the other guests stay out of its tests."""
    run.program("debootstrap", "#!/bin/sh\nmkdir \"$4\"\n")
    run.hanging(NFQB_VM_LIMIT="1")
    said = run.start("tests/vm/systemd").communicate(timeout=60)[0]
    assert "guest 2 did not end within 1 s" in said and "guest 0" not in said
    assert len(run.pids()) == 1 and run.guests_left() == []


def test_guest_that_ends_too_soon(run):
    run.hanging(FAKE_LEAVES="1")
    process = run.start()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "guest 0 ended (qemu's status 0) before its job did; its console's last lines:\n  | the last line" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
def test_interrupted(run, number):
    """No guest outlives the run, however that ends."""
    run.hanging()
    process = run.start()
    wait_until(lambda: len(run.guests_left()) == 2, 20, "both guests")
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    wait_until(lambda: run.guests_left() == [], 5, "the guests' end")
