//! The head of an imported event's request. No request came that it could be copied from, so each attempt builds it anew, by
//! the configuration in force: as if Stripe had sent the event now. It decides no target: that is part of what is stored.

use super::attempt::{REQUEST_ID_HEADER, SIGNATURE_HEADER};
use super::last_arrival::ArrivalHead;
use super::policy::DeliveryPolicy;
use crate::backend::RequestHeadBuilder;
use crate::config::PublicUrl;
use crate::ledger::Ledger;

/// The `User-Agent` of Stripe's webhooks.
const STRIPE_USER_AGENT: &[u8] = b"Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// Returns what is stored in place of an imported event's head: its request line, its id and its signature.
pub fn without_arrival(target: &str, request_id: &str, signature: &str) -> RequestHeadBuilder {
    let mut head = RequestHeadBuilder::post(target.as_bytes(), 0);
    head.add(REQUEST_ID_HEADER, request_id.as_bytes());
    head.add(SIGNATURE_HEADER, signature.as_bytes());
    head
}

/// Builds the head of an attempt from what is stored of its event. `backend_host` is the `Host` of an import if nothing
/// tells the public one.
pub(super) async fn from_stored(
    stored: &[u8],
    signature: &[u8],
    policy: &DeliveryPolicy,
    ledger: &dyn Ledger,
    backend_host: &str,
) -> RequestHeadBuilder {
    let Some((target, request_id)) = parse_import(stored) else {
        return RequestHeadBuilder::from_stored(stored, SIGNATURE_HEADER, signature);
    };
    let build = |origin| build(target, request_id, signature, origin);
    if let Some(url) = &policy.url {
        return build(PublicOrigin::Url(url));
    }
    match policy.last_arrival.get(ledger, &policy.endpoint).await {
        Ok(Some(arrival)) => build(PublicOrigin::Arrival(&arrival)),
        Ok(None) => build(PublicOrigin::Backend(backend_host)),
        Err(error) => {
            // A backend that refuses this head is asked again by the retry schedule.
            tracing::warn!(endpoint = &*policy.endpoint, %error, "cannot read to which host the last webhook came");
            build(PublicOrigin::Backend(backend_host))
        }
    }
}

/// What tells the host and the scheme that Stripe would send an import to.
enum PublicOrigin<'a> {
    /// The endpoint's `url`.
    Url(&'a PublicUrl),
    /// The last webhook.
    Arrival(&'a ArrivalHead),
    /// Nothing: the `Host` is the backend's address, and no header tells of a proxy.
    Backend(&'a str),
}

fn build(target: &[u8], request_id: &[u8], signature: &[u8], origin: PublicOrigin<'_>) -> RequestHeadBuilder {
    let mut head = RequestHeadBuilder::post(target, 0);
    match origin {
        PublicOrigin::Url(PublicUrl { proto, host, .. }) => {
            head.add("Host", host.as_bytes());
            head.add("User-Agent", STRIPE_USER_AGENT);
            head.add("X-Forwarded-Proto", proto.as_bytes());
            head.add("X-Forwarded-Host", host.as_bytes());
        }
        PublicOrigin::Arrival(arrival) => arrival.header_lines().for_each(|line| head.add_line(line)),
        PublicOrigin::Backend(host) => {
            head.add("Host", host.as_bytes());
            head.add("User-Agent", STRIPE_USER_AGENT);
        }
    }
    head.add("Content-Type", b"application/json; charset=utf-8");
    head.add(REQUEST_ID_HEADER, request_id);
    head.add(SIGNATURE_HEADER, signature);
    head
}

/// Returns the target and the request id of an imported event from its stored head, whose signature has no value. Returns
/// `None` for the head of a request that came: that has more lines, `X-Forwarded-Proto` at least.
fn parse_import(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = str::from_utf8(stored).ok()?.strip_suffix("\r\nStripe-Signature: \r\n")?;
    let (target, request_id) = head.strip_prefix("POST ")?.split_once(" HTTP/1.1\r\nX-Request-Id: ")?;
    let is_one_line = |text: &str| !text.contains('\n');
    (is_one_line(target) && is_one_line(request_id)).then_some((target.as_bytes(), request_id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_import_has_a_target_and_a_head_that_came_has_none() {
        let (stored, signature) =
            without_arrival("/w?version=2", "r-1", "t=1,v1=a").without_value(SIGNATURE_HEADER);
        assert_eq!(parse_import(&stored), Some((&b"/w?version=2"[..], &b"r-1"[..])));
        assert_eq!(&signature[..], b"t=1,v1=a");
        for came in [
            "POST /w HTTP/1.1\r\nHost: a\r\nStripe-Signature: \r\n",
            "POST /w HTTP/1.1\r\nX-Request-Id: a\r\nX-Forwarded-Proto: http\r\nStripe-Signature: \r\n",
            "POST /w HTTP/1.1\r\nX-Forwarded-Proto: http\r\nX-Request-Id: a\r\nStripe-Signature: \r\n",
            "POST /w HTTP/1.1\r\nStripe-Signature: \r\nX-Request-Id: a\r\n",
            "POST /w HTTP/1.1\r\nStripe-Signature: \r\nX-Forwarded-Proto: http\r\n",
            "POST /w HTTP/1.1\r\nX-Forwarded-Proto: HTTP/1.1\r\nStripe-Signature: \r\n",
            "POST /w HTTP/1.1\r\nX: HTTP/1.1\r\nStripe-Signature: \r\n",
        ] {
            assert_eq!(parse_import(came.as_bytes()), None, "{came}");
        }
    }
}
