"""Answers of ONVIF devices: to a probe, to a request, and over a socket of this machine."""

from __future__ import annotations

import asyncio
import contextlib
from functools import cache

from tests.fuzz import spoil
from tests.fuzz.door import MB, Door, wait
from tidegate.onvif import media, probe
from tidegate.onvif.device import read
from tidegate.onvif.soap import body
from tidegate.onvif.values import Address, Login, OnvifError, Profile

_ID = "0a8dc0d1-0000-4000-8000-000000000001"
_MATCH = f"""<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Header><w:RelatesTo>urn:uuid:{_ID}</w:RelatesTo>
</e:Header><e:Body><d:ProbeMatches><d:ProbeMatch><w:EndpointReference><w:Address>urn:uuid:1</w:Address></w:EndpointReference>
<d:Scopes>onvif://www.onvif.org/name/Front%20Door onvif://www.onvif.org/hardware/M-1</d:Scopes>
<d:XAddrs>http://10.0.0.7:8000/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>""".encode()
# The answers to all requests in one, as each reads its own.
_ALL = f"""<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body>
<GetSystemDateAndTimeResponse><SystemDateAndTime><UTCDateTime><Time><Hour>10</Hour><Minute>0</Minute><Second>0</Second></Time>
<Date><Year>2026</Year><Month>12</Month><Day>2</Day></Date></UTCDateTime></SystemDateAndTime></GetSystemDateAndTimeResponse>
<GetDeviceInformationResponse><Manufacturer>ACME</Manufacturer><Model>M-1</Model></GetDeviceInformationResponse>
<GetServicesResponse><Service><Namespace>{media.MEDIA}</Namespace><XAddr>http://10.0.0.7/onvif/media</XAddr></Service>
</GetServicesResponse><GetCapabilitiesResponse><Capabilities><Media><XAddr>http://10.0.0.7/x</XAddr></Media></Capabilities>
</GetCapabilitiesResponse><GetProfilesResponse><Profiles token="1"><Name>main</Name><VideoSourceConfiguration>
<SourceToken>a</SourceToken></VideoSourceConfiguration><VideoEncoderConfiguration><Encoding>H264</Encoding><Resolution>
<Width>1280</Width><Height>720</Height></Resolution><RateControl><FrameRateLimit>25</FrameRateLimit></RateControl>
</VideoEncoderConfiguration></Profiles></GetProfilesResponse><GetStreamUriResponse><MediaUri><Uri>rtsp://10.0.0.7/main</Uri>
</MediaUri></GetStreamUriResponse></s:Body></s:Envelope>""".encode()
_FAULT = b"""<s:Envelope><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode>
<s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code><s:Reason><s:Text>no</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>"""
_answer = b""


def _found(data: bytes) -> None:
    for found in probe.answers(data, frozenset({_ID}), "10.0.0.7"):
        assert found.address is None or found.address.host == "10.0.0.7"


def _read(data: bytes) -> None:
    media.clock(body(data, 200, "GetSystemDateAndTime"))
    media.services(body(data, 200, "GetServices"))
    media.profiles(body(data, 200, "GetProfiles"))
    media.with_url(Profile("1", ""), body(data, 200, "GetStreamUri"))


@cache
def _port() -> int:
    """The port of a server that answers each request with the current input."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(_answer)
            await writer.drain()
        writer.close()

    server = wait(asyncio.start_server(answer, "127.0.0.1", 0))
    return int(server.sockets[0].getsockname()[1])


def _called(data: bytes) -> None:
    global _answer
    _answer = data
    wait(read(Address.parse(f"127.0.0.1:{_port()}"), Login("viewer", "hunter2"), verify=False, within_s=5.0))


def _http(status: str, content: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers, "", ""])
    return head.encode() + content


def _answers() -> list[bytes]:
    ask = 'WWW-Authenticate: Digest realm="a", qop="auth", nonce="b", algorithm=SHA-256, opaque="c"'
    return [
        _http("200 OK", _ALL),
        _http("401 Unauthorized", b"", ask),
        _http("500 Fault", _FAULT),
        _http("302 Found", b"", "Location: http://10.0.0.8/"),
    ]


DOORS = (
    Door("onvif.probe", lambda: [_MATCH], _found, (OnvifError,), most_bytes=64 * MB),
    Door("onvif.answer", lambda: [_ALL, _FAULT], _read, (OnvifError,), most_bytes=64 * MB),
    Door("onvif.device", _answers, _called, (OnvifError,), spoil.lines, share=0.05),
)
