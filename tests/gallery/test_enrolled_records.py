"""Records as a gallery keeps them: eight bits per value, and a checksum."""

from __future__ import annotations

import numpy as np
from test_gallery import records_of

from oaml_core.inference.gallery.packing import check_record, pack_record, unpack_records
from oaml_core.inference.records import FaceRecords


def test_a_record_comes_back_with_eight_bits_per_value() -> None:
    many = FaceRecords(*(np.concatenate([a, b]) for a, b in zip(records_of(1), records_of(2), strict=True)))
    packed = [pack_record(many, row) for row in (0, 1)]
    back = unpack_records(packed)
    assert np.array_equal(back.embedding, many.embedding)
    assert np.allclose(back.norm, many.norm)
    assert np.abs(back.visibility - many.visibility).max() <= 0.5 / 255 + 1e-6
    bound = np.abs(many.local_features).max(1, keepdims=True) / 254
    assert (np.abs(back.local_features - many.local_features) <= bound + 1e-4).all()


def test_a_model_without_local_features_keeps_its_embedding() -> None:
    plain = FaceRecords(records_of(1).embedding, np.ones((1, 1, 1, 1), np.float32), np.zeros((1, 0, 1, 1), np.float32))
    back = unpack_records([pack_record(plain)])
    assert np.array_equal(back.embedding, plain.embedding)
    assert back.local_features.shape == (1, 0, 1, 1)
    assert len(back.norm) == 0


def test_of_a_model_with_one_local_vector_that_alone_is_kept() -> None:
    drawn = np.random.default_rng(0).standard_normal((2, 128)).astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    known = records_of(1)
    many = FaceRecords(*(np.repeat(part, 2, axis=0) for part in known[:4]), vectors)
    packed = [pack_record(many, row) for row in (0, 1)]
    back = unpack_records(packed)

    assert np.abs(back.local_embedding - vectors).max() <= np.abs(vectors).max() / 254 + 1e-6
    assert np.allclose(back.visibility, known.visibility, atol=0.003)
    assert back.local_features.shape == (2, 0, *known.visibility.shape[2:])
    assert len(packed[0].detail) < 200
    for place in range(0, len(packed[0].detail), 7):
        damaged = bytearray(packed[0].detail)
        damaged[place] ^= 1
        assert check_record(packed[0]._replace(detail=bytes(damaged)))


def test_every_changed_byte_of_a_record_is_noticed() -> None:
    packed = pack_record(records_of(1))
    assert check_record(packed) == ""
    for part in (0, 1):
        for place in range(0, len(packed[part]), 7):
            damaged = bytearray(packed[part])
            damaged[place] ^= 1
            assert check_record(packed._replace(**{packed._fields[part]: bytes(damaged)}))
    assert check_record(packed._replace(detail=packed.detail[:5]))
