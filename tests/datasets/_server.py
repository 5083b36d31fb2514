"""A small HTTP server on this machine that knows ranges, and can be told to misbehave."""

import http.server
import re
import threading
from contextlib import contextmanager


class Site:
    """What the server has, how it behaves, and what it was asked."""

    def __init__(self):
        self.files = {}
        self.ranges = True  # whether parts of a file are served
        self.etag = '"v1"'
        self.cut_after = []  # per request: end the connection after so many bytes
        self.refuse = []  # per request: answer this status
        self.announce = True  # whether the size is told
        self.shift = []  # per part: serve it from so many bytes further on
        self.redirect = {}
        self.asked = []  # (path, range or None)
        self.url = ""


@contextmanager
def serve():
    """Run the server in a thread; yields its Site."""
    site = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            site.asked.append((self.path, self.headers.get("Range")))
            if self.path in site.redirect:
                self.send_response(302)
                self.send_header("Location", site.redirect[self.path])
                self.send_header("Content-Length", "0")
                return self.end_headers()
            status = site.refuse.pop(0) if site.refuse else None
            content = site.files.get(self.path)
            if status or content is None:
                return self.send_error(status or 404)
            start = 0
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, site.etag)
            if asked and same and site.ranges:
                start = int(asked[1])
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                start += site.shift.pop(0) if site.shift else 0
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            if site.announce:
                self.send_header("Content-Length", str(len(content) - start))
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            cut = site.cut_after.pop(0) if site.cut_after else None
            self.wfile.write(content[start:] if cut is None else content[start : start + cut])

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
