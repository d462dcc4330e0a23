"""Furnishes the network and mount namespaces that `run` entered. Changes nothing outside of them."""

import ctypes
import fcntl
import os
import shutil
import socket
import struct
from pathlib import Path

SIOCSIFFLAGS, IFF_UP = 0x8914, 1
MS_BIND, MS_REC = 4096, 16384
EXTENSIONS = Path("/opt/extensions")


def furnish(work):
    """Brings `lo` up and puts a private, empty /opt/extensions in place."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
    if not EXTENSIONS.is_dir():
        _replace_opt(Path(work) / "opt")
    _mount("e2e", EXTENSIONS, "tmpfs")


def _replace_opt(stage):
    """Lays a tmpfs over /opt that shows what /opt held, because a folder made in the real one would stay."""
    stage.mkdir(exist_ok=True)
    _mount("e2e", stage, "tmpfs")
    for entry in Path("/opt").iterdir():
        if entry.is_symlink():
            shutil.copy(entry, stage / entry.name, follow_symlinks=False)
        elif entry.is_dir():
            (stage / entry.name).mkdir()
            _mount(entry, stage / entry.name, None, MS_BIND | MS_REC)
    (stage / "extensions").mkdir()
    _mount(stage, "/opt", None, MS_BIND | MS_REC)


def _mount(source, target, kind, flags=0):
    libc = ctypes.CDLL(None, use_errno=True)
    kind = kind.encode() if kind else None
    if libc.mount(os.fsencode(source), os.fsencode(target), kind, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f"cannot mount {target}: {os.strerror(ctypes.get_errno())}")
