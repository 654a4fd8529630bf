"""A gallery encrypted with another key, or with its first: every content is written anew in one transaction."""

from __future__ import annotations

from oaml_core.errors import DataError
from oaml_core.inference.gallery.database import KIND, OF_IMAGE, Gallery, place_of_record
from oaml_core.inference.gallery.sealing import GalleryCipher, is_sealed
from oaml_core.progress import progress


def encrypt_contents(gallery: Gallery, cipher: GalleryCipher) -> int:
    """Encrypt local features and kept images of all faces by a cipher, whatever they were encrypted by before.

    The change is one transaction: if it is cut off, every content is as it was before. Others can read the gallery
    until the new contents are written, and wait then. The file needs its own size once more on its disk meanwhile.

    Args:
        gallery: open with its present key, if it has one; it uses the new one afterwards.
        cipher: with the new key.

    Returns:
        Faces that are encrypted by the cipher now and were not before; 0 if they were already.

    Raises:
        GalleryLocked: the gallery is encrypted, and its present key is missing or another one.
        DataError: a content was changed in the file, and cannot be decrypted; nothing is changed then.
    """
    with gallery.change() as db:
        if gallery.is_encrypted_by(cipher):
            return 0
        gallery.require_key()
        faces = int(db.execute("SELECT count(*) FROM faces").fetchone()[0])

        def sealed(key: int, kind: bytes, content: bytes, about: str) -> bytes:
            plain = gallery.unsealed(content, about)
            if is_sealed(plain):
                raise DataError(
                    f"Face {key} cannot be decrypted: it was changed in the file. Nothing was encrypted anew.",
                    here=f"`oaml gallery rm {gallery.path} --key {key}` deletes it; `oaml gallery verify` lists more.",
                )
            return cipher.seal(kind, plain, about)

        records = db.execute("SELECT face, model FROM records").fetchall()
        for key, model in progress(records, len(records), "encrypt"):
            words = "SELECT detail FROM records WHERE face = ? AND model = ?"
            (detail,) = db.execute(words, (key, model)).fetchone()
            detail = sealed(key, detail[KIND], detail, place_of_record(model, key))
            db.execute("UPDATE records SET detail = ? WHERE face = ? AND model = ?", (detail, key, model))
        for (key,) in db.execute("SELECT id FROM faces WHERE image IS NOT NULL").fetchall():
            image, digest = db.execute("SELECT image, digest FROM faces WHERE id = ?", (key,)).fetchone()
            image = sealed(key, OF_IMAGE, image, digest)
            db.execute("UPDATE faces SET image = ? WHERE id = ?", (image, key))
        gallery.note_key(db, cipher)
    gallery.cipher = cipher
    return faces
