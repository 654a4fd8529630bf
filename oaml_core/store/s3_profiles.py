"""Keys from the files that other S3 tools keep: AWS's credentials and config, and MinIO's client configuration.

Formats: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html and https://github.com/minio/mc.
"""

from __future__ import annotations

import configparser
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oaml_core.errors import StoreError
from oaml_core.store.s3_identity import (
    SERVER,
    NoSuchWay,
    assumed_role,
    container_agent,
    from_process_json,
    instance_role,
    web_identity,
)
from oaml_core.structured_text import parse_json
from oaml_core.web_addresses import web_address

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
ENVIRONMENT = (
    (KEYS, "AWS_SESSION_TOKEN"),
    (("AWS_ACCESS_KEY", "AWS_SECRET_KEY"), "AWS_SESSION_TOKEN"),
    (("MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"), ""),
)
"""Variables of a pair of keys and of their token, as MinIO's clients read them in this order."""
CREDENTIALS_FILE, CONFIG_FILE = "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"
PROFILE = "AWS_PROFILE"
MOST_ROLES = 5
"""Profiles that may lead to one another by `source_profile`."""
PROCESS_SECONDS = 60
"""Limit for a credential process; some ask a person for a second factor."""


def environment_keys() -> Any:
    """Return the keys of the environment.

    Raises:
        NoSuchWay: there are none. StoreError: one of two is missing.
    """
    from minio.credentials.credentials import Credentials

    for names, token in ENVIRONMENT:
        given = [name for name in names if os.environ.get(name)]
        if len(given) == 2:
            return Credentials(os.environ[names[0]], os.environ[names[1]], os.environ.get(token) or None)
        if given:
            missing = next(name for name in names if name not in given)
            raise StoreError(f"An s3:// store needs {missing} in the environment beside {given[0]}.")
    raise NoSuchWay(f"{', '.join(KEYS)} are not set")


def profile_keys(pool: Any) -> Any:
    """Return the keys that the profile `AWS_PROFILE`, or `default`, of AWS's shared files leads to.

    Args:
        pool: urllib3 pool for an STS endpoint of one's own.

    Raises:
        NoSuchWay: there is no such profile, and none was named. StoreError: a named one is missing, or cannot be used.
    """
    profiles = _profiles()
    name = _profile_name()
    if name not in profiles:
        where = " and ".join(map(str, _files()))
        if os.environ.get(PROFILE) or os.environ.get("AWS_DEFAULT_PROFILE"):
            there = ", ".join(sorted(profiles)) or "none"
            raise StoreError(f"{PROFILE}: there is no profile {name!r} in {where}; there are: {there}.")
        raise NoSuchWay(f"no profile 'default' in {where}")
    return _keys_of(name, profiles, pool, [])


def profile_region() -> str | None:
    """Return the region of the profile; None where no file names one."""
    return _profiles().get(_profile_name(), {}).get("region")


def _profile_name() -> str:
    return os.environ.get(PROFILE) or os.environ.get("AWS_DEFAULT_PROFILE") or "default"


def _files() -> tuple[Path, Path]:
    """Paths of the credentials and of the config file."""
    names = os.environ.get(CREDENTIALS_FILE) or "~/.aws/credentials", os.environ.get(CONFIG_FILE) or "~/.aws/config"
    # `Path.expanduser` raises where an account has no home, as accounts without a name in pods have none.
    credentials, config = (Path(os.path.expanduser(name)) for name in names)
    return credentials, config


def _profiles() -> dict[str, dict[str, str]]:
    """Return settings by profile; what both files name is taken from the credentials file."""
    credentials, config = _files()
    found: dict[str, dict[str, str]] = {}
    for section, values in _sections(config).items():
        kind, _, name = section.partition(" ")
        if section == "default" or (kind == "profile" and name.strip()):
            found[name.strip() or "default"] = values
    for section, values in _sections(credentials).items():
        found[section] = found.get(section, {}) | values
    return found


def _sections(path: Path) -> dict[str, dict[str, str]]:
    # Secrets may hold `%`, and a section of the name DEFAULT is a profile like others.
    parser = configparser.RawConfigParser(default_section="\0", strict=False)
    try:
        if not path.is_file():
            return {}
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from None
    except configparser.Error as error:  # its own message quotes the line, which may hold a secret
        line = getattr(error, "lineno", None) or next((number for number, _ in getattr(error, "errors", [])), "?")
        raise StoreError(f"{path} line {line} is neither [profile] nor `name = value`: correct it.") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _keys_of(name: str, profiles: Mapping[str, Mapping[str, str]], pool: Any, asked: list[str]) -> Any:
    """Return keys of one profile; `asked` are those that led here."""
    from minio.credentials.credentials import Credentials

    if name in asked or len(asked) >= MOST_ROLES:
        raise StoreError(f"Profile {name!r}: source_profile leads in a circle ({' → '.join([*asked, name])}).")
    values = profiles[name]
    key, secret = values.get("aws_access_key_id"), values.get("aws_secret_access_key")
    role = values.get("role_arn")
    if role and not (asked and values.get("source_profile") == name):
        return _role_of(name, profiles, pool, [*asked, name])
    if key and secret:
        return Credentials(key, secret, values.get("aws_session_token") or None)
    if key or secret:
        missing = "aws_secret_access_key" if key else "aws_access_key_id"
        raise StoreError(f"Profile {name!r} has no {missing}.")
    if command := values.get("credential_process"):
        return _from_process(name, command)
    if any(setting.startswith("sso_") for setting in values):
        raise StoreError(
            f"Profile {name!r} signs in through a browser (SSO), which needs the AWS CLI: run `aws sso login`, then "
            f'`eval "$(aws configure export-credentials --profile {name} --format env)"`.'
        )
    raise NoSuchWay(f"profile {name!r} names no credentials")


def _role_of(name: str, profiles: Mapping[str, Mapping[str, str]], pool: Any, asked: list[str]) -> Any:
    values = profiles[name]
    role = values["role_arn"]
    if values.get("mfa_serial"):
        raise StoreError(f"Profile {name!r} asks for a second factor (mfa_serial); export temporary keys instead.")
    if token_file := values.get("web_identity_token_file"):
        return web_identity(pool, role, token_file)
    source = _source_of(name, profiles, pool, asked)
    return assumed_role(pool, role, source, name, values.get("external_id"))


def _source_of(name: str, profiles: Mapping[str, Mapping[str, str]], pool: Any, asked: list[str]) -> Any:
    """Return the keys that assume the role of a profile."""
    from minio.credentials.credentials import Credentials

    values = profiles[name]
    ways = {"Environment": environment_keys, "EcsContainer": container_agent, "Ec2InstanceMetadata": instance_role}
    kind, source = values.get("credential_source"), values.get("source_profile")
    try:
        if kind in ways:
            return ways[kind]()
        if source == name and values.get("aws_access_key_id") and values.get("aws_secret_access_key"):
            token = values.get("aws_session_token") or None
            return Credentials(values["aws_access_key_id"], values["aws_secret_access_key"], token)
        if source is not None and source in profiles:
            return _keys_of(source, profiles, pool, asked)
    except NoSuchWay as reason:
        raise StoreError(f"Profile {name!r} gives no credentials: {reason}.") from None
    wanted = source or kind
    said = f"names {wanted!r}, which there is not" if wanted else "has neither source_profile nor credential_source"
    raise StoreError(f"Profile {name!r} has a role_arn, and {said}.")


def _from_process(name: str, command: str) -> Any:
    """Run the program that a profile names, without a shell; what it prints is shown nowhere."""
    where = f"credential_process of profile {name!r}"
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=PROCESS_SECONDS, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise StoreError(f"No credentials from {where}: {type(error).__name__}.") from None
    if done.returncode:
        raise StoreError(f"No credentials from {where}: it ends with {done.returncode}. Run it by hand to see why.")
    return from_process_json(done.stdout, where)


def minio_client_keys() -> Any:
    """Return the keys of MinIO's client for the alias `MINIO_ALIAS`, or for the one of `OAML_S3_ENDPOINT`.

    Raises:
        NoSuchWay: there is none. StoreError: the file is damaged, or a named alias is missing. ConfigError: an alias
            has no address.
    """
    from minio.credentials.credentials import Credentials

    path = Path(os.path.expanduser(os.environ.get("MC_CONFIG_DIR") or "~/.mc")) / "config.json"
    wanted = os.environ.get("MINIO_ALIAS")
    if not path.is_file():
        raise NoSuchWay(f"there is no {path}")
    try:
        content = parse_json(path.read_bytes(), str(path), "Write it again by `mc alias set`.", StoreError)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from None
    aliases = content.get("aliases") or content.get("hosts") or {} if isinstance(content, dict) else None
    if not isinstance(aliases, dict) or not all(isinstance(alias, dict) for alias in aliases.values()):
        raise StoreError(f"{path} is damaged: it holds no aliases by name. Write it again by `mc alias set`.")
    server = os.environ.get("OAML_S3_ENDPOINT", "")

    def is_of(name: str, alias: Mapping[str, Any]) -> bool:
        where = f"url of the alias {name!r} in {path}"
        own = web_address(server, "OAML_S3_ENDPOINT", SERVER).netloc
        return web_address(str(alias.get("url")), where, SERVER).netloc == own

    for name, alias in aliases.items():
        if name == wanted if wanted else is_of(name, alias):
            if not alias.get("accessKey") or not alias.get("secretKey"):
                raise NoSuchWay(f"alias {name!r} in {path} has no keys")
            return Credentials(alias["accessKey"], alias["secretKey"], alias.get("sessionToken") or None)
    if wanted:
        raise StoreError(f"MINIO_ALIAS: there is no alias {wanted!r} in {path}.")
    raise NoSuchWay(f"no alias in {path} has the address {server}")
