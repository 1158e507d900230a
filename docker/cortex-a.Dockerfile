# Emulated ARM Linux: QEMU's user mode, a sysroot of each architecture with the runtimes, and the counter.
# `edgegrow measure MODEL --target raspberry-pi-4 --via container` runs it, without network and as nobody.
#
#     docker build --file docker/cortex-a.Dockerfile --tag edgegrow-cortex-a .
#
# BASE may be pinned by its digest. The wheels' versions are those of edgegrow/measure/arm/sysroot.py.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS prepared
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev mmdebstrap python3 python3-pip qemu-user \
    && rm -rf /var/lib/apt/lists/*
# Only what preparing takes, so that other changes do not prepare again.
COPY edgegrow/__init__.py edgegrow/errors.py edgegrow/files.py edgegrow/printable.py /src/edgegrow/
COPY edgegrow/measure/__init__.py edgegrow/measure/compiling.py edgegrow/measure/device.py \
    edgegrow/measure/runner_archive.py /src/edgegrow/measure/
COPY edgegrow/measure/runner /src/edgegrow/measure/runner
COPY edgegrow/measure/arm /src/edgegrow/measure/arm
RUN PYTHONPATH=/src XDG_CACHE_HOME=/opt python3 -m edgegrow.measure.arm
# The package has an emulator of every architecture: 300 MB. Two, with the libraries that they load, are enough.
RUN mkdir /qemu \
    && for program in /usr/bin/qemu-aarch64 /usr/bin/qemu-arm; do \
        cp --parents "$program" /qemu; \
        ldd "$program" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r library; do \
            real="$(realpath "$library")"; \
            place="$(realpath "$(dirname "$library")")"; \
            mkdir -p "/qemu$place"; \
            cp --no-clobber "$real" "/qemu$place/$(basename "$library")"; \
        done; \
    done

FROM ${BASE}
COPY --from=prepared /qemu/usr /usr
COPY --from=prepared /opt/edgegrow /opt/edgegrow
ENV XDG_CACHE_HOME=/opt
USER 65534:65534
CMD ["/bin/sh"]
