"""`oaml gallery`: known people in one file: added, listed, deleted, checked, moved, rebuilt and encrypted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.amounts import amount
from oaml_core.cli.command import Command
from oaml_core.cli.gallery_people_commands import (
    merge,
    move,
    one_key,
    one_word,
    remove,
    rename,
    split,
)
from oaml_core.cli.photo_options import finder_of, finder_options
from oaml_core.config import Config
from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from oaml_core.inference.backends import Backend
    from oaml_core.inference.onnx_model import OamlOnnx

ACTIONS = (
    "add",
    "ls",
    "rm",
    "merge",
    "rename",
    "move",
    "split",
    "replace",
    "verify",
    "rebuild",
    "rekey",
    "export",
    "import",
)


def exported_model(config: Config, onnx: str | None, backend: Backend = "auto") -> OamlOnnx:
    """Return the ONNX model that was named, or the one in production, run by `backend`."""
    from oaml_core import stages
    from oaml_core.inference.onnx_model import OamlOnnx
    from oaml_core.stages.added_model import find_model

    return OamlOnnx(stages.fetch_model(config, onnx), backend=backend) if onnx else find_model(config, backend)


def _address(config: Config, onnx: str | None) -> str:
    """Return where the model lies that `exported_model` loads, so that a service finds it."""
    from oaml_core.stages.served_models import FileModels, ProductionModels

    return (FileModels(config, onnx) if onnx else ProductionModels(config)).address()


def _gallery(config: Config, options: Any) -> int:
    return {
        "add": _add,
        "ls": _list,
        "rm": remove,
        "merge": merge,
        "rename": rename,
        "move": move,
        "split": split,
        "replace": _replace,
        "verify": _verify,
        "rebuild": _rebuild,
        "rekey": _rekey,
        "export": _export,
        "import": _import,
    }[options.action](config, options)


def _add(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.database import Gallery
    from oaml_core.inference.gallery.enrol import enrol_folder

    folder = Path(one_word(options, "a photograph, or a folder of them"))
    if not folder.exists():
        raise ConfigError(f"There is no {folder}.")
    model, finder = exported_model(config, options.onnx), finder_of(options)
    with Gallery(options.gallery, model.version) as gallery:
        gallery.note_model_address(_address(config, options.onnx))
        done = enrol_folder(gallery, model, finder, folder, person=options.person, keep=options.keep_images)
        people = gallery.people()
    print(done)
    print(
        f"{options.gallery}: {amount(len(people), 'person', 'people')}, "
        f"{amount(sum(one.faces for one in people), 'face')}, model {model.version}"
    )
    return 0


def _list(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.database import Gallery

    with Gallery(options.gallery) as gallery:
        if options.what:
            found = gallery.faces(person=options.what)
            if not found:
                raise gallery.nobody(options.what)
            for face in found.values():
                said = [face.remark, str(face.detected or ""), "image kept" if face.kept else ""]
                print(f"{face.key:>6}  {face.added}  {face.source}  {'; '.join(filter(None, said))}")
            return 0
        people = gallery.people()
        for one in people:
            print(f"{one.faces:>6}  {one.name}")
        print(
            f"{amount(len(people), 'person', 'people')}, {amount(sum(one.faces for one in people), 'face')}, "
            f"model {gallery.model}{', encrypted' if gallery.is_encrypted else ''}"
        )
    return 0


def _replace(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.database import Gallery
    from oaml_core.inference.gallery.enrol import replace_face

    photo = Path(one_word(options, "a photograph"))
    if options.key is None:
        raise ConfigError("oaml gallery replace takes --key K, the face that goes.")
    key = one_key(options)
    model, finder = exported_model(config, options.onnx), finder_of(options)
    with Gallery(options.gallery, model.version) as gallery:
        new = replace_face(gallery, model, finder, photo, key, keep=options.keep_images)
    print(f"face {new} is there in place of face {key}")
    return 0


def _verify(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.copies import verify_gallery
    from oaml_core.inference.gallery.database import Gallery

    with Gallery(options.gallery) as gallery:
        found = verify_gallery(gallery)
        faces = len(gallery.face_keys())
    print("\n".join(found) if found else f"{amount(faces, 'face is', 'faces are')} whole")
    return 1 if found else 0


def _rebuild(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.database import Gallery
    from oaml_core.inference.gallery.rebuild import rebuild

    model, finder = exported_model(config, options.onnx), finder_of(options)
    with Gallery(options.gallery) as gallery:
        address = _address(config, options.onnx)
        done = rebuild(gallery, model, model.version, finder, forget=options.forget, address=address)
    if done.encrypted:
        print(f"{amount(done.encrypted, 'face is', 'faces are')} encrypted now")
    for key, reason in done.left_out.items():
        print(f"left out: face {key} of {reason}")
    if not done.switched:
        print(
            f"{amount(done.described, 'face was', 'faces were')} described by model {model.version}, and "
            f"{len(done.left_out):,} could not be; the gallery answers by its old model. --forget deletes those "
            "faces and changes over."
        )
        return 1
    print(f"{amount(done.described, 'face was', 'faces were')} described; the gallery is of model {model.version}")
    return 0


def _rekey(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.database import Gallery
    from oaml_core.inference.gallery.encryption import encrypt_contents
    from oaml_core.inference.gallery.sealing import cipher_from_file

    file = one_word(options, "the file that holds the new key, as `openssl rand -base64 32` makes one")
    cipher = cipher_from_file(Path(file), file)
    with Gallery(options.gallery) as gallery:
        if gallery.is_encrypted_by(cipher):
            print(f"{options.gallery} is encrypted with the key in {file} already")
            return 0
        faces = encrypt_contents(gallery, cipher)
    print(f"{amount(faces, 'face is', 'faces are')} encrypted with the key in {file}; no other key opens them now")
    return 0


def _export(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.copies import export_gallery
    from oaml_core.inference.gallery.database import Gallery

    out = Path(one_word(options, "the file to write"))
    with Gallery(options.gallery) as gallery:
        export_gallery(gallery, out)
    print(out)
    return 0


def _import(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.copies import import_gallery
    from oaml_core.inference.gallery.database import Gallery

    source = Path(one_word(options, "the gallery to read"))
    with Gallery(source) as other:
        model = other.model
    with Gallery(options.gallery, None if Path(options.gallery).exists() else model) as gallery:
        added, there = import_gallery(gallery, source)
    print(f"{amount(added, 'face')} added, {there} were there")
    return 0


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("gallery", help="file of the gallery; `add` and `import` make it")
    parser.add_argument(
        "what",
        nargs="?",
        default=None,
        help="add: photograph or folder; replace: photograph; ls, rm, merge, rename, split: a person; export, import: "
        "a file; rekey: a key's file",
    )
    parser.add_argument(
        "--person",
        type=str | None,
        default=None,
        help="add: whose faces; merge, move: who gets them; rename, split: new name",
    )
    parser.add_argument(
        "--key",
        type=str | None,
        default=None,
        help="rm, move, replace: number of a face, as `ls` shows it; split: K,L,…",
    )
    parser.add_argument("--keep_images", action="store_true", help="add, replace: keep aligned faces in the gallery")
    parser.add_argument("--forget", action="store_true", help="rebuild: delete faces that cannot be described")
    parser.add_argument("--onnx", type=str | None, default=None, help="exported model.onnx; default: in production")
    finder_options(parser)


COMMANDS = {
    "gallery": Command("keep known people in one file: add, ls, rm, verify, rebuild, export …", _gallery, _options)
}
