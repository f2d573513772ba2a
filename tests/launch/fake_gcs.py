"""A fake Google Cloud Storage server: the part of its JSON API that runs use, in memory.

  python tests/launch/fake_gcs.py              # prints its port, and serves until it is killed
  python tests/launch/fake_gcs.py --anonymous  # rejects every request as unauthenticated
"""

import base64
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import re
import sys
import threading
from urllib.parse import parse_qs, unquote, urlsplit

OBJECTS: dict[str, tuple[bytes, int]] = {}  # "BUCKET/NAME": (content, generation)
LOCK = threading.Lock()
UPLOADS: dict[str, str] = {}
CLOCK = iter(range(1, 10**9))


def describe(key: str) -> dict:
  content, generation = OBJECTS[key]
  bucket, name = key.split("/", 1)
  return {
      "kind": "storage#object", "id": f"{key}/{generation}", "name": name, "bucket": bucket,
      "generation": str(generation), "metageneration": "1", "size": str(len(content)),
      "contentType": "application/octet-stream", "storageClass": "STANDARD",
      "timeCreated": "2026-01-01T00:00:00.000Z", "updated": "2026-01-01T00:00:00.000Z",
      "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
  }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
  """One request."""

  protocol_version = "HTTP/1.1"

  def log_message(self, *args):
    pass

  def answer(self, code: int, content=b"", **headers):
    if not isinstance(content, bytes):
      content, headers = json.dumps(content).encode(), {"Content-Type": "application/json"}
    self.send_response(code)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
      self.send_header(name.replace("_", "-"), value)
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(content)

  def missing(self):
    self.answer(404, {"error": {"code": 404, "message": "Not Found", "errors": []}})

  def handle_any(self):
    length = int(self.headers.get("Content-Length") or 0)
    body = self.rfile.read(length)
    url = urlsplit(self.path)
    query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
    if "--anonymous" in sys.argv:
      message = "Anonymous caller does not have storage.objects.create access"
      return self.answer(401, {"error": {"code": 401, "message": message, "errors": []}})
    with LOCK:
      self.route(url.path, query, body)

  do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

  def route(self, path: str, query: dict, body: bytes):
    if found := re.fullmatch(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o", path):
      return self.upload(found[1], query, body)
    if found := re.fullmatch(r"/session/(.+)", path):
      return self.store(UPLOADS[found[1]], body, {})
    if found := re.fullmatch(r"(?:/download)?(?:/storage/v1)?/b/([^/]+)", path):
      return self.answer(200, {"kind": "storage#bucket", "name": found[1], "id": found[1]})
    if found := re.fullmatch(r"/storage/v1/b/([^/]+)/o/?", path):
      return self.list(found[1], query)
    pattern = r"/storage/v1/b/([^/]+)/o/(.+?)/(?:copyTo|rewriteTo)/b/([^/]+)/o/(.+)"
    if found := re.fullmatch(pattern, path):
      return self.copy(*map(unquote, found.groups()))
    if found := re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)", path):
      return self.one(f"{found[1]}/{unquote(found[2])}", query)
    self.missing()

  def upload(self, bucket: str, query: dict, body: bytes):
    kind = query.get("uploadType")
    if kind == "multipart":  # JSON first, then the content; gcsfs ends its lines with \n.
      boundary = re.search(r"boundary=[\"']?([^\"';]+)", self.headers["Content-Type"])[1]
      _, *parts, _ = body.split(f"--{boundary}".encode())
      about, content = (part.split(b"\n\n", 1)[1][:-1] for part in parts)
      return self.store(f"{bucket}/{json.loads(about)['name']}", content, query)
    if kind == "resumable":
      name = query.get("name") or json.loads(body)["name"]
      session = str(next(CLOCK))
      UPLOADS[session] = f"{bucket}/{name}"
      host = self.headers["Host"]
      return self.answer(200, b"", Location=f"http://{host}/session/{session}")
    return self.store(f"{bucket}/{query['name']}", body, query)

  def store(self, key: str, content: bytes, query: dict):
    wanted = query.get("ifGenerationMatch")
    if wanted is not None and int(wanted) != OBJECTS.get(key, (b"", 0))[1]:
      return self.answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
    OBJECTS[key] = content, next(CLOCK)
    self.answer(200, describe(key))

  def list(self, bucket: str, query: dict):
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    items, prefixes = [], set()
    for key in sorted(OBJECTS):
      if not key.startswith(f"{bucket}/{prefix}"):
        continue
      name = key.removeprefix(f"{bucket}/")
      rest = name[len(prefix) :]
      if delimiter and delimiter in rest:
        prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
      else:
        items.append(describe(key))
    self.answer(200, {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)})

  def copy(self, bucket: str, name: str, other: str, new: str):
    if f"{bucket}/{name}" not in OBJECTS:
      return self.missing()
    OBJECTS[f"{other}/{new}"] = OBJECTS[f"{bucket}/{name}"][0], next(CLOCK)
    self.answer(200, {"done": True, "resource": describe(f"{other}/{new}")})

  def one(self, key: str, query: dict):
    if key not in OBJECTS:
      return self.missing()
    if self.command == "DELETE":
      del OBJECTS[key]
      return self.answer(204)
    if query.get("alt") != "media":
      return self.answer(200, describe(key))
    content, generation = OBJECTS[key]
    headers = {"x_goog_generation": str(generation), "Content_Type": "application/octet-stream"}
    if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
      first = int(found[1])
      last = min(int(found[2] or len(content) - 1), len(content) - 1)
      if first >= len(content):
        return self.answer(416)
      headers["Content_Range"] = f"bytes {first}-{last}/{len(content)}"
      return self.answer(206, content[first : last + 1], **headers)
    self.answer(200, content, **headers)


class Server(ThreadingHTTPServer):
  """Ignores clients that disconnect."""

  def handle_error(self, request, client_address):
    pass


if __name__ == "__main__":
  server = Server(("127.0.0.1", 0), Handler)
  print(server.server_address[1], flush=True)
  server.serve_forever()
