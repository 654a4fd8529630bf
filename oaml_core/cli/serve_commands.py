"""`oaml serve`: faces over HTTP, and a page to try it."""

from __future__ import annotations

import ipaddress
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.cli.command import Command
from oaml_core.cli.photo_options import detector_option, finder_of
from oaml_core.config import Config
from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def _serve(config: Config, options: Any) -> int:
    from oaml_core.inference.gallery.database import Gallery
    from oaml_core.serve.app import create_app
    from oaml_core.serve.faces import FaceService
    from oaml_core.serve.keys import Keys, key_digest, new_key, read_keys
    from oaml_core.serve.limits import Limits
    from oaml_core.serve.model_source import first_model
    from oaml_core.serve.server import open_socket, serve
    from oaml_core.serve.trial import TrialRules
    from oaml_core.stages.served_models import FileModels, ProductionModels

    if not _is_loopback(options.host) and options.key_file is None:
        raise ConfigError(f"--host {options.host} can be reached by others: name the keys, --key_file FILE.")
    limits = Limits(
        body=options.max_body,
        pixels=options.max_pixels,
        seconds=options.max_seconds,
        workers=options.workers,
        per_minute=options.per_minute,
    )
    rules = TrialRules(options.try_share, options.try_count, differing=options.try_differ)
    if options.workers < 1 or options.per_minute < 1 or options.max_seconds <= 0:
        raise ConfigError("--workers, --per_minute and --max_seconds are above 0.")
    if options.look_every < 0 or options.threads < 0:
        raise ConfigError("--look_every and --threads are not below 0.")
    listening = open_socket(options.host, options.port)
    address = f"http://{options.host}:{listening.getsockname()[1]}/"
    if options.key_file is None:
        key = new_key()
        roles, shown = {key_digest(key): "admin"}, f"{address}#key={key}"
    else:
        roles, shown = read_keys(Path(options.key_file)), address
    threads = options.threads
    source = FileModels(config, options.onnx, threads) if options.onnx else ProductionModels(config, threads)
    path = Path(options.gallery) if options.gallery else None
    model, is_newest = first_model(source, path)
    logging.getLogger("oaml.serve").setLevel(logging.INFO)
    with ExitStack() as stack:
        gallery = stack.enter_context(Gallery(path, model.version)) if path else None
        if gallery is not None and is_newest:
            gallery.note_model_address(source.address())
        at_once = max(1, len(os.sched_getaffinity(0)) // threads) if threads else 1
        faces = FaceService(
            model, finder_of(options), gallery, pixels=limits.pixels, most=limits.faces, at_once=at_once
        )
        which = "" if is_newest else ", which the gallery is of, and not the newest"
        print(f"model {model.version}{which}; Ctrl-C ends the service", flush=True)
        print(shown, flush=True)
        keys = Keys(roles, limits.per_minute)
        app = create_app(faces, keys, limits, source, rules, options.look_every, is_newest=is_newest)
        # Held here, the first model would stay in memory after another one has replaced it.
        del model, faces
        serve(app, listening)
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8080, help="port to listen at; 0: a free one")
    parser.add_argument("--gallery", type=str | None, default=None, help="file of `oaml gallery`, made if missing")
    parser.add_argument("--onnx", type=str | None, default=None, help="exported model.onnx; default: in production")
    parser.add_argument(
        "--key_file",
        type=str | None,
        default=None,
        help="file of keys: role and SHA-256 per line; default: a fresh key",
    )
    parser.add_argument("--aligned", action="store_true", help="the images are aligned faces already")
    detector_option(parser)
    parser.add_argument("--workers", type=int, default=2, help="requests answered at the same time")
    parser.add_argument("--threads", type=int, default=0, help="threads of one request in the model; 0: all cores")
    parser.add_argument("--max_body", type=int, default=16 * 2**20, help="largest request, in bytes")
    parser.add_argument("--max_pixels", type=int, default=25_000_000, help="largest photograph, in pixels")
    parser.add_argument("--max_seconds", metavar="SECONDS", type=float, default=30.0, help="longest time to an answer")
    parser.add_argument("--per_minute", type=int, default=600, help="most requests per key and minute")
    parser.add_argument("--look_every", type=float, default=30.0, help="seconds between looks for a new model; 0: none")
    parser.add_argument("--try_share", type=float, default=0.1, help="share of comparisons that a new model gets first")
    parser.add_argument(
        "--try_count", type=int, default=50, help="comparisons that it is tried on before it takes over"
    )
    parser.add_argument("--try_differ", type=float, default=0.1, help="share of them that it may decide otherwise")


COMMANDS = {"serve": Command("compare, identify and enrol faces over HTTP, with a page", _serve, _options)}
