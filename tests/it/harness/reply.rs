//! The scripted responses of the backend double, as bytes.

use super::gate::Gate;

/// One scripted response. Clones are alike and share their gates.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    before: Vec<Step>,
    body: Body,
    after: After,
}

/// One step of a response.
#[derive(Clone)]
pub(super) enum Step {
    Write(Vec<u8>),
    Wait(Gate),
    Pattern(u64),
    Close,
    Hang,
}

#[derive(Clone)]
enum Body {
    None,
    Bytes(Vec<u8>),
    Chunked(Vec<Step>),
    Pattern(u64),
    /// There is no head either, only the bytes in `before`.
    Raw,
}

#[derive(Clone)]
enum After {
    Keep,
    Close,
    Hang,
}

impl Reply {
    /// A response with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: vec![], before: vec![], body: Body::Bytes(vec![]), after: After::Keep }
    }

    /// A 200 with a small JSON body.
    pub fn ok() -> Self {
        Self::json(200, r#"{"applied":true}"#)
    }

    /// A JSON response.
    pub fn json(status: u16, body: &str) -> Self {
        Self::status(status).header("Content-Type", "application/json").body(body)
    }

    /// A redirect to this location.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("Location", location)
    }

    /// Any bytes in place of a response.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        let before = vec![Step::Write(bytes.as_ref().to_vec())];
        Self { before, body: Body::Raw, ..Self::status(0) }
    }

    /// Sends nothing until the client gives up.
    pub fn never() -> Self {
        Self::raw("").then_hang()
    }

    /// Closes the connection without a byte.
    pub fn close() -> Self {
        Self::raw("").then_close()
    }

    /// A chunked response. [`Reply::chunk`] adds chunks, and [`Reply::pause`] adds pauses.
    pub fn chunked(status: u16) -> Self {
        Self { body: Body::Chunked(vec![]), ..Self::status(status) }
    }

    /// A chunked event stream.
    pub fn events() -> Self {
        Self::chunked(200).header("Content-Type", "text/event-stream").header("Cache-Control", "no-cache")
    }

    /// A head without body and length, as for 204 and 304.
    pub fn bare(status: u16) -> Self {
        Self { body: Body::None, ..Self::status(status) }
    }

    /// A 200 with `length` bytes of [`super::Pattern`].
    pub fn pattern(length: u64) -> Self {
        Self { body: Body::Pattern(length), ..Self::status(200) }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, sent with its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Body::Bytes(body.as_ref().to_vec());
        self
    }

    /// Adds a chunk.
    pub fn chunk(mut self, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\r\n");
        self.chunks().push(Step::Write(bytes));
        self
    }

    /// Waits at the gate before the next chunk.
    pub fn pause(mut self, gate: &Gate) -> Self {
        self.chunks().push(Step::Wait(gate.clone()));
        self
    }

    /// Waits at the gate before the first byte.
    pub fn when(mut self, gate: &Gate) -> Self {
        self.before.insert(0, Step::Wait(gate.clone()));
        self
    }

    /// Sends an interim response first.
    pub fn interim(mut self, status: u16, headers: &[(&str, &str)]) -> Self {
        let fields: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        self.before.push(Step::Write(format!("HTTP/1.1 {status} Interim\r\n{fields}\r\n").into_bytes()));
        self
    }

    /// Closes the connection afterwards, without `Connection: close`.
    pub fn then_close(mut self) -> Self {
        self.after = After::Close;
        self
    }

    /// Sends `Connection: close` and closes the connection afterwards.
    pub fn closing(self) -> Self {
        self.header("Connection", "close").then_close()
    }

    /// Leaves the connection open and sends no more.
    pub fn then_hang(mut self) -> Self {
        self.after = After::Hang;
        self
    }

    fn chunks(&mut self) -> &mut Vec<Step> {
        match &mut self.body {
            Body::Chunked(steps) => steps,
            Body::None | Body::Bytes(_) | Body::Pattern(_) | Body::Raw => panic!("not a chunked response"),
        }
    }

    /// Returns the steps in their order. The response to a HEAD request has no body.
    pub(super) fn steps(&self, to_head: bool) -> Vec<Step> {
        let mut steps = self.before.clone();
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut body = vec![];
        match &self.body {
            Body::Raw => head.clear(),
            Body::None => head += "\r\n",
            Body::Bytes(bytes) => {
                head += &format!("Content-Length: {}\r\n\r\n", bytes.len());
                body.push(Step::Write(bytes.clone()));
            }
            Body::Pattern(length) => {
                head += &format!("Content-Length: {length}\r\n\r\n");
                body.push(Step::Pattern(*length));
            }
            Body::Chunked(chunks) => {
                head += "Transfer-Encoding: chunked\r\n\r\n";
                body.extend(chunks.iter().cloned());
                body.push(Step::Write(b"0\r\n\r\n".to_vec()));
            }
        }
        // Head and a body with a length go out in one write, as in most servers.
        let mut first = head.into_bytes();
        if !to_head {
            if let Some(Step::Write(bytes)) = body.first().filter(|_| matches!(self.body, Body::Bytes(_))) {
                first.extend_from_slice(bytes);
                body.clear();
            }
        } else {
            body.clear();
        }
        steps.push(Step::Write(first));
        steps.extend(body);
        match self.after {
            After::Keep => {}
            After::Close => steps.push(Step::Close),
            After::Hang => steps.push(Step::Hang),
        }
        steps
    }
}
