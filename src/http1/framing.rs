//! What a request line and the headers say about a request as a whole: its version, how its body is framed, whether its
//! connection goes on. Strict where readers differ (RFC 9112, sections 3 and 6); it sees one line at a time.

use super::headers::{is_token, list_items};

/// The most options of `Connection`. Each header is compared with all of them.
const MAX_OPTIONS: u32 = 32;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// A line ends with a line feed alone.
    BareLineFeed,
    /// The request line or a header cannot be read, `Connection` has too many options, or there is not exactly one `Host`.
    Syntax,
    /// There are more than 1,000 headers.
    TooManyHeaders,
    /// `Content-Length` and `Transfer-Encoding` come together, or one of them comes twice.
    TwoLengths,
    /// A `Content-Length` is not a number, or a transfer coding is not `chunked`.
    Length,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By its length in bytes; 0 if the head names none.
    Length(u64),
    /// By the last chunk of the chunked transfer coding.
    Chunked,
}

/// The protocol version of a request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// `HTTP/1.0`.
    Http10,
    /// `HTTP/1.1`.
    Http11,
    /// Anything else that begins with `HTTP/1.`: no valid head has it.
    Other,
}

/// Parses a request line without its line end: where its method and its target end, and its version.
pub(super) fn parse_request_line(line: &[u8]) -> Result<(usize, usize, HttpVersion), HeadError> {
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::Syntax);
    };
    if !is_token(method) || target.is_empty() || !version.starts_with(b"HTTP/1.") {
        return Err(HeadError::Syntax);
    }
    let version = match version {
        b"HTTP/1.0" => HttpVersion::Http10,
        b"HTTP/1.1" => HttpVersion::Http11,
        _ => HttpVersion::Other,
    };
    Ok((method.len(), method.len() + 1 + target.len(), version))
}

/// What the headers of a head say about the request as a whole, collected line by line.
#[derive(Debug)]
pub(super) struct HeaderFacts {
    version: HttpVersion,
    framing: Option<Framing>,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    hosts: u32,
    /// How many options `Connection` has.
    options: u32,
}

impl HeaderFacts {
    /// Begins with what an empty list of headers says.
    pub(super) fn new(version: HttpVersion) -> Self {
        Self {
            version,
            framing: None,
            close: false,
            keep_alive: false,
            expects_continue: false,
            hosts: 0,
            options: 0,
        }
    }

    /// Adds one header. `first` is the first byte of its line, which rules most headers out without a comparison.
    pub(super) fn add(&mut self, first: u8, name: &[u8], value: &[u8]) -> Result<(), HeadError> {
        match first {
            b'c' | b'C' | b't' | b'T' => {
                if let Some(framing) = parse_framing(name, value)? {
                    self.set_framing(framing)?;
                } else if name.eq_ignore_ascii_case(b"connection") {
                    for option in list_items(value) {
                        self.options += 1;
                        if self.options > MAX_OPTIONS {
                            return Err(HeadError::Syntax);
                        }
                        self.close |= option.eq_ignore_ascii_case(b"close");
                        self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
            }
            b'h' | b'H' => self.hosts += u32::from(name.eq_ignore_ascii_case(b"host")),
            b'e' | b'E' if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    /// The protocol version.
    pub(super) fn version(&self) -> HttpVersion {
        self.version
    }

    /// How the end of the body is found.
    pub(super) fn framing(&self) -> Framing {
        self.framing.unwrap_or(Framing::Length(0))
    }

    /// Connections are kept by default in HTTP/1.1 only (RFC 9112, section 9.3).
    pub(super) fn keep_alive(&self) -> bool {
        !self.close && (self.version == HttpVersion::Http11 || self.keep_alive)
    }

    /// Returns true if the client waits for `100 Continue`.
    pub(super) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Returns true if there is one `Host`, or none in HTTP/1.0.
    pub(super) fn has_one_host(&self) -> bool {
        self.hosts == 1 || (self.hosts == 0 && self.version == HttpVersion::Http10)
    }

    fn set_framing(&mut self, framing: Framing) -> Result<(), HeadError> {
        if self.framing.replace(framing).is_some() {
            return Err(HeadError::TwoLengths);
        }
        // HTTP/1.0 has no transfer codings: a reader that goes by the version takes the body for the next request.
        if framing == Framing::Chunked && self.version == HttpVersion::Http10 {
            return Err(HeadError::Length);
        }
        Ok(())
    }
}

/// Parses the header as `Content-Length` or `Transfer-Encoding`; `None` if it is another one.
fn parse_framing(name: &[u8], value: &[u8]) -> Result<Option<Framing>, HeadError> {
    // Some readers drop a space before the colon, so a name with one counts, and is then refused.
    let bare_name = name.trim_ascii_end();
    let framing = if bare_name.eq_ignore_ascii_case(b"content-length") {
        // Eighteen digits cannot overflow a `u64`.
        let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let length = digits.then(|| value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')));
        Framing::Length(length.ok_or(HeadError::Length)?)
    } else if bare_name.eq_ignore_ascii_case(b"transfer-encoding") {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::Length);
        }
        Framing::Chunked
    } else {
        return Ok(None);
    };
    if name.len() == bare_name.len() { Ok(Some(framing)) } else { Err(HeadError::Syntax) }
}
