"""The link over real sockets: enrolment, rotation, refusals, half replies; and no secret where it does not belong."""

import datetime
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core_support import HOST, WebController
from foreshape_agent.errors import ConfigError, LinkDown, LinkRefused, ReportRefused
from foreshape_agent.link import HttpLink, TokenStore, Trust
from foreshape_wire.codec import MAX_MESSAGE_BYTES, WIRE_VERSION, decode_desired, encode
from foreshape_wire.sample import HostReport

pytestmark = pytest.mark.functional

REPORT = encode(HostReport(version=WIRE_VERSION, host=HOST, epoch="e", sequence=1, taken_at=1.0, samples=()))


@pytest.fixture
def web() -> Iterator[WebController]:
    controller = WebController()
    yield controller
    controller.close()


def link(web: WebController, tmp_path: Path, token: str = "secret-1", **more: object) -> HttpLink:
    tokens = TokenStore(tmp_path / "token")
    if token:
        tokens.replace(token)
    return HttpLink(web.url, tokens, host=HOST, **({"timeout_s": 15.0} | more))  # type: ignore[arg-type]


def test_a_report_goes_out_with_the_token_and_the_reply_comes_back(web: WebController, tmp_path: Path) -> None:
    reply = link(web, tmp_path).exchange(REPORT)
    assert decode_desired(reply).accepted == (1,)
    assert web.tokens == ["secret-1"]
    assert web.reports[0].host == HOST


def test_the_token_file_is_for_the_agent_only(web: WebController, tmp_path: Path) -> None:
    link(web, tmp_path)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["token"]


def test_a_join_token_is_traded_once_for_the_hosts_own(web: WebController, tmp_path: Path) -> None:
    fresh = link(web, tmp_path, token="")
    fresh.enrol("join-1")
    fresh.exchange(REPORT)
    assert web.tokens == ["enrolled-1"]
    assert TokenStore(tmp_path / "token").best == "enrolled-1"
    with pytest.raises(LinkRefused, match="unknown or used"):
        fresh.enrol("join-1")


def test_the_operators_join_token_file_is_used_when_there_is_no_token(web: WebController, tmp_path: Path) -> None:
    (tmp_path / "join").write_text("join-1\n")
    fresh = link(web, tmp_path, token="", join_token_file=str(tmp_path / "join"))
    fresh.exchange(REPORT)
    fresh.exchange(REPORT)
    assert web.tokens == ["enrolled-1", "enrolled-1"]


def test_an_agent_that_was_never_enrolled_says_what_to_do(web: WebController, tmp_path: Path) -> None:
    with pytest.raises(LinkRefused, match="foreshape agent enroll hv1"):
        link(web, tmp_path, token="").exchange(REPORT)


def test_a_new_token_is_used_from_the_next_report_on_and_replaces_the_old_when_it_worked(web: WebController, tmp_path: Path) -> None:
    one = link(web, tmp_path)
    web.rotate_to = "secret-2"
    one.exchange(REPORT)
    assert ((tmp_path / "token").read_text(), (tmp_path / "token.next").read_text()) == ("secret-1", "secret-2")
    web.rotate_to, web.valid = "", {"secret-2"}
    one.exchange(REPORT)
    assert web.tokens == ["secret-1", "secret-2"]
    assert (tmp_path / "token").read_text() == "secret-2"
    assert not (tmp_path / "token.next").exists()


def test_a_new_token_survives_a_killed_agent(web: WebController, tmp_path: Path) -> None:
    one = link(web, tmp_path)
    web.rotate_to = "secret-2"
    one.exchange(REPORT)
    web.rotate_to, web.valid = "", {"secret-2"}
    again = HttpLink(web.url, TokenStore(tmp_path / "token"), host=HOST)
    again.exchange(REPORT)
    assert web.tokens[-1] == "secret-2"


def test_a_new_token_that_is_refused_falls_back_to_the_old_one(web: WebController, tmp_path: Path) -> None:
    one = link(web, tmp_path)
    web.rotate_to = "never-valid"
    one.exchange(REPORT)
    web.rotate_to = ""
    one.exchange(REPORT)
    assert web.tokens == ["secret-1", "never-valid", "secret-1"]
    assert TokenStore(tmp_path / "token").best == "secret-1"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, LinkRefused, "enrol it anew"),
        (403, LinkRefused, "name it was enrolled with"),
        (404, LinkRefused, "controller_url right"),
        (400, ReportRefused, "as the test wants"),
        (413, ReportRefused, "as the test wants"),
        (422, ReportRefused, "as the test wants"),
        (429, LinkDown, "429"),
        (500, LinkDown, "500"),
        (503, LinkDown, "503"),
        (302, LinkRefused, "302"),
    ],
)
def test_what_a_status_means(web: WebController, tmp_path: Path, status: int, kind: type[Exception], words: str) -> None:
    web.status = status
    with pytest.raises(kind, match=words) as caught:
        link(web, tmp_path).exchange(REPORT)
    assert type(caught.value) is kind
    assert "secret-1" not in str(caught.value)


def test_nobody_listens(tmp_path: Path) -> None:
    gone = WebController()
    gone.close()
    with pytest.raises(LinkDown):
        link(gone, tmp_path).exchange(REPORT)


def test_a_controller_that_is_too_slow(web: WebController, tmp_path: Path) -> None:
    web.delay_s = 1.0
    with pytest.raises(LinkDown, match="ReadTimeout"):
        link(web, tmp_path, timeout_s=0.2).exchange(REPORT)


def test_a_reply_that_is_too_long(web: WebController, tmp_path: Path) -> None:
    web.raw = b" " * (MAX_MESSAGE_BYTES + 1)
    with pytest.raises(LinkDown, match="longer than"):
        link(web, tmp_path).exchange(REPORT)


def test_half_a_reply_is_a_link_that_is_down(tmp_path: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = server.accept()
        peer.recv(65536)
        peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"version":1,')
        peer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    tokens = TokenStore(tmp_path / "token")
    tokens.replace("secret-1")
    half = HttpLink(f"http://127.0.0.1:{server.getsockname()[1]}", tokens, host=HOST, timeout_s=2.0)
    with pytest.raises(LinkDown):
        half.exchange(REPORT)
    thread.join(5)
    server.close()


def test_http_is_for_the_loopback_unless_the_operator_insists(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path / "token")
    with pytest.raises(ConfigError, match="write https"):
        HttpLink("http://controller:8470", tokens, host=HOST)
    HttpLink("http://controller:8470", tokens, host=HOST, trust=Trust(insecure=True))
    HttpLink("http://[::1]:8470", tokens, host=HOST)


def a_certificate(folder: Path) -> Path:
    """A certificate for localhost that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, start + datetime.timedelta(days=2))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    path = folder / "controller.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


def test_only_a_controller_whose_certificate_is_known_gets_the_token(tmp_path: Path) -> None:
    pem = a_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    web = WebController(context)
    try:
        url = web.url.replace("http://127.0.0.1", "https://localhost")
        tokens = TokenStore(tmp_path / "token")
        tokens.replace("secret-1")
        with pytest.raises(LinkDown, match="CERTIFICATE_VERIFY_FAILED"):
            HttpLink(url, tokens, host=HOST).exchange(REPORT)
        assert web.tokens == []
        HttpLink(url, tokens, host=HOST, trust=Trust(ca_file=str(pem))).exchange(REPORT)
        with pytest.raises(LinkDown, match="CERTIFICATE_VERIFY_FAILED"):  # another name than the certificate's
            HttpLink(url.replace("localhost", "127.0.0.1"), tokens, host=HOST, trust=Trust(ca_file=str(pem))).exchange(REPORT)
        HttpLink(url, tokens, host=HOST, trust=Trust(insecure=True)).exchange(REPORT)
        assert web.tokens == ["secret-1", "secret-1"]
    finally:
        web.close()


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match="ca_file"):
        HttpLink("https://controller:8470", TokenStore(tmp_path / "token"), host=HOST, trust=Trust(ca_file=str(tmp_path / "ca.pem")))


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    with pytest.raises(ConfigError, match="token file"):
        TokenStore(tmp_path / "token")
