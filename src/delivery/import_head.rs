//! The head of an imported event's request. No request came that it could be copied from, so each attempt builds it anew, by
//! the configuration in force: as if Stripe had sent the event now. Pure.

use super::attempt::SIGNATURE_HEADER;
use crate::backend::RequestHeadBuilder;
use crate::config::PublicUrl;

/// The `User-Agent` of Stripe's webhooks.
const STRIPE_USER_AGENT: &[u8] = b"Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// Returns what is stored in place of an imported event's head: its request line and its signature.
pub fn without_arrival(target: &str, signature: &str) -> RequestHeadBuilder {
    let mut head = RequestHeadBuilder::post(target.as_bytes(), 0);
    head.add(SIGNATURE_HEADER, signature.as_bytes());
    head
}

/// Returns the target of an imported event from its stored head, whose signature has no value. Returns `None` for the head
/// of a request that came: that has more lines, `X-Forwarded-Proto` at least.
pub(super) fn imported_target(stored: &[u8]) -> Option<&[u8]> {
    let rest = stored.strip_prefix(b"POST ")?;
    let target = rest.strip_suffix(b" HTTP/1.1\r\nStripe-Signature: \r\n")?;
    (!target.contains(&b'\n')).then_some(target)
}

/// Builds the head of an imported event. Without the endpoint's `url` the host is `backend_host`, and nothing tells of a proxy.
pub(super) fn build(
    target: &[u8],
    signature: &[u8],
    url: Option<&PublicUrl>,
    backend_host: &str,
) -> RequestHeadBuilder {
    let mut head = RequestHeadBuilder::post(target, 0);
    head.add("Host", url.map_or(backend_host, |url| &url.host).as_bytes());
    head.add("User-Agent", STRIPE_USER_AGENT);
    head.add("Content-Type", b"application/json; charset=utf-8");
    head.add(SIGNATURE_HEADER, signature);
    if let Some(PublicUrl { proto, host, .. }) = url {
        head.add("X-Forwarded-Proto", proto.as_bytes());
        head.add("X-Forwarded-Host", host.as_bytes());
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_import_has_a_target_and_a_head_that_came_has_none() {
        let (stored, signature) = without_arrival("/w?version=2", "t=1,v1=a").without_value(SIGNATURE_HEADER);
        assert_eq!(imported_target(&stored), Some(&b"/w?version=2"[..]));
        assert_eq!(&signature[..], b"t=1,v1=a");
        for came in [
            "POST /w HTTP/1.1\r\nHost: a\r\nStripe-Signature: \r\n",
            "POST /w HTTP/1.1\r\nStripe-Signature: \r\nX-Forwarded-Proto: http\r\n",
            "POST /w HTTP/1.1\r\nX-Forwarded-Proto: HTTP/1.1\r\nStripe-Signature: \r\n",
            "POST /w HTTP/1.1\r\nX: HTTP/1.1\r\nStripe-Signature: \r\n",
        ] {
            assert_eq!(imported_target(came.as_bytes()), None, "{came}");
        }
    }
}
