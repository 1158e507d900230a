"""A stand-in for adbd, the daemon on Android devices, which no package ships.

It speaks the documented protocol to a real adb server over TCP: CNXN, AUTH, OPEN, OKAY, WRTE, CLSE, and the
services ``shell,v2`` and ``sync`` (STAT, SEND, RECV); see AOSP, ``packages/modules/adb/protocol.txt``.
Commands run on this machine. Run as a program it prints its port, and serves until it is killed.
"""

import argparse
import os
import queue
import socket
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE"
VERSION, LARGEST = 0x01000001, 256 << 10
STDIN, STDOUT, STDERR, EXIT, END_STDIN = 0, 1, 2, 3, 4


class Closed(Exception):
    """The stream or its connection has ended."""


class Stream:
    """One service that the host has opened."""

    def __init__(self, connection, number, peer):
        self.connection, self.number, self.peer = connection, number, peer
        self.inbox, self.accepted, self.closed = queue.Queue(), queue.Queue(), False
        self._rest, self._writing = b"", threading.Lock()

    def read(self, count):
        """Return so many bytes."""
        while len(self._rest) < count:
            chunk = self.inbox.get()
            if chunk is None:
                self.inbox.put(None)
                raise Closed
            self._rest += chunk
        content, self._rest = self._rest[:count], self._rest[count:]
        return content

    def write(self, content):
        """Send; each packet only when the one before has been accepted."""
        with self._writing:
            for start in range(0, len(content), self.connection.largest):
                part = content[start : start + self.connection.largest]
                self.connection.send(WRTE, self.number, self.peer, part)
                if self.closed or self.accepted.get() is None:
                    raise Closed

    def hang_up(self):
        """The other side is gone."""
        self.closed = True
        self.inbox.put(None)
        self.accepted.put(None)


class Connection:
    """A connection of an adb server."""

    def __init__(self, link, options):
        self.link, self.options, self.largest = link, options, 4096
        self.streams, self.last, self._sending = {}, 0, threading.Lock()

    def serve(self):
        try:
            while True:
                command, first, second, content = self.receive()
                self.handle(command, first, second, content)
        except (OSError, Closed):
            pass
        finally:
            self.link.close()
            for stream in list(self.streams.values()):
                stream.hang_up()

    def receive(self):
        command, first, second, length, _, magic = struct.unpack("<4s5I", self._exactly(24))
        assert magic == int.from_bytes(command, "little") ^ 0xFFFFFFFF
        assert length <= LARGEST
        return command, first, second, self._exactly(length)

    def _exactly(self, count):
        content = b""
        while len(content) < count:
            chunk = self.link.recv(count - len(content))
            if not chunk:
                raise Closed
            content += chunk
        return content

    def send(self, command, first, second, content=b""):
        magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        head = struct.pack("<4s5I", command, first, second, len(content), sum(content) & 0xFFFFFFFF, magic)
        with self._sending:
            self.link.sendall(head + content)

    def handle(self, command, first, second, content):
        if command == CNXN:
            self.largest = min(second, LARGEST)
            if self.options.unauthorized:
                self.send(AUTH, 1, 0, os.urandom(20))  # a token to sign
            else:
                banner = f"device::ro.product.name=test;features={self.options.features}"
                self.send(CNXN, VERSION, LARGEST, banner.encode())
        elif command == AUTH:
            if first == 2:  # a signature, of a key that is not trusted
                self.send(AUTH, 1, 0, os.urandom(20))
        elif command == OPEN:
            self.last += 1
            stream = self.streams[self.last] = Stream(self, self.last, first)
            threading.Thread(target=self.start, args=(stream, content.rstrip(b"\0")), daemon=True).start()
        elif second not in self.streams:
            pass
        elif command == WRTE:
            self.send(OKAY, second, first)
            self.streams[second].inbox.put(content)
        elif command == OKAY:
            self.streams[second].accepted.put(True)
        elif command == CLSE:
            self.streams.pop(second).hang_up()

    def start(self, stream, service):
        """Do what a service does, in a thread of its own."""
        kind, _, rest = service.partition(b":")
        try:
            if kind.startswith(b"shell,v2"):
                self.send(OKAY, stream.number, stream.peer)
                shell(stream, rest)
            elif kind == b"sync":
                self.send(OKAY, stream.number, stream.peer)
                sync(stream)
        except (Closed, OSError):
            pass
        finally:
            self.streams.pop(stream.number, None)
            with suppress(OSError):
                self.send(CLSE, stream.number, stream.peer)


def shell(stream, line):
    """Run a line, its streams apart; when the host is gone its stdin ends, and no more."""
    process = subprocess.Popen(
        [b"sh", b"-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )

    def pump(number, pipe):
        with suppress(Closed, OSError):
            while chunk := pipe.read(1 << 15):
                stream.write(struct.pack("<BI", number, len(chunk)) + chunk)
        pipe.close()

    def feed():
        with suppress(Closed, OSError):
            while True:
                kind, length = struct.unpack("<BI", stream.read(5))
                content = stream.read(length)
                if kind == STDIN:
                    process.stdin.write(content)
                elif kind == END_STDIN:
                    break
        process.stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    pumps = [
        threading.Thread(target=pump, args=pair, daemon=True)
        for pair in ((STDOUT, process.stdout), (STDERR, process.stderr))
    ]
    for each in pumps:
        each.start()
    for each in pumps:
        each.join()
    code = process.wait()
    stream.write(struct.pack("<BIB", EXIT, 1, code if code >= 0 else 128 - code))


def sync(stream):
    """Transfer files until the host quits."""
    while True:
        request, length = struct.unpack("<4sI", stream.read(8))
        path = stream.read(length) if request != b"QUIT" else b""
        if request == b"QUIT":
            return
        try:
            if request == b"STAT":
                stream.write(b"STAT" + state(path))
            elif request == b"SEND":
                receive(stream, path)
            elif request == b"RECV":
                content = Path(os.fsdecode(path)).read_bytes()
                for start in range(0, len(content), 64 << 10):
                    part = content[start : start + (64 << 10)]
                    stream.write(struct.pack("<4sI", b"DATA", len(part)) + part)
                stream.write(struct.pack("<4sI", b"DONE", 0))
            else:
                raise OSError(0, f"unknown request {request!r}")
        except OSError as error:
            message = str(error.strerror).encode()
            stream.write(struct.pack("<4sI", b"FAIL", len(message)) + message)


def state(path):
    try:
        found = Path(os.fsdecode(path)).stat()
    except OSError:
        return struct.pack("<3I", 0, 0, 0)
    return struct.pack("<3I", found.st_mode, found.st_size, int(found.st_mtime))


def receive(stream, request):
    """Write a file: ``path,mode``, then DATA, then DONE."""
    path, _, _ = request.rpartition(b",")
    parts = []
    while True:
        kind, length = struct.unpack("<4sI", stream.read(8))
        if kind == b"DONE":
            break
        parts.append(stream.read(length))
    target = Path(os.fsdecode(path))
    try:
        target.write_bytes(b"".join(parts))
    except OSError:
        with suppress(OSError):
            target.unlink()
        raise
    stream.write(struct.pack("<4sI", b"OKAY", 0))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", default="shell_v2,cmd")
    parser.add_argument("--unauthorized", action="store_true")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            link, _ = server.accept()
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Connection(link, options).serve, daemon=True).start()


if __name__ == "__main__":
    main()
