"""Unpack a zip archive that is not trusted: whole or not at all, and nowhere else."""

import errno
import os
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pointinteract.exceptions import FileFormatError

CHUNK = 1 << 20
DAY = 86_400.0
# Text compresses well, but deflate cannot do better than about a thousandth.
MAX_RATIO = 1100
# Published archives have no other, and others reserve memory as their headers ask.
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError,
          ValueError)  # fmt: skip


def unpack(archive: Path, target: Path, *, max_bytes: int, max_files: int) -> None:
    """Unpack `archive` and make its content the folder `target`, in one step.

    If the archive holds one folder with everything, or one of that name, it becomes `target`.

    Parameters
    ----------
    archive : Path
    target : Path
        Must not exist; its parent must. Leftovers of interrupted attempts there are removed.
    max_bytes, max_files : int
        The most that may come out.

    Raises
    ------
    FileFormatError
        If the archive is damaged, leads out of the folder, holds links, is packed in an unusual
        way, or holds more than allowed. Nothing is left of it then.
    """
    _remove_leftovers(target)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new"))
    try:
        try:
            with zipfile.ZipFile(archive) as packed:
                members = _checked(archive, packed, max_bytes, max_files)
                for info, words in members:
                    _write_one(archive, packed, info, temporary.joinpath(*words))
        except FileFormatError:
            raise
        except (*BROKEN, OSError) as error:
            # A damaged table of contents sends the reader to places before the file; all other
            # errors of the system are no fault of the archive.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise FileFormatError(
                f"{archive} is no whole zip archive; it may have been cut short ({error})."
            ) from error
        found = [path for path in temporary.iterdir() if path.name != "__MACOSX"]
        inner = found[0] if len(found) == 1 and found[0].is_dir() else temporary
        if (temporary / target.name).is_dir():
            inner = temporary / target.name
        # mkdtemp makes folders that others on the machine cannot read.
        umask = os.umask(0)
        os.umask(umask)
        inner.chmod(0o777 & ~umask)
        os.replace(inner, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _checked(
    archive: Path, packed: zipfile.ZipFile, max_bytes: int, max_files: int
) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
    """Look at the whole table of contents before anything is written."""
    infos = packed.infolist()
    size = sum(info.file_size for info in infos)
    if len(infos) > max_files or size > max_bytes:
        raise FileFormatError(
            f"{archive} holds {len(infos)} files of {size} bytes. Expected at most {max_files} "
            f"files of {max_bytes} bytes."
        )
    free = shutil.disk_usage(archive.parent).free
    if size > free:
        raise OSError(f"{archive} unpacks to {size} bytes and {free} are free beside it.")
    members = []
    for info in infos:
        words = PurePosixPath(info.filename.replace("\\", "/")).parts
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise FileFormatError(f"{archive} holds the link or device {info.filename!r}.")
        if (
            not words
            or words[0].startswith("/")
            or ".." in words
            or any(":" in word or "\0" in word for word in words)
        ):
            raise FileFormatError(f"{archive} holds {info.filename!r}, which leads elsewhere.")
        if info.compress_type not in KINDS:
            raise FileFormatError(
                f"{archive}: {info.filename!r} is packed by method {info.compress_type}. Expected "
                "0 (stored) or 8 (deflated)."
            )
        if info.file_size > MAX_RATIO * info.compress_size + CHUNK:
            raise FileFormatError(
                f"{archive}: {info.filename!r} claims {info.file_size} bytes from "
                f"{info.compress_size}."
            )
        members.append((info, words))
    return members


def _write_one(archive: Path, packed: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    if info.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Exclusive, so that one name twice is an error.
        with packed.open(info) as member, path.open("xb") as file:
            while piece := member.read(CHUNK):
                written += len(piece)
                if written > info.file_size:
                    raise FileFormatError(f"{archive}: {info.filename!r} is longer than it says.")
                file.write(piece)
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise FileFormatError(f"{archive} holds {info.filename!r} twice.") from error


def _remove_leftovers(target: Path) -> None:
    """Remove what a killed process left, if nobody can still be writing to it."""
    for old in target.parent.glob(f".{target.name}.*.new"):
        if time.time() - old.stat().st_mtime > DAY:
            shutil.rmtree(old, ignore_errors=True)
