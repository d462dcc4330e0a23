"""Packages that no program here installs, and all of them for being the same each time, unpacked and looked at.

    formats.py PACKAGING_BUILD TARGET BINARY
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

EPOCH = 1_700_000_000
failures = 0


def expect(what, found, wanted=True):
    global failures
    if found == wanted:
        print(f"ok: {what}")
    else:
        failures += 1
        print(f"NOT OK: {what}: {found!r} and not {wanted!r}")


def build(packager, target, binary, out, *formats, **environment):
    made = subprocess.run([packager, target, binary, out, *formats], env={**os.environ, **environment}, capture_output=True,
                          text=True, check=True)
    return [Path(line) for line in made.stdout.splitlines()]


def streams(content):
    """The gzip streams that `content` consists of: each packed and unpacked."""
    found = []
    while content:
        reader = zlib.decompressobj(31)
        plain = reader.decompress(content) + reader.flush()
        packed = content[: len(content) - len(reader.unused_data)]
        found.append((packed, plain))
        content = reader.unused_data
    return found


def listing(archive):
    return {entry.name: (entry.mode, entry.uid, entry.gid, entry.mtime) for entry in archive if entry.isfile()}


def files(*modes):
    return {name: (mode, 0, 0, EPOCH) for name, mode in modes}


def fields(text, separator):
    return dict(line.split(separator, 1) for line in text.splitlines() if separator in line and not line.startswith(" "))


def look_at_ipk(path, binary):
    [(_, outer)] = streams(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(outer)) as archive:
        names = sorted(entry.name for entry in archive)
        expect("ipk: has its three parts", names, ["./control.tar.gz", "./data.tar.gz", "./debian-binary"])
        expect("ipk: is of format 2.0", archive.extractfile("./debian-binary").read(), b"2.0\n")
        control = io.BytesIO(archive.extractfile("./control.tar.gz").read())
        data = io.BytesIO(archive.extractfile("./data.tar.gz").read())
    with tarfile.open(fileobj=control, mode="r:gz") as archive:
        wanted = files(("./control", 0o644), ("./conffiles", 0o644), ("./preinst", 0o755), ("./postinst", 0o755), ("./prerm", 0o755))
        expect("ipk: has these control files", listing(archive), wanted)
        control = fields(archive.extractfile("./control").read().decode(), ": ")
        conffiles = archive.extractfile("./conffiles").read().decode().split()
        preinst = archive.extractfile("./preinst").read().decode()
    with tarfile.open(fileobj=data, mode="r:gz") as archive:
        wanted = files(("./usr/bin/mote", 0o755), ("./etc/init.d/mote", 0o755), ("./etc/config/mote", 0o600))
        expect("ipk: installs these", listing(archive), wanted)
        expect("ipk: makes the folders", [e.name for e in archive if e.isdir()],
               [".", "./etc", "./etc/config", "./etc/init.d", "./usr", "./usr/bin"])
        expect("ipk: the program is whole", archive.extractfile("./usr/bin/mote").read() == binary.read_bytes())
        installed = sum(entry.size for entry in archive if entry.isfile())
    expect("ipk: keeps the settings", conffiles, ["/etc/config/mote"])
    expect("ipk: is for any of OpenWrt's architectures", control["Architecture"], "all")
    expect("ipk: has a user", control["Require-User"], "mote:mote")
    expect("ipk: tells its size", control["Installed-Size"], str(installed))
    # The very script that the package brings, on this machine and as if on one of MIPS.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "uname").write_text("#!/bin/sh\necho mips\n")
        Path(folder, "uname").chmod(0o755)
        run = {"input": preinst, "text": True, "capture_output": True}
        expect("ipk: takes this machine", subprocess.run(["sh"], **run).returncode, 0)
        elsewhere = subprocess.run(["sh"], env={"PATH": f"{folder}:/usr/bin:/bin"}, **run)
        expect("ipk: refuses another", (elsewhere.returncode, "this machine is mips" in elsewhere.stderr), (1, True))


def look_at_apk(path, binary):
    parts = streams(path.read_bytes())
    expect("apk: has two parts", len(parts), 2)
    (_, control), (packed, data) = parts
    expect("apk: the first has no end", (len(control) % 512, control.endswith(bytes(1024))), (0, False))
    expect("apk: the second has one", data.endswith(bytes(1024)))
    with tarfile.open(fileobj=io.BytesIO(control + data)) as archive:
        entries = [entry for entry in archive if entry.isfile()]
        info = fields(archive.extractfile(".PKGINFO").read().decode(), " = ")
        program = archive.extractfile("usr/bin/mote").read()
        wanted = {entry.name: hashlib.sha1(archive.extractfile(entry).read()).hexdigest() for entry in entries if entry.name[0] != "."}
        scripts = (".post-install", ".post-upgrade", ".pre-deinstall", ".pre-install", ".pre-upgrade")
        found = files(*((name, 0o755) for name in scripts), (".PKGINFO", 0o644), ("usr/bin/mote", 0o755), ("etc/init.d/mote", 0o755),
                      ("etc/conf.d/mote", 0o640), ("etc/mote/datadog.yaml", 0o640))
        expect("apk: holds these", listing(archive), found)
    expect("apk: .PKGINFO comes first", entries[0].name, ".PKGINFO")
    sums = {entry.name: entry.pax_headers.get("APK-TOOLS.checksum.SHA1") for entry in entries if entry.name[0] != "."}
    expect("apk: each file has its checksum", sums, wanted)
    expect("apk: the program is whole", program == binary.read_bytes())
    expect("apk: the control part vouches for the other", info["datahash"], hashlib.sha256(packed).hexdigest())
    expect("apk: says what it is", (info["pkgname"], info["pkgver"][-3:], info["license"]), ("mote", "-r0", "Apache-2.0"))
    expect("apk: its file is named after it", path.name, f"{info['pkgname']}-{info['pkgver']}.{info['arch']}.apk")


def look_at_tarball(path, binary):
    with tarfile.open(path) as archive:
        found = listing(archive)
        name = path.name.removesuffix(".tar.gz")
        expect("tarball: has the program", archive.extractfile(f"{name}/mote").read() == binary.read_bytes())
    expect("tarball: all is in one folder, root's, of one time", {(n.split("/")[0], *rest[1:]) for n, rest in found.items()},
           {(name, 0, 0, EPOCH)})
    runs = {file.split("/", 1)[1] for file, rest in found.items() if rest[0] == 0o755}
    expect("tarball: these can be run", runs, {"mote", "openrc/mote.initd", "procd/mote.init", "sysv/S99mote", "runit/run",
                                               "runit/check", "runit/finish", "runit/log/run"})


def look_at_layer(path, binary):
    with zipfile.ZipFile(path) as archive:
        found = {entry.filename: (entry.external_attr >> 16, entry.create_system) for entry in archive.infolist()}
        expect("layer: has these, to be run", found, {"extensions/datadog-agent": (0o100755, 3), "datadog_wrapper": (0o100755, 3)})
        expect("layer: the program is whole", archive.read("extensions/datadog-agent") == binary.read_bytes())


def main(packager, target, binary):
    binary = Path(binary)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a"), Path(folder, "b")
        time = {"SOURCE_DATE_EPOCH": str(EPOCH)}
        made = build(packager, target, binary, first, **time)
        # Another folder, another mask for modes, another program with that name beside it.
        os.umask(0o077)
        again = build(packager, target, binary, second, **time)
        expect("the same six, twice", ([p.name for p in made], len(made)), ([p.name for p in again], 6))
        for one, other in zip(made, again):
            expect(f"{one.name} is the same, byte for byte", one.read_bytes() == other.read_bytes())
            digest, name = one.with_name(f"{one.name}.sha256").read_text().split()
            expect(f"{one.name}.sha256 is right", (digest, name), (hashlib.sha256(one.read_bytes()).hexdigest(), one.name))
        by_ending = {path.suffix: path for path in made}
        look_at_ipk(by_ending[".ipk"], binary)
        look_at_apk(by_ending[".apk"], binary)
        look_at_tarball(by_ending[".gz"], binary)
        look_at_layer(by_ending[".zip"], binary)
        # Names of architectures do not depend on the machine that packs.
        expected = {
            "x86_64-unknown-linux-musl": ("amd64", "x86_64", "mote_9_x86_64.ipk"),
            "aarch64-unknown-linux-musl": ("arm64", "aarch64", "mote_9_aarch64.ipk"),
            "armv7-unknown-linux-musleabihf": ("armhf", "armv7", "mote_9_armv7.ipk"),
            "arm-unknown-linux-musleabihf": ("armhf", "armhf", "mote_9_armv6.ipk"),
        }
        for other, (deb, apk, ipk) in expected.items():
            made = build(packager, other, binary, Path(folder, other), "deb", "ipk", "apk", MOTE_VERSION="9", **time)
            shown = subprocess.run(["dpkg-deb", "--field", made[0], "Architecture"], capture_output=True, text=True, check=True)
            [(_, control), _] = streams(made[2].read_bytes())
            with tarfile.open(fileobj=io.BytesIO(control + bytes(1024))) as archive:
                arch = fields(archive.extractfile(".PKGINFO").read().decode(), " = ")["arch"]
            expect(f"architectures of {other}", (shown.stdout.strip(), arch, made[1].name), (deb, apk, ipk))
    return 1 if failures else 0


sys.exit(main(*sys.argv[1:]))
