"""Lists of templates as IJB-B and IJB-C have them, whole, and what reads them."""

from __future__ import annotations

from pathlib import Path

from oaml_core.evaluation.templates.lists import read_lists, read_pairs

LISTS = {
    "meta/x_face_tid_mid.txt": b"1.jpg 1 10\n2.jpg 1 11\n3.jpg 2 12\n4.jpg 3 13\n",
    "meta/x_name_5pts_score.txt": b"".join(b"%d.jpg 30 50 80 50 55 70 35 90 75 90 0.9\n" % n for n in range(1, 5)),
    "meta/x_template_pair_label.txt": b"1 2 1\n1 3 0\n2 3 0\n",
    "meta/x_1N_gallery_G1.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,7,img/1.jpg\n3,8,img/4.jpg\n",
    "meta/x_1N_probe_mixed.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n2,7,img/3.jpg\n",
}


def lists() -> dict[str, bytes]:
    """Return the lists and the images that they name, which nobody opens."""
    return LISTS | {f"loose_crop/{number}.jpg": b"" for number in range(1, 5)}


def read(folder: Path, target: str) -> None:
    """Read all lists of a folder."""
    found = read_lists(folder)
    if found.pairs is not None:
        list(read_pairs(found.pairs, found.ids, found.subjects))
