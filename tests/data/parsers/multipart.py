"""Reads hexadecimal multipart bodies with the boundary B, one a line, and prints 1 for each in which Python's parser of
messages, or Django's of forms if it is there, finds the pair."""
import sys
from email import message_from_bytes
from io import BytesIO

key, value = sys.argv[1:3]
TYPE = "multipart/form-data; boundary=B"


def by_email(body):
    message = message_from_bytes(b"Content-Type: " + TYPE.encode() + b"\r\n\r\n" + body)
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        name = name[2] if isinstance(name, tuple) else name
        payload = part.get_payload(decode=True)
        if name is not None and payload is not None:
            yield name, payload.decode("latin-1")


readers = [by_email]
try:
    from django.conf import settings
    from django.core.files.uploadhandler import MemoryFileUploadHandler
    from django.http.multipartparser import MultiPartParser

    settings.configure()

    def by_django(body):
        meta = {"CONTENT_TYPE": TYPE, "CONTENT_LENGTH": len(body)}
        fields, _ = MultiPartParser(meta, BytesIO(body), [MemoryFileUploadHandler()]).parse()
        return [(name, found) for name, all_found in fields.lists() for found in all_found]

    readers.append(by_django)
except ImportError:
    pass


def finds(read, body):
    try:
        return any(name == key and found.strip().lower() == value for name, found in read(body))
    except Exception:  # A parser that fails finds nothing, whatever it raises.
        return False


for line in sys.stdin:
    print(int(any(finds(read, bytes.fromhex(line.strip())) for read in readers)))
