//! Either side fails at any point of an exchange, in every kind of body: the other side's connection ends, and nothing of
//! Countersign's is written behind a head.

use crate::harness::{End, Program, RawBackend, RawStream, Setup};
use std::time::Duration;

/// How long nothing may come before a peer counts as silent.
const QUIET: Duration = Duration::from_millis(200);

/// The response's data: long enough for several points inside it.
const DATA: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz{\"error\"}";

/// How the end of the response is marked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Length,
    Chunked,
    UntilClose,
    Upgrade,
}

/// What one side does in the middle.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Reset,
    Finish,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Length, Self::Chunked, Self::UntilClose, Self::Upgrade];

    fn request(self) -> &'static str {
        match self {
            Self::Upgrade => {
                "GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            }
            Self::Length | Self::Chunked | Self::UntilClose => {
                "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            }
        }
    }

    fn head(self) -> String {
        let (status, framing) = match self {
            Self::Length => ("200 OK", format!("Content-Length: {}", DATA.len())),
            Self::Chunked => ("200 OK", "Transfer-Encoding: chunked".to_owned()),
            Self::UntilClose => ("200 OK", "X-Framing: none".to_owned()),
            Self::Upgrade => {
                ("101 Switching Protocols", "Connection: Upgrade\r\nUpgrade: websocket".to_owned())
            }
        };
        format!("HTTP/1.1 {status}\r\n{framing}\r\n\r\n")
    }

    fn coded(self, data: &[u8]) -> Vec<u8> {
        if self != Self::Chunked || data.is_empty() {
            return data.to_vec();
        }
        [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
    }

    /// Returns the data in what the client got behind the head, and whether its end is marked.
    fn decode(self, body: &[u8], end: End) -> (Vec<u8>, bool) {
        match self {
            Self::Length => (body.to_vec(), body.len() == DATA.len()),
            Self::Upgrade => (body.to_vec(), end == End::Closed),
            // A body without framing is passed on in chunks.
            Self::Chunked | Self::UntilClose => {
                let (mut rest, mut data) = (body, vec![]);
                while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
                    let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
                    if size == 0 {
                        assert_eq!(&rest[at..], b"\r\n\r\n", "something follows the last chunk");
                        return (data, true);
                    }
                    let chunk = &rest[at + 2..];
                    data.extend_from_slice(&chunk[..size.min(chunk.len())]);
                    rest = chunk.get(size + 2..).unwrap_or_default();
                }
                (data, false)
            }
        }
    }
}

/// Brings an exchange to the point where so much of the response's data has reached the client.
async fn begin(program: &Program, backend: &RawBackend, kind: Kind, point: usize) -> (RawStream, RawStream) {
    let mut client = RawStream::connect(program).await;
    client.write(kind.request()).await;
    let (mut server, _) = backend.accept_head().await;
    server.write([kind.head().into_bytes(), kind.coded(&DATA[..point])].concat()).await;
    client.head().await;
    (client, server)
}

#[tokio::test]
async fn backend_that_fails_behind_its_head_only_ends_the_response() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for kind in Kind::ALL {
        for fault in [Fault::Reset, Fault::Finish] {
            for point in [0, 1, 17, DATA.len() - 1] {
                let case = format!("{kind:?} {fault:?} at {point}");
                let (mut client, mut server) = begin(&program, &backend, kind, point).await;
                match fault {
                    Fault::Reset => server.reset(),
                    Fault::Finish => server.finish().await,
                }
                let (body, end) = client.rest().await;
                let (data, complete) = kind.decode(&body, end);
                // RST may overtake data that the program has not read.
                let whole = if fault == Fault::Finish { data == DATA[..point] } else { true };
                assert!(DATA[..point].starts_with(&data) && whole, "{case}: {}", body.escape_ascii());
                let may_end = fault == Fault::Finish && matches!(kind, Kind::UntilClose | Kind::Upgrade);
                assert!(kind == Kind::Upgrade || complete == may_end, "{case}: {}", body.escape_ascii());
            }
        }
    }
}

#[tokio::test]
async fn client_that_fails_ends_the_request_at_the_backend() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for kind in Kind::ALL {
        for fault in [Fault::Reset, Fault::Finish] {
            for point in [0, 17] {
                let (mut client, mut server) = begin(&program, &backend, kind, point).await;
                match fault {
                    Fault::Reset => client.reset(),
                    Fault::Finish => client.finish().await,
                }
                let (rest, _) = server.rest().await;
                assert!(rest.is_empty(), "{kind:?} {fault:?} at {point}: {}", rest.escape_ascii());
            }
        }
    }
}

#[tokio::test]
async fn side_that_stalls_is_waited_for() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url()).set("server.idle_timeout", "100ms")).await;
    for kind in Kind::ALL {
        for point in [0, 17] {
            let (mut client, mut server) = begin(&program, &backend, kind, point).await;
            if point > 0 {
                let came = client.exact(kind.coded(&DATA[..point]).len().max(point)).await;
                assert!(came.starts_with(b"11") || came.starts_with(b"0123"), "{}", came.escape_ascii());
                // A body without framing comes as a chunk of its own.
                if kind == Kind::UntilClose {
                    client.exact(b"11\r\n".len() + b"\r\n".len()).await;
                }
            }
            assert!(client.is_silent(QUIET).await && server.is_silent(QUIET).await, "{kind:?} at {point}");
            server.write(kind.coded(&DATA[point..])).await;
            if kind == Kind::Chunked {
                server.write("0\r\n\r\n").await;
            }
            if matches!(kind, Kind::UntilClose | Kind::Upgrade) {
                server.finish().await;
            }
            let (body, end) = client.rest().await;
            assert_eq!(kind.decode(&body, end).0, &DATA[point..], "{kind:?} at {point}");
        }
    }
}

#[tokio::test]
async fn backend_that_fails_before_its_head_is_told_to_the_client_once() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for (sent, code) in [
        ("", "backend_unreachable"),
        ("HTTP/1.1 200 O", "backend_unreachable"),
        ("SSH-2.0-x\r\n\r\n", "backend_invalid"),
    ] {
        let mut client = RawStream::connect(&program).await;
        client.write("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        let (mut server, _) = backend.accept_head().await;
        server.write(sent).await;
        server.finish().await;
        let (all, _) = client.rest().await;
        let all = String::from_utf8(all).unwrap();
        assert!(all.starts_with("HTTP/1.1 502 ") && all.matches("HTTP/1.1 ").count() == 1, "{all}");
        assert!(all.contains(&format!("Countersign-Outcome: {code}\r\n")), "{sent:?}: {all}");
    }
}

#[tokio::test]
async fn upload_that_breaks_off_is_never_complete_at_the_backend() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    for (framing, part) in [("Content-Length: 9", "0123"), ("Transfer-Encoding: chunked", "4\r\n0123\r\n")] {
        for fault in [Fault::Reset, Fault::Finish] {
            let mut client = RawStream::connect(&program).await;
            client.write(format!("PUT /x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}")).await;
            let (mut server, _) = backend.accept_head().await;
            assert_eq!(server.exact(part.len()).await, part.as_bytes());
            match fault {
                Fault::Reset => client.reset(),
                Fault::Finish => client.finish().await,
            }
            let (rest, _) = server.rest().await;
            assert!(rest.is_empty(), "{framing}, {fault:?}: {}", rest.escape_ascii());
        }
    }
}

#[tokio::test]
async fn backend_that_answers_or_fails_during_an_upload_is_heard() {
    let backend = RawBackend::start().await;
    let program = Program::start(Setup::to(&backend.url())).await;
    let refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    for (answer, status) in [(refusal, 413), ("", 502)] {
        let mut client = RawStream::connect(&program).await;
        client.write("PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n0123").await;
        let (mut server, _) = backend.accept_head().await;
        server.exact(4).await;
        server.write(answer).await;
        server.finish().await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        if status == 413 {
            assert_eq!(client.exact(3).await, b"big");
        }
    }
}
