"""Agents on the Hugging Face Hub: `hub://ORG/REPO`, with `@REVISION` and `/FILE.zip` where needed.

The files are downloaded to the Hub's own cache, and what lies beside the agent comes with it. They
are then read like any other folder. `huggingface_sb3`'s download does the same by the same
function, but its newer versions insist on the environment variable TRUST_REMOTE_CODE, because SB3
would unpickle the file; here nothing is unpickled, so the function is called directly.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from sb3_il_plus.errors import FileError, MissingExtraError
from sb3_il_plus.experts.zoo_folder import ARGUMENTS, CONFIG, ENV_KWARGS, STATISTICS

SCHEME = "hub://"

_ADDRESS = re.compile(
    r"hub://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+?))?(/(?P<file>[^@]+\.zip))?"
)


def download(address: str) -> Path:
    """Download an agent and the files beside it.

    :param address: `hub://ORG/REPO` for the file `REPO.zip`, as RL Zoo names it; otherwise
        `hub://ORG/REPO/FILE.zip`. `hub://ORG/REPO@REVISION` for a branch, tag or commit
    :return: where the zip lies
    :raises MissingExtraError: `huggingface_hub` is not installed
    :raises FileError: the address is not understood, or there is no such file
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise FileError(f"{address!r} must look like hub://ORG/REPO or hub://ORG/REPO/FILE.zip")
    repo, revision = match["repo"], match["revision"]
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError as error:
        raise MissingExtraError(
            f"{address!r} needs the package huggingface_hub: pip install 'sb3_il_plus[hub]'"
        ) from error

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(repo_id=repo, filename=name, revision=revision))

    name = match["file"] or f"{repo.partition('/')[2]}.zip"
    try:
        file = fetch(name)
    except Exception as error:  # of huggingface_hub, of its HTTP library, or of the disk
        raise FileError(
            f"cannot download {name!r} of {address!r}: {_first_line(error)}; if the agent's file "
            "has another name, write hub://ORG/REPO/FILE.zip"
        ) from error
    for beside in (CONFIG, ARGUMENTS, ENV_KWARGS, *STATISTICS):
        with suppress(EntryNotFoundError):
            fetch(beside)
    return file


def _first_line(error: Any) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
