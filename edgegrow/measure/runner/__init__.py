"""The program that opens, runs and times artifacts: on this machine and on every other device, the same one.

It needs nothing of edgegrow: Python 3.9, numpy and the artifact's runtime (``ai-edge-litert``,
``tflite-runtime`` or ``onnxruntime``) suffice, wherever it is copied to. There it is one file, an archive
that Python runs (`edgegrow.measure.runner_archive`): so its modules name each other relatively. It is a
process of its own: a damaged artifact takes only this process with it, and what it measures is free of
training's threads and memory.

``runner.pyz REQUEST.json`` answers one request of `request.KEYS`: it prints one line of JSON and ends with 0,
or with 3 and ``{"error": "one line"}`` (``missing`` names the runtime that cannot be imported).

``runner.pyz`` without it reads requests on stdin and answers on stdout, each one line of JSON whose ``bytes``
says how many bytes of payload follow:

========= ============================================== ==================================================
do        request, payload                               answer, payload
========= ============================================== ==================================================
open      format, threads; the artifact                  input, output, runtime, version, kernels, metadata,
                                                         python, system, affinity
run       n; n input samples                             n; n output samples
========= ============================================== ==================================================
"""
