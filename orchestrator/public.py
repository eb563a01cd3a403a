"""What may stand in files and on screens."""

from __future__ import annotations

import re

_SECRET = re.compile(r"(?i)(password|passwd|pwd|token|secret)=[^&;\s]*")


def public(text: str) -> str:
    """A text, perhaps with URIs in it, without their passwords."""
    return _SECRET.sub(r"\1=***", re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", text))
