//! The head of an imported event's request. No request came that it could be copied from, so each attempt builds it anew, by
//! the configuration in force: as if Stripe had sent the event now. It decides no target: that is part of what is stored.

use super::attempt::SIGNATURE_HEADER;
use super::last_arrival::ArrivalHead;
use super::policy::DeliveryPolicy;
use crate::backend::RequestHeadBuilder;
use crate::config::PublicUrl;
use crate::ledger::Ledger;

/// The `User-Agent` of Stripe's webhooks.
const STRIPE_USER_AGENT: &[u8] = b"Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// Returns what is stored in place of an imported event's head: its request line and its signature.
pub fn without_arrival(target: &str, signature: &str) -> RequestHeadBuilder {
    let mut head = RequestHeadBuilder::post(target.as_bytes(), 0);
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
    let Some(target) = imported_target(stored) else {
        return RequestHeadBuilder::from_stored(stored, SIGNATURE_HEADER, signature);
    };
    if let Some(url) = &policy.url {
        return build(target, signature, PublicOrigin::Url(url));
    }
    match policy.last_arrival.get(ledger, &policy.endpoint).await {
        Ok(Some(arrival)) => build(target, signature, PublicOrigin::Arrival(&arrival)),
        Ok(None) => build(target, signature, PublicOrigin::Backend(backend_host)),
        Err(error) => {
            // A backend that refuses this head is asked again by the retry schedule.
            tracing::warn!(endpoint = &*policy.endpoint, %error, "cannot read to which host the last webhook came");
            build(target, signature, PublicOrigin::Backend(backend_host))
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

fn build(target: &[u8], signature: &[u8], origin: PublicOrigin<'_>) -> RequestHeadBuilder {
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
    head.add(SIGNATURE_HEADER, signature);
    head
}

/// Returns the target of an imported event from its stored head, whose signature has no value. Returns `None` for the head
/// of a request that came: that has more lines, `X-Forwarded-Proto` at least.
fn imported_target(stored: &[u8]) -> Option<&[u8]> {
    let rest = stored.strip_prefix(b"POST ")?;
    let target = rest.strip_suffix(b" HTTP/1.1\r\nStripe-Signature: \r\n")?;
    (!target.contains(&b'\n')).then_some(target)
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
