"""Downloads end whole or not at all, whatever the server and the archive do."""

import dataclasses
import errno
import hashlib
import io
import shutil
import stat
import threading
import zipfile

import pytest

from pointinteract.datasets import _download, _remote, _unpack
from pointinteract.datasets._remote import Record, find_data_home, find_or_fetch
from pointinteract.exceptions import FileFormatError
from tests.datasets._server import serve

FILES = {"set/list.txt": b"a\nb\n", "set/sub/a.bin": bytes(range(256)) * 40}


def pack(files, kind=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ARCHIVE = pack(FILES)


@pytest.fixture
def site():
    with serve() as site:
        site.files["/set.zip"] = ARCHIVE
        yield site


@pytest.fixture
def record(site):
    return Record(
        name="Set", folder="sets", content="set", url=f"{site.url}/set.zip", checksum=None,
        licence="free", citation="nobody", max_bytes=100_000, max_files=20,
    )  # fmt: skip


def fetch(record, home, **options):
    options = {"download_if_missing": True, "n_retries": 0, "delay": 0.0} | options
    return find_or_fetch(
        record, home, complete=lambda folder: (folder / "list.txt").is_file(), verbose=False,
        **options,
    )  # fmt: skip


def left(home):
    """Names of all files in the home but the lock."""
    return sorted(p.name for p in home.rglob("*") if p.is_file() and p.name != ".lock")


def test_what_was_downloaded_is_unpacked_and_found_again(record, site, tmp_path):
    folder = fetch(record, tmp_path)

    assert (folder / "sub" / "a.bin").read_bytes() == FILES["set/sub/a.bin"]
    assert left(tmp_path) == ["a.bin", "list.txt", "set.zip.sha256"]
    assert fetch(record, tmp_path, download_if_missing=False) == folder
    assert len(site.asked) == 1


def test_without_permission_nothing_is_asked(record, site, tmp_path):
    with pytest.raises(OSError, match=rf"Looked for the folder {tmp_path}/sets/set and the arch"):
        fetch(record, tmp_path, download_if_missing=False)
    assert site.asked == [] and not (tmp_path / "sets").exists()


def test_a_cut_connection_is_resumed_by_the_next_attempt(record, site, tmp_path):
    site.cut_after = [4000, 3000]

    fetch(record, tmp_path, n_retries=2)

    assert [asked for _, asked in site.asked] == [None, "bytes=4000-", "bytes=7000-"]


def test_a_cut_connection_is_resumed_by_the_next_call(record, site, tmp_path):
    site.cut_after = [4000]
    with pytest.raises(OSError, match="4000 bytes that arrived are kept"):
        fetch(record, tmp_path)
    assert left(tmp_path) == [".set.zip.part", ".set.zip.part.json"]

    folder = fetch(record, tmp_path)

    assert site.asked[-1] == ("/set.zip", "bytes=4000-")
    assert (folder / "sub" / "a.bin").read_bytes() == FILES["set/sub/a.bin"]


@pytest.mark.parametrize("change", ["no ranges", "new version", "no tag", "weak tag"])
def test_what_cannot_be_resumed_starts_afresh(record, site, tmp_path, change):
    site.cut_after = [4000]
    if change == "no tag":
        site.etag = ""
    if change == "weak tag":
        site.etag = 'W/"v1"'
    with pytest.raises(OSError):
        fetch(record, tmp_path)
    site.ranges = change != "no ranges"
    if change == "new version":
        site.etag, site.files["/set.zip"] = '"v2"', pack({**FILES, "set/list.txt": b"new"})

    folder = fetch(record, tmp_path)

    assert (folder / "list.txt").read_bytes() == (b"new" if change == "new version" else b"a\nb\n")
    wanted = "bytes=4000-" if change in ("no ranges", "new version") else None
    assert [asked for _, asked in site.asked] == [None, wanted]


def test_another_part_than_the_one_asked_for_is_not_joined(record, site, tmp_path):
    site.cut_after, site.shift = [4000], [5]

    folder = fetch(record, tmp_path, n_retries=2)

    assert (folder / "sub" / "a.bin").read_bytes() == FILES["set/sub/a.bin"]
    assert [asked for _, asked in site.asked] == [None, "bytes=4000-", None]


def test_a_part_that_was_whole_already_is_taken(record, site, tmp_path):
    site.cut_after = [4000]
    with pytest.raises(OSError):
        fetch(record, tmp_path)
    (tmp_path / "sets" / ".set.zip.part").write_bytes(ARCHIVE)

    assert (fetch(record, tmp_path) / "list.txt").is_file()


def test_a_part_that_is_too_long_is_thrown_away(record, site, tmp_path):
    site.cut_after = [4000]
    with pytest.raises(OSError):
        fetch(record, tmp_path)
    (tmp_path / "sets" / ".set.zip.part").write_bytes(ARCHIVE + b"more")

    fetch(record, tmp_path, n_retries=1)

    remembered = (tmp_path / "sets" / "set.zip.sha256").read_text()
    assert remembered.split() == [hashlib.sha256(ARCHIVE).hexdigest(), "set.zip"]


def test_a_server_that_does_not_tell_the_size_cannot_pass_a_half(record, site, tmp_path):
    site.announce, site.cut_after = False, [4000]

    with pytest.raises(FileFormatError, match="no whole zip archive.* It was removed"):
        fetch(record, tmp_path)
    assert left(tmp_path) == []
    assert (fetch(record, tmp_path) / "list.txt").is_file()


def test_a_missing_file_is_said_at_once_and_a_busy_server_asked_again(record, site, tmp_path):
    site.refuse = [503, 429]
    fetch(record, tmp_path / "a", n_retries=2)
    assert len(site.asked) == 3

    gone = dataclasses.replace(record, url=f"{site.url}/gone.zip")
    with pytest.raises(OSError, match="answered 404.*put the archive, or the folder set"):
        fetch(gone, tmp_path / "b", n_retries=5)
    assert len(site.asked) == 4


def test_an_unreachable_server_is_an_os_error(record, tmp_path):
    nobody = dataclasses.replace(record, url="http://127.0.0.1:9/set.zip")

    with pytest.raises(OSError, match="could not be downloaded in 2 attempts"):
        fetch(nobody, tmp_path, n_retries=1)


def test_a_wrong_checksum_removes_the_file(record, site, tmp_path):
    right = hashlib.sha256(ARCHIVE).hexdigest()
    known = dataclasses.replace(record, checksum="0" * 64)

    with pytest.raises(OSError, match=f"checksum {right}, which is not 0{{64}}.*It was removed"):
        fetch(known, tmp_path)
    assert left(tmp_path) == []
    fetch(dataclasses.replace(record, checksum=right), tmp_path)
    assert left(tmp_path) == ["a.bin", "list.txt"]


def test_the_first_checksum_is_remembered_where_none_is_published(record, site, tmp_path):
    shutil.rmtree(fetch(record, tmp_path))
    site.files["/set.zip"] = pack({**FILES, "set/list.txt": b"tampered"})

    with pytest.raises(OSError, match="first complete archive, which .*set.zip.sha256"):
        fetch(record, tmp_path)
    site.files["/set.zip"] = ARCHIVE
    assert fetch(record, tmp_path).is_dir()


def test_an_archive_of_the_user_is_unpacked_and_kept(record, site, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "set.zip").write_bytes(ARCHIVE)

    folder = fetch(record, tmp_path, download_if_missing=False)

    assert (folder / "list.txt").is_file() and (tmp_path / "sets" / "set.zip").is_file()
    assert site.asked == []


def test_a_folder_of_the_user_is_used_as_it_is(record, site, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "list.txt").write_text("here")

    assert fetch(record, tmp_path) == tmp_path / "sets" and site.asked == []


def test_a_full_disk_leaves_nothing_that_looks_whole(record, site, tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, mode="r", *rest, **options):
        if path.name.endswith(".part") and "b" in mode:
            return Full(path, mode)
        return plain(path, mode, *rest, **options)

    plain = type(tmp_path).open
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "open", opened)
        with pytest.raises(OSError, match="No space left"):
            fetch(record, tmp_path)
    assert not (tmp_path / "sets" / "set.zip").exists()
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="has room for 100 bytes"):
        fetch(record, tmp_path)
    monkeypatch.undo()
    assert fetch(record, tmp_path).is_dir()


@pytest.mark.parametrize("announce", [True, False])
def test_a_file_larger_than_allowed_is_not_stored(record, site, tmp_path, announce):
    site.announce = announce

    with pytest.raises(OSError, match="allowed"):
        fetch(dataclasses.replace(record, max_bytes=5000), tmp_path)
    assert all(path.stat().st_size < 200 for path in (tmp_path / "sets").iterdir())


def test_a_redirect_to_an_open_connection_is_refused():
    handler = _download._NoDowngrade()
    request = _download.urllib.request.Request("https://a.example/set.zip")

    with pytest.raises(_download.urllib.error.HTTPError, match="without encryption"):
        handler.redirect_request(request, None, 302, "", {}, "http://a.example/set.zip")


def test_a_redirect_is_followed(record, site, tmp_path):
    site.redirect["/set.zip"], site.files["/moved.zip"] = f"{site.url}/moved.zip", ARCHIVE

    assert fetch(record, tmp_path).is_dir()


def test_two_at_a_time_download_once(record, site, tmp_path):
    threads = [threading.Thread(target=fetch, args=(record, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(site.asked) == 1


def test_without_locks_the_slower_of_two_takes_what_the_faster_unpacked(
    record, site, tmp_path, monkeypatch
):
    def beaten(archive, target, **limits):
        plain(archive, target, **limits)
        plain(archive, target, **limits)

    plain = _remote.unpack
    monkeypatch.setattr(_remote, "unpack", beaten)

    assert (fetch(record, tmp_path) / "list.txt").is_file()
    assert left(tmp_path) == ["a.bin", "list.txt", "set.zip.sha256"]


def test_the_data_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("POINTINTERACT_DATA", str(tmp_path / "env"))
    assert find_data_home(None) == tmp_path / "env"
    assert find_data_home(tmp_path) == tmp_path
    monkeypatch.delenv("POINTINTERACT_DATA")
    assert find_data_home(None).name == "pointinteract_data"


def linked():
    info = zipfile.ZipInfo("set/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def lying():
    """A member that unpacks to more than the table of contents says."""
    data = pack({"set/big": b"0" * 50_000}, zipfile.ZIP_DEFLATED)
    return data.replace((50_000).to_bytes(4, "little"), (50).to_bytes(4, "little"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (lambda: pack({"../evil": b"x"}), "leads elsewhere"),
        (lambda: pack({"set/../../evil": b"x"}), "leads elsewhere"),
        (lambda: pack({"/tmp/evil": b"x"}), "leads elsewhere"),
        (lambda: pack({"..\\evil": b"x"}), "leads elsewhere"),
        (lambda: pack({"C:\\evil": b"x"}), "leads elsewhere"),
        (linked, "link or device"),
        (lambda: pack({"set/a": b"x", "set/./a": b"y"}), "twice"),
        (lambda: pack({"set/a": b"x", "set/a/b": b"y"}), "twice"),
        (lambda: pack({f"set/{i}": b"" for i in range(30)}), "30 files"),
        (lambda: pack({"set/a": b"0" * 200_000}, zipfile.ZIP_DEFLATED), "200000 bytes"),
        (lying, "no whole zip|longer than"),
        (lambda: ARCHIVE[:5000], "no whole zip"),
        (lambda: ARCHIVE[:2000] + b"?" + ARCHIVE[2001:], "no whole zip"),
        (lambda: b"<html>not found</html>", "no whole zip"),
        # A member would begin before the file.
        (lambda: ARCHIVE[:-6] + b"\xff\xff\xff\x7f" + ARCHIVE[-2:], "no whole zip"),
        (lambda: pack(FILES, zipfile.ZIP_LZMA), "packed by method 14"),
        (lambda: pack(FILES, zipfile.ZIP_BZIP2), "packed by method 12"),
    ],
)
def test_a_bad_archive_leaves_nothing(record, site, tmp_path, content, word):
    site.files["/set.zip"] = content()

    with pytest.raises(FileFormatError, match=word):
        fetch(record, tmp_path)

    assert left(tmp_path) == [] and not (tmp_path / "evil").exists()
    assert [p.name for p in (tmp_path / "sets").iterdir()] == [".lock"]


def test_an_archive_of_something_else_is_named(record, site, tmp_path):
    site.files["/set.zip"] = pack({"other/readme": b"hello"})

    with pytest.raises(FileFormatError, match="does not hold the files of Set"):
        fetch(record, tmp_path)
    assert left(tmp_path) == []


def test_a_bomb_is_refused_by_its_ratio(tmp_path):
    path = tmp_path / "bomb.zip"
    data = pack({"a": b"0" * 50_000}, zipfile.ZIP_DEFLATED)
    claimed = (4_000_000).to_bytes(4, "little")
    path.write_bytes(data.replace((50_000).to_bytes(4, "little"), claimed))

    with pytest.raises(FileFormatError, match="claims 4000000 bytes"):
        _unpack.unpack(path, tmp_path / "out", max_bytes=10**9, max_files=10)


def test_an_interrupted_unpacking_is_not_taken_for_whole(record, site, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_unpack.os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            _unpack_here(record, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]


def _unpack_here(record, folder):
    (folder / "set.zip").write_bytes(ARCHIVE)
    _unpack.unpack(folder / "set.zip", folder / "set", max_bytes=10**6, max_files=10)


def test_progress_is_shown_on_the_error_stream_or_not_at_all(record, site, tmp_path, capfd):
    fetch(record, tmp_path / "quiet")
    assert capfd.readouterr() == ("", "")

    find_or_fetch(
        record, tmp_path / "loud", complete=lambda folder: (folder / "list.txt").is_file(),
        download_if_missing=True, n_retries=0, delay=0, verbose=True,
    )  # fmt: skip
    assert capfd.readouterr().out == ""
