"""Download one file over HTTP: resumed after an interruption, and never half taken for whole."""

import hashlib
import http.client
import json
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pointinteract.datasets._progress import progress_bar
from pointinteract.utils._archive import atomic_write

CHUNK = 1 << 20
TIMEOUT = 30.0
WORTH_RETRYING = (408, 425, 429, 500, 502, 503, 504)
logger = logging.getLogger(__name__)


def download(
    url: str, target: Path, *, max_bytes: int, n_retries: int, delay: float, verbose: bool
) -> None:
    """Bring the file at `url` to `target`, which appears only when it is complete.

    What has arrived is kept in ``.NAME.part``, and the rest is asked for the next time, if the
    server says that its file is still the same one (``If-Range``); otherwise it starts afresh.

    Raises
    ------
    OSError
        If the server refuses, the file is larger than `max_bytes` or than the disk has room
        for, or it is not whole after `n_retries` further attempts.
    """
    part = target.with_name(f".{target.name}.part")
    for attempt in range(n_retries + 1):
        try:
            _attempt(url, part, max_bytes, verbose)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in WORTH_RETRYING or attempt == n_retries:
                raise OSError(
                    f"{url} could not be downloaded: the server answered {error.code} "
                    f"({error.reason})."
                ) from error
        except (http.client.HTTPException, urllib.error.URLError, ConnectionError, EOFError,
                TimeoutError) as error:  # fmt: skip
            if attempt == n_retries:
                size = part.stat().st_size if part.exists() else 0
                raise OSError(
                    f"{url} could not be downloaded in {n_retries + 1} attempts, the last of "
                    f"which ended with: {error!r}. The {size} bytes that arrived are kept in "
                    f"{part}; call again to go on from there."
                ) from error
        logger.info("%s was interrupted, next attempt in %s s", url, delay)
        time.sleep(delay)
    os.replace(part, target)
    _note_path(part).unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but none from an encrypted to an open connection."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.HTTPError(
                newurl, code, "refused: a redirect to a connection without encryption", headers, fp
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _attempt(url: str, part: Path, max_bytes: int, verbose: bool) -> None:
    """Ask once, for what is missing or for all, and write what comes."""
    start, validator = _what_is_there(url, part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "pointinteract"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    request = urllib.request.Request(url, headers=headers)
    opener = urllib.request.build_opener(_NoDowngrade)
    try:
        response = opener.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        # Nothing lies behind what is there: it was complete, unless the file has changed.
        error.close()
        if _total(error.headers) == start:
            return
        part.unlink(missing_ok=True)
        raise EOFError("the part that had arrived did not fit the file") from error
    with response:
        total = _total(response.headers)
        if response.status == 206:
            if _first(response.headers) != start:
                part.unlink(missing_ok=True)
                raise EOFError("the server sent another range than the one asked for")
        else:
            start = 0
            # Before the note, or bytes of an old version would pass for bytes of the new one.
            part.unlink(missing_ok=True)
        _write_note(url, part, response.headers)
        _check_room(url, part, total, start, max_bytes)
        name = url.rsplit("/", 1)[-1]
        with (
            part.open("r+b" if start else "wb") as file,
            progress_bar(name, total, verbose=verbose, in_bytes=True) as told,
        ):
            file.seek(start)
            told(start)
            while piece := response.read(CHUNK):
                if file.tell() + len(piece) > max_bytes:
                    file.truncate(0)  # nothing that would be worth going on from
                    raise OSError(f"{url} is larger than the {max_bytes} bytes that are allowed.")
                file.write(piece)
                told(len(piece))
            # A disk that is full may say so only now.
            file.flush()
            os.fsync(file.fileno())
            arrived = file.tell()
    if total is not None and arrived < total:
        raise EOFError(f"the connection ended after {arrived} of {total} bytes")


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _write_note(url: str, part: Path, headers: Any) -> None:
    """Remember which version of the file the part belongs to."""
    # A weak tag does not promise the same bytes, which resuming needs.
    tag = headers.get("ETag", "")
    validator = headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
    with atomic_write(_note_path(part)) as temporary:
        temporary.write_text(json.dumps({"url": url, "validator": validator}))


def _what_is_there(url: str, part: Path) -> tuple[int, str]:
    """Size of the part to go on from, or 0, and the version of the file it belongs to."""
    try:
        note = json.loads(_note_path(part).read_text())
        if note["url"] == url and note["validator"]:
            return part.stat().st_size, str(note["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _total(headers: Any) -> int | None:
    """Size of the whole file, if the server tells."""
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", headers.get("Content-Range", "").strip())
    text = found[1] if found else headers.get("Content-Length", "").strip()
    return int(text) if text.isdigit() else None


def _first(headers: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range", "").strip())
    return int(found[1]) if found else None


def _check_room(url: str, part: Path, total: int | None, start: int, max_bytes: int) -> None:
    if total is not None and total > max_bytes:
        raise OSError(f"{url} is announced with {total} bytes, and {max_bytes} are allowed.")
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise OSError(
            f"{part.parent} has room for {free} bytes and {total - start} are to come. Free some, "
            "or name another data_home."
        )
