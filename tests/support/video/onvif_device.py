"""An ONVIF device on loopback: WS-Discovery by multicast, and SOAP with digests, or whatever a test wants instead.

    with OnvifDevice([Stream("main", "H264", 1280, 720, url)], login=("viewer", "secret")) as device:
        device.address, device.asker

Each device has an IP of its own in 127.0.0.0/8, and answers only questions from its `asker`: tests that run at the same
time do not see each other's devices.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import random
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from xml.sax.saxutils import escape

from tidegate.onvif.probe import GROUP, PORT

MEDIA = "http://www.onvif.org/ver10/media/wsdl"
MEDIA2 = "http://www.onvif.org/ver20/media/wsdl"
_OPEN = ("GetSystemDateAndTime", "GetServices", "GetCapabilities")
# Seconds that a device's clock and a digest may differ by.
_SKEW_S = 60


class Stream(NamedTuple):
    token: str
    codec: str
    width: int
    height: int
    url: str
    name: str = ""
    source: str = "video"
    fps: float = 25


class Request(NamedTuple):
    operation: str
    body: str
    headers: Mapping[str, str]


# A whole HTTP answer, or None for one that it has sent itself.
Answer = Callable[[BaseHTTPRequestHandler], bytes | None]


def network() -> str:
    """The first three numbers of a network in 127.0.0.0/8."""
    return f"127.{random.randrange(1, 255)}.{random.randrange(255)}"


class OnvifDevice:
    """login: user and password that it wants; None: it shows everything. media: namespaces of its media services.

    answers: by operation, in place of the usual answers. ahead: of its clock. digest: it wants HTTP's digest instead.
    scopes, xaddrs: of its answer to a probe. datagram: makes its answer to a probe of the usual one. tls: with a
    certificate. heard: requests.
    """

    def __init__(
        self,
        streams: Sequence[Stream] = (),
        *,
        login: tuple[str, str] | None = None,
        media: Sequence[str] = (MEDIA, MEDIA2),
        answers: Mapping[str, Answer] | None = None,
        ahead: dt.timedelta = dt.timedelta(),
        digest: bool = False,
        scopes: str = "onvif://www.onvif.org/name/Front%20Door onvif://www.onvif.org/hardware/Model-1",
        xaddrs: str | None = None,
        datagram: Callable[[bytes], bytes] = lambda usual: usual,
        ip: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.ip = ip or f"{network()}.2"
        self.asker = self.ip.rpartition(".")[0] + ".1"
        self.heard: list[Request] = []
        self.streams, self.login, self.media, self.answers = streams, login, media, answers or {}
        self.ahead, self.digest, self.scopes, self.datagram = ahead, digest, scopes, datagram
        self.nonces: set[str] = set()
        self._server = ThreadingHTTPServer((self.ip, 0), _handler(self))
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.address = f"{self.ip}:{self._server.server_port}"
        self.service = f"http://{self.address}/onvif/device_service"
        self.xaddrs = self.service if xaddrs is None else xaddrs
        self._udp = _multicast_socket()

    def __enter__(self) -> OnvifDevice:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=self._answer_probes, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._udp.shutdown(socket.SHUT_RDWR)
        self._udp.close()
        self._server.shutdown()
        self._server.server_close()

    def _answer_probes(self) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.bind((self.ip, 0))
            while True:
                data, sender = self._udp.recvfrom(65_536)
                if not sender:  # Its end.
                    return
                if sender[0] == self.asker and (id := re.search(r"MessageID>([^<]+)<", data.decode())):
                    with contextlib.suppress(OSError):
                        out.sendto(self.datagram(self.match(id[1])), sender)

    def match(self, id: str) -> bytes:
        """Its answer to the probe of this id."""
        return (
            '<?xml version="1.0"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope" '
            'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
            'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><SOAP-ENV:Header>'
            f"<wsa:RelatesTo>{id}</wsa:RelatesTo></SOAP-ENV:Header><SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch>"
            f"<wsa:EndpointReference><wsa:Address>urn:uuid:{self.ip}</wsa:Address></wsa:EndpointReference>"
            f"<d:Scopes>{escape(self.scopes)}</d:Scopes><d:XAddrs>{self.xaddrs}</d:XAddrs>"
            "</d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"
        ).encode()

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead


def _multicast_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((GROUP, PORT))
    membership = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    return sock


def _handler(device: OnvifDevice) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = re.search(r"Body>\s*<(\w+)", body)
            operation = found[1] if found else ""
            device.heard.append(Request(operation, body, dict(self.headers)))
            with contextlib.suppress(OSError):
                if operation in device.answers:
                    answer = device.answers[operation](self)
                    self.close_connection = True
                else:
                    answer = _answer(device, operation, body, self.headers.get("Authorization", ""))
                if answer is not None:
                    self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/soap+xml", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def soap(body: str) -> bytes:
    return http(
        f'<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope">'
        f"<s:Body>{body}</s:Body></s:Envelope>".encode()
    )


def fault(code: str, reason: str) -> bytes:
    """A SOAP fault; code: such as ter:NotAuthorized."""
    body = (
        f"<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{code}</s:Value></s:Subcode></s:Code>"
        f"<s:Reason><s:Text>{escape(reason)}</s:Text></s:Reason></s:Fault>"
    )
    return soap(body).replace(b"200 OK", b"400 Bad Request", 1)


def _answer(device: OnvifDevice, operation: str, body: str, authorization: str) -> bytes:
    if device.login and operation not in _OPEN:
        if device.digest and not _http_digest_fits(device, authorization):
            ask = 'WWW-Authenticate: Digest realm="onvif", qop="auth", nonce="n1", algorithm=MD5'
            return http(b"", "401 Unauthorized", ask)
        if not device.digest and not _token_fits(device, body):
            return fault("ter:NotAuthorized", "Sender not Authorized")
    makers: dict[str, Callable[[], str | bytes]] = {
        "GetSystemDateAndTime": lambda: _clock(device.now()),
        "GetServices": lambda: _services(device),
        "GetCapabilities": lambda: _capabilities(device),
        "GetDeviceInformation": lambda: (
            "<Manufacturer>ACME</Manufacturer><Model>Model-1</Model><FirmwareVersion>1.2</FirmwareVersion>"
        ),
        "GetProfiles": lambda: "".join(map(_profile2 if MEDIA2 in body else _profile, device.streams)),
        "GetStreamUri": lambda: _uri(device, body),
    }
    if operation not in makers:
        return fault("ter:ActionNotSupported", f"no {operation}")
    made = makers[operation]()
    return (
        made if isinstance(made, bytes) else soap(f"<t:{operation}Response xmlns:t='t'>{made}</t:{operation}Response>")
    )


def _token_fits(device: OnvifDevice, body: str) -> bool:
    """Whether the UsernameToken is of the user, new, of this minute, and right."""
    parts = [
        re.search(rf"<\w+:{name}(?: [^>]*)?>([^<]*)<", body) for name in ("Username", "Password", "Nonce", "Created")
    ]
    if not all(parts) or not device.login:
        return False
    user, password, nonce, created = (part[1] for part in parts if part)
    late_s = abs((dt.datetime.fromisoformat(created) - device.now()).total_seconds())
    digest = hashlib.sha1(base64.b64decode(nonce) + created.encode() + device.login[1].encode()).digest()
    fits = user == escape(device.login[0]) and late_s < _SKEW_S and base64.b64decode(password) == digest
    is_new = nonce not in device.nonces
    device.nonces.add(nonce)
    return fits and is_new


def _http_digest_fits(device: OnvifDevice, authorization: str) -> bool:
    fields = {key: quoted or bare for key, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]*))', authorization)}
    if not device.login or fields.get("username") != device.login[0]:
        return False
    one = hashlib.md5(f"{device.login[0]}:onvif:{device.login[1]}".encode()).hexdigest()
    two = hashlib.md5(f"POST:{fields['uri']}".encode()).hexdigest()
    whole = ":".join((one, fields["nonce"], fields["nc"], fields["cnonce"], fields["qop"], two))
    return hashlib.md5(whole.encode()).hexdigest() == fields["response"]


def _clock(now: dt.datetime) -> str:
    return (
        "<SystemDateAndTime><UTCDateTime>"
        f"<Time><Hour>{now.hour}</Hour><Minute>{now.minute}</Minute><Second>{now.second}</Second></Time>"
        f"<Date><Year>{now.year}</Year><Month>{now.month}</Month><Day>{now.day}</Day></Date>"
        "</UTCDateTime></SystemDateAndTime>"
    )


def _services(device: OnvifDevice) -> str | bytes:
    if not device.media:
        return fault("ter:ActionNotSupported", "no GetServices")
    return "".join(
        f"<Service><Namespace>{namespace}</Namespace><XAddr>http://{device.address}/onvif/{n}</XAddr></Service>"
        for n, namespace in enumerate(device.media)
    )


def _capabilities(device: OnvifDevice) -> str:
    return f"<Capabilities><Media><XAddr>http://{device.address}/onvif/media</XAddr></Media></Capabilities>"


def _encoder(stream: Stream) -> str:
    return (
        f"<Encoding>{stream.codec}</Encoding><Resolution><Width>{stream.width}</Width><Height>{stream.height}</Height>"
        f"</Resolution><RateControl><FrameRateLimit>{stream.fps:g}</FrameRateLimit></RateControl>"
    )


def _profile(stream: Stream) -> str:
    # The first media service can't name H.265.
    codec = "H264" if stream.codec == "H265" else stream.codec
    return (
        f'<Profiles token="{escape(stream.token)}"><Name>{escape(stream.name)}</Name><VideoSourceConfiguration>'
        f"<SourceToken>{stream.source}</SourceToken></VideoSourceConfiguration><VideoEncoderConfiguration>"
        f"{_encoder(stream._replace(codec=codec))}</VideoEncoderConfiguration></Profiles>"
    )


def _profile2(stream: Stream) -> str:
    return (
        f'<Profiles token="{escape(stream.token)}"><Name>{escape(stream.name)}</Name><Configurations><VideoSource>'
        f"<SourceToken>{stream.source}</SourceToken></VideoSource><VideoEncoder>{_encoder(stream)}</VideoEncoder>"
        "</Configurations></Profiles>"
    )


def _uri(device: OnvifDevice, body: str) -> str | bytes:
    token = re.search(r"ProfileToken>([^<]*)<", body)
    stream = next((s for s in device.streams if token and escape(s.token) == token[1]), None)
    if stream is None:
        return fault("ter:NoProfile", "no such profile")
    uri = f"<Uri>{escape(stream.url)}</Uri>"
    return uri if MEDIA2 in body else f"<MediaUri>{uri}</MediaUri>"


def endless(handler: BaseHTTPRequestHandler, part: bytes, head: bytes = b"", every_s: float = 0.0) -> None:
    """Send `part` until the client is gone."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\n\r\n" + head)
    while True:
        handler.wfile.write(part)
        time.sleep(every_s)
