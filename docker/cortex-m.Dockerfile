# Microcontrollers: compilers (zig's clang, arm-none-eabi-gcc), emulators (Unicorn, QEMU) and edgegrow.
#
#     docker build --file docker/cortex-m.Dockerfile --tag edgegrow-cortex-m .
#     docker run --rm --init --network none --read-only --cap-drop ALL --tmpfs /tmp:exec \
#         --volume "$PWD:/project:ro" edgegrow-cortex-m measure /project/model.tflite --target nucleo-l4r5zi
#
# BASE may be pinned by its digest; Python packages have the versions of constraints.txt.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS built
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY constraints.txt docker/measuring.txt ./
# Without what only growing needs: torch alone is larger than the rest.
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt --requirement measuring.txt
COPY LICENSE README.md pyproject.toml ./
COPY targets targets
COPY edgegrow edgegrow
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc-arm-none-eabi python3 qemu-system-arm \
    && rm -rf /var/lib/apt/lists/*
COPY --from=built /opt/venv /opt/venv
# Compilers keep what they have built; only /tmp can be written.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp ZIG_GLOBAL_CACHE_DIR=/tmp/zig PYTHONDONTWRITEBYTECODE=1
USER 65534:65534
WORKDIR /project
ENTRYPOINT ["edgegrow"]
CMD ["doctor"]
