//! A request as text, with every byte under the test's control.

/// Builds the bytes of one request. `Host` and `Content-Length` are there by default.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// The default `Host` of every request.
    pub const HOST: &'static str = "shop.example";

    /// Builds a request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        let headers = vec![("Host".into(), Self::HOST.into())];
        Self { method: method.into(), target: target.into(), headers, body: vec![] }
    }

    /// Builds a GET request.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Builds a POST request with its length.
    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// Sets the body and its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.without("Content-Length").header("Content-Length", &length)
    }

    /// Sends the same body in chunks of `size` bytes.
    pub fn chunked(self, size: usize) -> Self {
        let mut framed = vec![];
        for piece in self.body.chunks(size) {
            framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            framed.extend_from_slice(piece);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(b"0\r\n\r\n");
        Self { body: framed, ..self.without("Content-Length").header("Transfer-Encoding", "chunked") }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Removes a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces all headers of this name.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).header(name, value)
    }

    /// Sets the method.
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    /// Sets the target.
    pub fn target(mut self, target: &str) -> Self {
        self.target = target.into();
        self
    }

    /// Returns whether it asks for a page.
    pub fn is_get(&self) -> bool {
        self.method == "GET"
    }

    /// Returns whether the response to it has no body.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Returns the value of a header.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Returns the head with its blank line.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        // The head is written as Latin-1, as the doubles read it.
        head.chars().map(|c| u8::try_from(c).expect("a header in Latin-1")).collect()
    }

    /// Returns the body with its framing.
    pub fn body_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Returns head and body.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.head_bytes()[..], &self.body].concat()
    }
}
