//! HTTP/1.1 on a socket as bytes: heads as received, bodies without framing, no checks. Used by the client and the
//! backend double.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// The address of a listener.
#[derive(Debug, Clone, PartialEq)]
pub enum Address {
    /// A TCP address, such as `127.0.0.1:34567`.
    Tcp(SocketAddr),
    /// A Unix socket, such as `unix//run/app.sock`.
    Unix(PathBuf),
}

impl Address {
    /// Parses both forms.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix/") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(text.parse().unwrap_or_else(|_| panic!("{text:?} is no address"))),
        }
    }

    /// Returns the address as `[server] listen` takes it.
    pub fn text(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(path) => format!("unix/{}", path.display()),
        }
    }

    /// Returns the address as `[backend] url` takes it.
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(address) => format!("http://{address}"),
            Self::Unix(_) => self.text(),
        }
    }

    /// Returns the port of a TCP address.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(address) => address.port(),
            Self::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Wire> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Wire::new(stream)
            }
            Self::Unix(path) => Wire::new(UnixStream::connect(path).await?),
        })
    }
}

/// Any stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection with the bytes that were read too far.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    ahead: Vec<u8>,
}

/// How the end of a body is marked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Wire {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), ahead: Vec::new() }
    }

    /// Returns the stream for an upgrade. Panics if bytes after it were read already.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        assert!(self.ahead.is_empty(), "bytes after the upgrade were read ahead");
        self.stream
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Reads the next head with its blank line, or `None` if the peer closed before its first byte.
    pub(super) async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.ahead[searched..].windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.ahead.split_off(searched + at + 4);
                return Ok(Some(std::mem::replace(&mut self.ahead, rest)));
            }
            searched = self.ahead.len().saturating_sub(3);
            if self.more().await? == 0 {
                return if self.ahead.is_empty() { Ok(None) } else { Err(broken("inside a head")) };
            }
        }
    }

    /// Reads a body into `body`. On an error `body` holds what arrived.
    pub(super) async fn body(&mut self, framing: Framing, body: &mut Body) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.exactly(length, body).await,
            Framing::UntilClose => loop {
                body.push(&std::mem::take(&mut self.ahead));
                if self.more().await? == 0 {
                    return Ok(());
                }
            },
            Framing::Chunked => loop {
                let line = self.line().await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(|_| broken("chunk size"))?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    return Ok(());
                }
                self.exactly(size, body).await?;
                if !self.line().await?.is_empty() {
                    return Err(broken("no line end after a chunk"));
                }
            },
        }
    }

    /// Returns the next bytes that arrive, or none at the end.
    pub(super) async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.more().await?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Waits until there is something to read, or the end. Safe to cancel.
    pub(super) async fn peek(&mut self) -> io::Result<()> {
        if self.ahead.is_empty() { self.more().await.map(drop) } else { Ok(()) }
    }

    /// Reads one line without its end.
    pub(super) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.more().await? == 0 {
                return Err(broken("inside a line"));
            }
        }
    }

    async fn exactly(&mut self, mut left: u64, body: &mut Body) -> io::Result<()> {
        while left > 0 {
            if self.ahead.is_empty() && self.more().await? == 0 {
                return Err(broken("inside a body"));
            }
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.ahead.len());
            body.push(&self.ahead[..take]);
            self.ahead.drain(..take);
            left -= take as u64;
        }
        Ok(())
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.ahead.reserve(64 * 1024);
        self.stream.read_buf(&mut self.ahead).await
    }
}

fn broken(location: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("broke off: {location}"))
}

/// Headers in their order and spelling.
#[derive(Debug, Clone, Default)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Returns every value of a header, by its name in any case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// Returns the value of a header. Panics if it occurs more than once.
    pub fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    pub(super) fn framing(&self) -> Option<Framing> {
        if self.all("transfer-encoding").iter().any(|v| v.to_ascii_lowercase().contains("chunked")) {
            return Some(Framing::Chunked);
        }
        self.one("content-length").map(|v| Framing::Length(v.trim().parse().expect("a length")))
    }
}

/// Splits a head into its first line and its headers.
pub(super) fn parse_head(head: &[u8]) -> (String, Headers) {
    // Latin-1 loses no byte.
    let text: String = head.iter().map(|&b| b as char).collect();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let fields = lines.filter(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
        (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
    });
    (first, Headers(fields.collect()))
}

/// A body: its first 4 MiB, its length, and whether it is [`Pattern`].
#[derive(Debug, Clone)]
pub struct Body {
    /// The first 4 MiB.
    pub bytes: Vec<u8>,
    /// The length of the whole body in bytes.
    pub length: u64,
    /// Whether every byte so far is the pattern's.
    pub patterned: bool,
}

impl Body {
    const MAX_BUFFERED: usize = 4 << 20;

    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), length: 0, patterned: true }
    }

    fn push(&mut self, bytes: &[u8]) {
        let space = Self::MAX_BUFFERED.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(space)]);
        let mut at = self.length;
        let mut rest = bytes;
        while self.patterned && !rest.is_empty() {
            let expected = Pattern::at(at);
            let take = expected.len().min(rest.len());
            self.patterned = expected[..take] == rest[..take];
            rest = &rest[take..];
            at += take as u64;
        }
        self.length += bytes.len() as u64;
    }
}

/// A cheap endless body in which a lost, doubled or swapped piece is visible.
pub struct Pattern;

impl Pattern {
    /// The period is a prime, so that no buffer size divides it.
    const PERIOD: usize = 65_521;

    /// Returns the bytes from `offset` to the end of the period.
    pub fn at(offset: u64) -> &'static [u8] {
        static BLOCK: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let block = BLOCK.get_or_init(|| {
            let mut x = 0x2545_f491_u32;
            let mut next = || {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                x.to_le_bytes()[1]
            };
            (0..Self::PERIOD).map(|_| next()).collect()
        });
        &block[(offset % Self::PERIOD as u64) as usize..]
    }

    /// Returns the first `length` bytes.
    pub fn bytes(length: usize) -> Vec<u8> {
        Self::at(0).iter().copied().cycle().take(length).collect()
    }
}
