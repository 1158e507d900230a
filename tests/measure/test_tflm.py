from pathlib import Path

import pytest

from edgegrow.errors import InputError

pytest.importorskip("tflite_micro")

from edgegrow.measure.mcu.tflm import tflm_arena

MLPERF_TINY = Path(__file__).resolve().parents[3] / "shared" / "data" / "mlperf_tiny"


# TFLM itself, compiled for 32 bits (wasm32), takes 22,780 and 2,380 bytes.
@pytest.mark.parametrize(
    ("name", "head_bytes", "measured_bytes"), [("kws_ref_model", 16_000, 22_780), ("ad01_int8", 768, 2_380)]
)
def test_reference_models_close_above_a_32_bit_build(name, head_bytes, measured_bytes):
    file = MLPERF_TINY / f"{name}.tflite"
    if not file.exists():
        pytest.skip("the MLPerf Tiny reference models are not here")
    arena = tflm_arena(file)
    assert arena.head_bytes == head_bytes
    assert measured_bytes <= arena.total_bytes <= measured_bytes + 900


def test_measurement_names_its_evidence(files):
    arena = tflm_arena(files.tflite)
    measurement = arena.measurement()
    assert 0 < arena.head_bytes < arena.total_bytes
    assert (measurement.metric, measurement.evidence) == ("tflm_arena", "predicted")
    assert measurement.value == arena.total_bytes
    assert "64-bit tail - 12 B a tensor" in measurement.method
    assert measurement.identity.runtime == "tflite-micro"


def test_models_that_cannot_be_allocated(files, tmp_path):
    damaged = tmp_path / "model.tflite"
    with pytest.raises(InputError, match="cannot read it"):
        tflm_arena(damaged)
    for content in (b"", b"no model", files.tflite.read_bytes()[:200]):
        damaged.write_bytes(content)
        with pytest.raises(InputError, match="cannot allocate it") as caught:
            tflm_arena(damaged)
        assert "\n" not in str(caught.value)
