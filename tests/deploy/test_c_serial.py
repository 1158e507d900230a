"""The serial side of a C package, compiled for the host: a program that talks on stdin and stdout."""

import subprocess

import numpy as np
import pytest
from c_packages import STRICT, TRAPS, Layers, needs_compiler, zig

from edgegrow.deploy.c import c_package, write_c
from edgegrow.deploy.simulate import simulate

pytestmark = needs_compiler

LAYERS = Layers(37).linear(11)
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include "model_serial.h"
static void put(char c) { putchar(c); }
static int get(void) { int c = getchar(); if (c == EOF) { exit(0); } return c; }
static uint32_t microseconds(void) { static uint32_t now = UINT32_MAX - 7; return now += 5; }
int main(void) {
    const struct model_serial_board board = {"host", 48000000, put, get, microseconds, 0};
    model_serial_run(&board);
}
"""
ARDUINO = r"""
#include <stdint.h>
#define ARDUINO_BOARD "UNO_R4"
#define F_CPU 48000000L
struct Port { void begin(long); operator bool(); int available(); int read(); void write(char); };
extern Port Serial;
void yield();
unsigned long micros();
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    write_c(LAYERS.graph(), folder)
    return folder


@pytest.fixture(scope="module")
def talk(package):
    program, source = package / "talk", package / "talk.c"
    source.write_text(PROGRAM)
    sources = [package / "src/model.c", package / "src/model_serial.c", source]
    zig(*STRICT, "-Wpedantic", *TRAPS, "-I", package / "src", "-o", program, *sources)

    def talk(said):
        done = subprocess.run([program], input=said, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"m-init-done\r\nm-ready\r\n")
        return done.stdout.decode("ascii").split("\r\n")[2:-1]

    return talk


def loading(content):
    chunks = [f"db {content[i : i + 32].hex()}%" for i in range(0, len(content), 32)]
    return f"db load {len(content)}%{''.join(chunks)}".encode()


def test_a_conversation(talk, package):
    sample = np.random.default_rng(0).integers(-128, 128, (1, 37), np.int8)
    expected = ",".join(map(str, simulate(LAYERS.graph(), sample).ravel()))
    content = sample.tobytes()
    replies = talk(b"name%profile%" + loading(content) + b"db print%infer 3%results%infer 1 0%timestamp%\n%")
    model = (package / "src/model.h").read_text().split('MODEL_ID "')[1][:16]
    assert replies[:4] == [
        "m-name-dut-[host]",
        "m-ready",
        "m-profile-[edgegrow serial 1]",
        f"m-model-[{model}]",
    ]
    assert replies[4].startswith("m-compiler-[")
    rest = "\n".join(replies[5:])
    assert rest == "\n".join(
        [
            *("m-clock-hz-48000000", "m-ready", "m-[Expecting 37 bytes]", "m-ready", "m-ready"),
            *("m-load-done", "m-ready", f"m-buffer-{content[:32].hex()}", f"m-buffer-{content[32:].hex()}"),
            *("m-ready", "m-warmup-start-10", "m-warmup-done", "m-infer-start-3", "m-lap-us-4294967293"),
            *("m-lap-us-2", "m-infer-done", f"m-results-[{expected}]", "m-ready"),  # the counter wraps
            *(f"m-results-[{expected}]", "m-ready", "m-warmup-start-0", "m-warmup-done", "m-infer-start-1"),
            *("m-lap-us-7", "m-lap-us-12", "m-infer-done", f"m-results-[{expected}]", "m-ready"),
            *("m-lap-us-17", "m-ready", "m-ready"),
        ]
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("nonsense", "unknown command"),
        ("names", "unknown command"),
        ("db load 36", "another size"),
        ("db load 38", "another size"),
        ("db load 4294967333", "another size"),  # 37 in 32 bits
        ("db load", "another size"),
        ("db load 37 1", "another size"),
        ("db 00", "more than announced"),
        ("db load 37%db 0", "not pairs"),
        ("db load 37%db 0g", "not pairs"),
        ("db load 37%db", "no bytes"),
        ("db load 37%db " + "00" * 36 + "%db 0000", "more than announced"),
        ("infer 1", "there is no input"),
        ("infer 0", "not a number of inferences"),
        ("infer -1", "not a number of inferences"),
        ("infer 4294967296", "not a number of inferences"),
        ("infer 1 x", "not a number of inferences"),
        ("infer 1 1 1", "not a number of inferences"),
        ("results", "there are none yet"),
        ("db " + "0" * 77, "too long, or damaged"),
        ("name" * 5000, "too long, or damaged"),
        ("na\x01me", "too long, or damaged"),
    ],
)
def test_what_cannot_be_done_is_refused(talk, said, why):
    replies = talk(f"{said}%name%".encode())
    assert replies[-4].startswith("e-[")
    assert why in replies[-4]
    assert replies[-3:] == ["m-ready", "m-name-dut-[host]", "m-ready"]


def test_an_input_that_is_announced_again_is_needed_again(talk):
    content = bytes(37)
    replies = talk(loading(content) + b"infer 1%db load 37%infer 1%results%")
    assert [reply for reply in replies if reply.startswith("e-")] == [
        "e-[infer: there is no input, db load first]",
        "e-[results: there are none yet, infer first]",
    ]


def test_garbage(talk):
    rng = np.random.default_rng(1)
    words = [b"db ", b"db load 37", b"infer 2 1%", b"results", b"%", b"%", b"00" * 20, b" ", b"-", b"name"]
    for _ in range(30):
        pieces = [words[i] if i < len(words) else rng.bytes(5) for i in rng.integers(0, 13, 300)]
        said = b"".join(pieces)
        replies = talk(said + b"%name%")
        assert replies[-3:] == ["m-ready", "m-name-dut-[host]", "m-ready"]
        assert sum(reply == "m-ready" for reply in replies) == said.count(b"%") + 2


def test_identities_are_of_the_network():
    def identity(layers):
        return c_package(layers.graph())["src/model.h"].split('MODEL_ID "')[1][:16]

    assert identity(LAYERS) == identity(Layers(37).linear(11))
    others = {identity(Layers(37, seed=seed).linear(11)) for seed in range(3)}
    others |= {identity(Layers(37, zero_point=8).linear(11)), identity(Layers(37).linear(12))}
    assert len(others) == 5  # seed 0 is that of LAYERS


def test_the_arduino_sketch_compiles(package):
    stub, sketch = package / "arduino.h", package / "examples/serial/serial.ino"
    stub.write_text(ARDUINO)
    warnings = ["-Wall", "-Wextra", "-Werror"]
    zig(
        "-x",
        "c++",
        *warnings,
        "-c",
        "-include",
        stub,
        "-I",
        package / "src",
        "-o",
        package / "sketch.o",
        sketch,
    )
