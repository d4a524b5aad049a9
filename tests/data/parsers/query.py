"""Reads hexadecimal queries, one a line, and prints 1 for each in which Python, or Django if it is there, finds the pair."""
import sys
from urllib.parse import parse_qs

key, value = sys.argv[1:3]
parsers = [lambda text: parse_qs(text), lambda text: parse_qs(text, separator=";"), lambda text: parse_qs(text, errors="ignore")]
try:
    from django.conf import settings
    from django.http import QueryDict

    settings.configure()
    parsers.append(lambda text: dict(QueryDict(text.encode("latin-1")).lists()))
except ImportError:
    pass


def finds(parse, text):
    try:
        return any(found.strip().lower() == value for found in parse(text).get(key, []))
    except ValueError:
        return False


for line in sys.stdin:
    text = bytes.fromhex(line.strip()).decode("latin-1")
    print(int(any(finds(parse, text) for parse in parsers)))
