# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtual machine's kernel: found or downloaded once, and an initramfs to start it with."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = "linux-image-amd64"
# what init needs to reach the host's files; their dependencies come along
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# what the tests cannot do without
WANTED_MODULES = ("nfnetlink_queue", "veth", "nf_conntrack_netlink", "nf_tables")
# the parts of the package that a machine without hardware has a use for
UNPACKED = ("./boot/vmlinuz-*", "./lib/modules/*/modules.*", "./lib/modules/*/kernel/arch/*",
            "./lib/modules/*/kernel/crypto/*", "./lib/modules/*/kernel/drivers/net/*",
            "./lib/modules/*/kernel/drivers/virtio/*", "./lib/modules/*/kernel/drivers/block/*",
            "./lib/modules/*/kernel/fs/*", "./lib/modules/*/kernel/lib/*", "./lib/modules/*/kernel/net/*")


class Unusable(Exception):
    """The machine, or what was asked for, cannot do it: one line that says why."""


class Kernel:
    """A kernel image and the directory with its modules (.../VERSION)."""

    def __init__(self, image, modules, name):
        self.image = image
        self.modules = modules
        self.version = os.path.basename(modules)
        self.name = name
        self.stock = False  # Debian's own: nothing may be missing


def output(*command):
    """What a command prints; Unusable with what it complained about."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unusable(f"no program {command[0]}") from None
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-1]
        raise Unusable(f"{command[0]}: {said}")
    return result.stdout


def cache_directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "nfq-balancer")


def _download(directory):
    """Download and unpack the kernel that PACKAGE names now."""
    names = re.findall(r"^ *Depends: (linux-image-[0-9]\S*)$", output("apt-cache", "depends", PACKAGE), re.M)
    if not names:
        raise Unusable(f"no package {PACKAGE} in apt's lists (Debian's archive has it)")
    os.makedirs(directory, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        # apt's own user may not be able to write here
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", names[0]]
        result = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        packages = glob.glob(os.path.join(scratch, "*.deb"))
        if result.returncode or not packages:
            said = (result.stderr.strip() or "no message").splitlines()[-1]
            raise Unusable(f"the package {names[0]} cannot be downloaded: {said}")
        version = output("dpkg-deb", "-f", packages[0], "Version").strip()
        fresh = os.path.join(scratch, "fresh")
        os.mkdir(fresh)
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", packages[0]], stdout=subprocess.PIPE) as tar:
            subprocess.run(["tar", "-x", "-C", fresh, "--wildcards", *UNPACKED], stdin=tar.stdout, check=True)
        output("depmod", "-b", fresh, os.path.basename(glob.glob(os.path.join(fresh, "lib/modules/*"))[0]))
        target = os.path.join(directory, f"{names[0]}_{version}".replace("/", "_"))
        shutil.rmtree(target, ignore_errors=True)
        os.rename(fresh, target)


def debian():
    """Debian's own kernel, from the cache or the archive."""
    directory = cache_directory()
    if not glob.glob(os.path.join(directory, "linux-image-*")):
        try:
            _download(directory)
        except Unusable:
            # apt's lists may be missing or older than the archive
            subprocess.run(["apt-get", "-q", "update"], capture_output=True, check=False)
            _download(directory)
    newest = max(glob.glob(os.path.join(directory, "linux-image-*")), key=os.path.getmtime)
    modules = glob.glob(os.path.join(newest, "lib/modules/*"))
    images = glob.glob(os.path.join(newest, "boot/vmlinuz-*"))
    if len(modules) != 1 or len(images) != 1:
        raise Unusable(f"{newest} is not an unpacked kernel package: delete it")
    kernel = Kernel(images[0], modules[0], "Debian " + os.path.basename(newest).rpartition("_")[2])
    kernel.stock = True
    return kernel


def given(image, modules):
    """A kernel of the user's: KERNEL=/path/to/vmlinuz MODULES=/path (.../lib/modules/VERSION, or above)."""
    if not image or not modules:
        raise Unusable("KERNEL and MODULES belong together: an image, and the directory of its modules")
    if not os.path.isfile(image):
        raise Unusable(f"KERNEL={image}: no such file")
    found = [m for m in ([modules] + glob.glob(os.path.join(modules, "lib/modules/*")) +
                         glob.glob(os.path.join(modules, "*")))
             if os.path.exists(os.path.join(m, "modules.dep"))]
    if not found:
        raise Unusable(f"MODULES={modules}: no modules.dep there (depmod makes it)")
    if len(found) > 1:
        raise Unusable(f"MODULES={modules}: several kernels' modules there, name one of them")
    return Kernel(os.path.abspath(image), os.path.abspath(found[0]), "KERNEL=")


def _module_files(kernel, name):
    """The files to load for a module, in order; none when it is built in. Unusable when there is none."""
    base = os.path.dirname(os.path.dirname(os.path.dirname(kernel.modules)))
    if not kernel.modules.endswith(os.path.join("lib", "modules", kernel.version)):
        raise Unusable(f"MODULES={kernel.modules}: the path has to end in lib/modules/{kernel.version}")
    # its own configuration directory: the host's aliases and blacklists are not the guest's
    shown = subprocess.run(["modprobe", "-C", "/dev/null", "-d", base, "-S", kernel.version, "-D", name],
                           capture_output=True, text=True, check=False)
    if shown.returncode:
        raise Unusable(f"kernel {kernel.version} has no module {name} (cloud kernels lack 9p)")
    return [line.split()[1] for line in shown.stdout.splitlines() if line.startswith("insmod ")]


def _plain(path):
    """A module's bytes, decompressed."""
    tools = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
    tool = tools.get(os.path.splitext(path)[1])
    if not tool:
        with open(path, "rb") as file:
            return file.read()
    if not shutil.which(tool):
        raise Unusable(f"{path} is compressed, and there is no {tool}")
    return subprocess.run([tool, "-dc", path], stdout=subprocess.PIPE, check=True).stdout


def make_initramfs(kernel, target):
    """Write the initramfs that starts init with this kernel's modules."""
    files = []
    for name in BOOT_MODULES:
        files += [f for f in _module_files(kernel, name) if f not in files]
    for name in WANTED_MODULES:
        _module_files(kernel, name)
    with tempfile.TemporaryDirectory() as root:
        for directory in ("bin", "modules", "proc"):
            os.mkdir(os.path.join(root, directory))
        shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
        shutil.copy(os.path.join(HERE, "init"), os.path.join(root, "init"))
        order = []
        for path in files:
            order.append(re.sub(r"\.ko.*", ".ko", os.path.basename(path)))
            with open(os.path.join(root, "modules", order[-1]), "wb") as file:
                file.write(_plain(path))
        with open(os.path.join(root, "order"), "w", encoding="ascii") as file:
            file.writelines(name + "\n" for name in order)
        names = "".join(os.path.relpath(os.path.join(where, name), root) + "\n"
                        for where, directories, plain in os.walk(root) for name in directories + plain)
        with open(target, "wb") as file:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), stdout=file,
                           check=True)
