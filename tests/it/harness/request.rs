//! A request as text, with every byte under the test's control.

/// Builds the bytes of one request. `Host` and the body's length are there unless taken out.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// The `Host` of every request that does not say another.
    pub const HOST: &'static str = "shop.example";

    /// Any method, without a body.
    pub fn new(method: &str, target: &str) -> Request {
        let headers = vec![("Host".into(), Self::HOST.into())];
        Request { method: method.into(), target: target.into(), headers, body: vec![] }
    }

    /// A GET.
    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    /// A POST with its length.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Request {
        Request::new("POST", target).body(body)
    }

    /// Another body, with its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.without("Content-Length").header("Content-Length", &length)
    }

    /// The same body in chunks of `size` bytes.
    pub fn chunked(self, size: usize) -> Request {
        let mut framed = vec![];
        for piece in self.body.chunks(size) {
            framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            framed.extend_from_slice(piece);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(b"0\r\n\r\n");
        Request { body: framed, ..self.without("Content-Length").header("Transfer-Encoding", "chunked") }
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Request {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// One header instead of all of its name.
    pub fn with(self, name: &str, value: &str) -> Request {
        self.without(name).header(name, value)
    }

    /// Another method.
    pub fn method(mut self, method: &str) -> Request {
        self.method = method.into();
        self
    }

    /// Another target.
    pub fn target(mut self, target: &str) -> Request {
        self.target = target.into();
        self
    }

    /// Whether its answer has no body.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The value of a header.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The head with its blank line.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        // Latin-1, as the wire is read.
        head.chars().map(|c| u8::try_from(c).expect("a header in Latin-1")).collect()
    }

    /// The body as it goes over the wire.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.head_bytes()[..], &self.body].concat()
    }
}
