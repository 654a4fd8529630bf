"""Who is in the pairs: told by the set, or found out from the pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from oaml_core.evaluation.scoring.identities import identities_of


def picture(number: int) -> np.ndarray:
    return np.full((4, 4, 3), number, np.uint8)


def a_set(pairs_type, numbers, issame, identities=None):
    return pairs_type("hand", np.stack([picture(n) for n in numbers]), np.array(issame), None, identities)


def test_people_are_linked_by_genuine_pairs_and_by_equal_pictures(pairs):
    # 1–2 and 2–3 are genuine, so 1, 2 and 3 show one person; 4 and 5 are somebody else each.
    found = identities_of(a_set(type(pairs), [1, 2, 2, 3, 1, 4, 5, 3], [True, True, False, False]))
    assert found.source == "inferred"
    numbers = np.stack([found.first, found.second], axis=1)
    assert len(set(numbers[[0, 1]].ravel().tolist()) | {found.first[2], found.second[3]}) == 1
    assert len({found.first[0], found.second[2], found.first[3]}) == 3


def test_a_set_that_names_people_is_believed(pairs):
    found = identities_of(a_set(type(pairs), [1, 2, 3, 4], [True, False], np.array([7, 7, 8, 9])))
    assert found.source == "given"
    assert found.first.tolist() == [7, 8]
    assert found.second.tolist() == [7, 9]


def test_the_digest_tells_other_pairs_apart(pairs):
    one = a_set(type(pairs), [1, 2, 3, 4], [True, False])
    assert identities_of(one).digest == identities_of(replace(one)).digest
    assert identities_of(one).digest != identities_of(replace(one, issame=np.array([False, True]))).digest
    assert identities_of(one).digest != identities_of(replace(one, images=one.images[[0, 1, 3, 2]])).digest


def test_a_pair_list_of_one_folder_an_identity_names_people(tmp_path):
    from oaml_core.data.sources.base import LocalFolder
    from oaml_core.data.sources.verification import open_verification_source

    def people(rows: str):
        (tmp_path / "x_pairs.csv").write_text(f"first,second,same\n{rows}")
        return open_verification_source(LocalFolder(tmp_path), "x", "x_pairs.csv").identities

    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "loose.jpg", "other.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert people("a/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n").tolist() == [0, 0, 0, 1]
    # Folders that contradict the truth are no identities.
    assert people("a/1.jpg,a/2.jpg,1\nloose.jpg,other.jpg,0\n") is None
