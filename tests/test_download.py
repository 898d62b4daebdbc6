"""A download goes on where it was interrupted, is checked, and leaves the whole file or none."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from vidlib.download import download

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT, in parts where asked; what a test sets changes how."""

    parts, cut_after, asked = True, None, []

    def do_GET(self):
        first = 0
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        if wanted and self.parts:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        self.wfile.write(CONTENT[first : self.cut_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    Server.parts, Server.cut_after, Server.asked = True, None, []
    running = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/file.npy"
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_whole_file_arrives_and_nothing_else(server, tmp_path):
    assert download(server, tmp_path / "new" / "file.npy", MD5, progress=False).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.npy"]


def test_an_interrupted_download_goes_on_where_it_ended(server, tmp_path):
    Server.cut_after = 1_234_567
    with pytest.raises(RuntimeError, match="1,234,567 of 3,000,000|1234567 bytes read"):
        download(server, tmp_path / "file.npy", MD5, progress=False)
    assert not (tmp_path / "file.npy").exists()
    have = (tmp_path / "file.npy.part").stat().st_size
    assert 1_000_000 <= have <= 1_234_567
    Server.cut_after = None
    assert download(server, tmp_path / "file.npy", MD5, progress=False).read_bytes() == CONTENT
    assert Server.asked == [None, f"bytes={have}-"] and not (tmp_path / "file.npy.part").exists()


def test_a_server_without_parts_begins_anew(server, tmp_path):
    Server.parts = False
    (tmp_path / "file.npy.part").write_bytes(b"old" * 1000)
    assert download(server, tmp_path / "file.npy", MD5, progress=False).read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(server, tmp_path):
    (tmp_path / "file.npy.part").write_bytes(CONTENT)
    assert download(server, tmp_path / "file.npy", MD5, progress=False).read_bytes() == CONTENT


def test_another_file_is_refused_and_not_kept(server, tmp_path):
    with pytest.raises(RuntimeError, match="what came is not that file"):
        download(server, tmp_path / "file.npy", "0" * 32, progress=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file.npy.part").write_bytes(b"of another file")
    with pytest.raises(RuntimeError, match="what came is not that file"):
        download(server, tmp_path / "file.npy", MD5, progress=False)
    assert download(server, tmp_path / "file.npy", MD5, progress=False).read_bytes() == CONTENT


def test_progress_is_drawn(server, tmp_path, capsys):
    download(server, tmp_path / "file.npy", MD5)
    assert "file.npy: 100%" in capsys.readouterr().err


def test_no_server_is_one_sentence(tmp_path):
    with pytest.raises(RuntimeError, match="refused|unreachable|not known"):
        download("http://127.0.0.1:9/file.npy", tmp_path / "file.npy", MD5, progress=False)
