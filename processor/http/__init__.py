"""What ``workflow.call_http`` needs in a worker: ``processor[http]``, and maybe ``calls``."""

from __future__ import annotations

from processor.http.bodies import BODY_BYTES_MAX
from processor.http.calling import calls
from processor.workflow._nouns.http import HttpRequest, HttpResponse

__all__ = ("BODY_BYTES_MAX", "HttpRequest", "HttpResponse", "calls")
