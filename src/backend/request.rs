//! The head of a request to the app, written straight into the bytes that leave.

/// A request's head under construction. Names and values are the caller's responsibility: they come from headers
/// that were parsed, or from checked words of our own, so none holds a line end.
#[derive(Debug)]
pub struct RequestHeadBuilder(Vec<u8>);

impl RequestHeadBuilder {
    /// `POST <target> HTTP/1.1`.
    pub fn post(target: &[u8]) -> RequestHeadBuilder {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(b"POST ");
        bytes.extend_from_slice(target);
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        RequestHeadBuilder(bytes)
    }

    /// One that was begun before, and kept.
    pub fn begun(bytes: &[u8]) -> RequestHeadBuilder {
        RequestHeadBuilder(bytes.to_vec())
    }

    /// What there is of it so far, to be kept.
    pub fn so_far(&self) -> &[u8] {
        &self.0
    }

    /// Adds one header field.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// The whole head, for a body of `length` bytes.
    pub fn finish(mut self, length: usize) -> Vec<u8> {
        self.add("Content-Length", length.to_string().as_bytes());
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_goes_over_the_wire() {
        let mut head = RequestHeadBuilder::post(b"/webhooks/stripe?version=2");
        head.add("Host", b"shop.example");
        assert_eq!(
            String::from_utf8(head.finish(3)).unwrap(),
            "POST /webhooks/stripe?version=2 HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\n"
        );
    }
}
