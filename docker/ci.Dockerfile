# Continuous integration: edgegrow, the emulators of ARM Linux and of microcontrollers, and their compilers;
# all that `edgegrow measure` and `edgegrow gate` take on a machine that has no device.
#
#     docker build --file docker/cortex-a.Dockerfile --tag edgegrow-cortex-a .
#     docker build --file docker/cortex-m.Dockerfile --tag edgegrow-cortex-m .
#     docker build --file docker/ci.Dockerfile --tag edgegrow-ci .
#     docker run --rm --init --network none --read-only --cap-drop ALL --tmpfs /tmp:exec \
#         --volume "$PWD:/project:ro" edgegrow-ci gate /project/baseline.json /project/candidate.json
ARG CORTEX_A=edgegrow-cortex-a
ARG CORTEX_M=edgegrow-cortex-m

FROM ${CORTEX_A} AS emulator

FROM ${CORTEX_M}
# QEMU's other programs are here: only the two of user mode, and what they load beyond those.
COPY --from=emulator /usr/bin/qemu-aarch64 /usr/bin/qemu-arm /usr/bin/
COPY --from=emulator /usr/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu
COPY --from=emulator /opt/edgegrow /opt/edgegrow
ENV XDG_CACHE_HOME=/opt
