"""Where data sets live on this machine, and how those that are public get there."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pointinteract.datasets._download import download, sha256_of
from pointinteract.datasets._unpack import unpack
from pointinteract.exceptions import FileFormatError
from pointinteract.utils._archive import atomic_write
from pointinteract.utils._params import check_int, check_real

HOME_VARIABLE = "POINTINTERACT_DATA"
DEFAULT_HOME = "~/pointinteract_data"


@dataclass(frozen=True)
class Record:
    """What is known of a public data set.

    Parameters
    ----------
    name : str
    folder : str
        Its folder in the data home.
    content : str
        The folder inside that one which the archive unpacks to.
    url : str
        Of the archive, or, if `gated`, of the page with the form.
    checksum : str or None
        SHA-256 of the archive, or None where its authors publish none.
    licence, citation : str
        For ``DESCR``.
    max_bytes, max_files : int
        The most that the archive may unpack to.
    gated : bool
        Whether a form must be signed, so that nothing is downloaded here.
    """

    name: str
    folder: str
    content: str
    url: str
    checksum: str | None
    licence: str
    citation: str
    max_bytes: int = 0
    max_files: int = 0
    gated: bool = False

    def describe(self, what: str) -> str:
        """The text of ``DESCR``."""
        return (
            f"{self.name}\n\n{what}\n\nSource: {self.url}\n\nLicence: {self.licence}\n\n"
            f"Citation: {self.citation}\n"
        )


def find_data_home(data_home: str | os.PathLike[str] | None) -> Path:
    """The folder that is asked for, that of the environment, or the default; not made here."""
    if data_home is None:
        data_home = os.environ.get(HOME_VARIABLE) or DEFAULT_HOME
    return Path(data_home).expanduser().absolute()


def find_or_fetch(
    record: Record,
    data_home: str | os.PathLike[str] | None,
    *,
    complete: Callable[[Path], bool],
    download_if_missing: bool,
    n_retries: int,
    delay: float,
    verbose: bool,
) -> Path:
    """Return the folder with the unpacked data set, after a download if need be.

    An archive that the user has put there is unpacked and kept; one that was downloaded is
    removed once it is unpacked.

    Parameters
    ----------
    complete : callable
        Says whether a folder holds what is needed.

    Raises
    ------
    OSError
        If it is not there and may not be downloaded, or cannot be, or is not what it should be.
    """
    check_int("n_retries", n_retries, minimum=0)
    check_real("delay", delay)
    home = find_data_home(data_home) / record.folder
    target, archive = home / record.content, home / record.url.rsplit("/", 1)[-1]
    ready = _first_complete(home, target, complete)
    if ready is not None:
        return ready
    if not archive.is_file() and not download_if_missing:
        raise OSError(
            f"{record.name} was not found and download_if_missing is False. Looked for the folder "
            f"{target} and the archive {archive}. {advice(record, home)}"
        )
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / ".lock"):
        ready = _first_complete(home, target, complete)
        if ready is not None:
            return ready  # another process brought it in the meantime
        if target.exists():
            raise OSError(
                f"{target} lacks some of the files of {record.name}. Remove the folder to have it "
                "unpacked anew."
            )
        ours = not archive.is_file()
        if ours:
            try:
                download(
                    record.url,
                    archive,
                    max_bytes=record.max_bytes,
                    n_retries=n_retries,
                    delay=delay,
                    verbose=verbose,
                )
            except OSError as error:
                raise OSError(f"{error} {advice(record, home)}") from error
        _unpack_checked(record, archive, target, complete, ours)
        if ours:
            archive.unlink(missing_ok=True)
    return target


def advice(record: Record, home: Path) -> str:
    """How else to get the data there."""
    return (
        f"If you have it from elsewhere, put the archive, or the folder {record.content} that it "
        f"unpacks to, in {home}."
    )


def _first_complete(home: Path, target: Path, complete: Callable[[Path], bool]) -> Path | None:
    return next((folder for folder in (target, home) if complete(folder)), None)


def _unpack_checked(
    record: Record, archive: Path, target: Path, complete: Callable[[Path], bool], ours: bool
) -> None:
    """Unpack an archive of which the checksum is right, or as it was the first time."""
    note = archive.with_name(archive.name + ".sha256")
    expected = record.checksum
    source = "the one on record"
    if expected is None and note.is_file():
        expected = note.read_text().split()[0] if note.read_text().strip() else None
        source = (
            f"that of the first complete archive, which {note} remembers (remove that file, too, "
            "if you have reason to trust another)"
        )
    found = sha256_of(archive)
    if expected is not None and found != expected.lower():
        if ours:
            archive.unlink(missing_ok=True)
        end = "It was removed." if ours else "Remove it to have it downloaded anew."
        raise OSError(
            f"{archive} from {record.url} has the SHA-256 checksum {found}, which is not "
            f"{expected}, {source}. {end}"
        )
    try:
        try:
            unpack(archive, target, max_bytes=record.max_bytes, max_files=record.max_files)
        except OSError:
            # Where files cannot be locked, another process may have been faster.
            if not complete(target):
                raise
        if not complete(target):
            shutil.rmtree(target)
            raise FileFormatError(f"{archive} does not hold the files of {record.name}.")
    except FileFormatError as error:
        if ours:
            archive.unlink(missing_ok=True)
        end = "It was removed; call again." if ours else "Remove it to have it downloaded anew."
        raise FileFormatError(f"{error} {end}") from error
    if record.checksum is None:
        # Only now: every file in the archive has been compared with its own checksum.
        with atomic_write(note) as temporary:
            temporary.write_text(f"{found}  {archive.name}\n")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time download; where files cannot be locked, do without."""
    with path.open("a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield
