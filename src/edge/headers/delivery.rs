//! The head of a webhook on its way to the backend: every line as it came, in its order and spelling, but those that concern
//! one connection only or that are replaced. It is built once, for all delivery modes; it adds no header of a delivery.

use ipnet::IpNet;
use std::net::IpAddr;

use super::forwarded::{ForwardedHeaders, LineAction};
use super::hop_by_hop::HopByHop;
use super::request_id::RequestId;
use super::strip::same_header_name;
use crate::backend::RequestHeadBuilder;
use crate::http1::head::RequestHead;

/// The headers of the way in which the body came: a delivery has its body whole.
const BODY_HEADERS: [&[u8]; 2] = [b"expect", b"transfer-encoding"];

/// Builds the head of a verified webhook, as far as the request determines it. `peer` is `None` on a Unix socket.
pub(crate) fn delivery_head(
    head: &RequestHead,
    peer: Option<IpAddr>,
    proxies: &[IpNet],
    request_id: &RequestId,
) -> RequestHeadBuilder {
    // Each delivery has a key of its own. CGI would read `Idempotency_Key` as that header too.
    passed_head(head, peer, proxies, request_id, |name| same_header_name(name, b"idempotency-key"))
}

/// Builds the head of a webhook that failed its check, for a dry run.
pub(crate) fn unverified_head(
    head: &RequestHead,
    peer: Option<IpAddr>,
    proxies: &[IpNet],
    request_id: &RequestId,
    verdict: &str,
) -> RequestHeadBuilder {
    let mut passed = passed_head(head, peer, proxies, request_id, |_| false);
    passed.add("Countersign-Verdict", verdict.as_bytes());
    passed
}

/// Copies the lines that pass. `is_replaced` names further headers that do not.
fn passed_head(
    head: &RequestHead,
    peer: Option<IpAddr>,
    proxies: &[IpNet],
    request_id: &RequestId,
    is_replaced: impl Fn(&[u8]) -> bool,
) -> RequestHeadBuilder {
    let mut forwarded = ForwardedHeaders::new(peer, proxies);
    let mut passed = RequestHeadBuilder::post(head.target(), head.as_bytes().len());
    let hop_by_hop = HopByHop::new(head);
    for line in head.lines() {
        let passes = match forwarded.line_action(line.name) {
            LineAction::Pass => {
                let of_body = BODY_HEADERS.iter().any(|known| line.name.eq_ignore_ascii_case(known));
                !of_body
                    && !hop_by_hop.contains(line.name)
                    && !is_replaced(line.name)
                    && !request_id.replaces(line.name)
            }
            LineAction::PassForwarded => true,
            LineAction::Drop => false,
        };
        if passes {
            passed.add_line(line.raw);
        }
    }
    forwarded.add_missing(head, |name, value| passed.add(name, value));
    request_id.add_missing(|name, value| passed.add(name, value));
    passed
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn parse(lines: &str) -> RequestHead {
        let head = format!("POST /w?a=b HTTP/1.1\r\n{lines}\r\n");
        RequestHead::parse(BytesMut::from(head.as_bytes())).unwrap()
    }

    fn text(head: &RequestHeadBuilder) -> String {
        head.as_bytes().escape_ascii().to_string().replace("\\r\\n", "\n")
    }

    fn request_id(head: &RequestHead, peer: &str, proxies: &[IpNet]) -> RequestId {
        RequestId::new(head, Some(peer.parse().unwrap()), proxies)
    }

    const CAME: &str = "hOST:  shop.example\r\nZ: 1\r\nCONTENT-length: 2\r\nAuthorization: Basic eDp5\r\n\
        Idempotency-Key: mine\r\nidempotency_key: mine\r\nz: \u{e9}\r\nStripe-Signature:t=1,v1=a \r\n\
        Accept-Encoding: gzip\r\nConnection: X-Hop, Host, Stripe-Signature, X-Request-Id, X-Forwarded-For\r\nx-hop: 1\r\nTE: trailers\r\n\
        Expect: 100-continue\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nCountersign-Event: evt_1\r\nX-Original-URL: /\r\n\
        X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.8\r\nX-Empty:\r\nX-REQUEST-ID: r-1\r\n";

    #[test]
    fn every_line_passes_as_it_came_but_hop_by_hop_and_replaced_ones() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let head = parse(CAME);
        let id = request_id(&head, "10.0.0.1", &proxies);
        let passed = delivery_head(&head, Some("10.0.0.1".parse().unwrap()), &proxies, &id);
        let lines = "POST /w?a=b HTTP/1.1\nhOST:  shop.example\nZ: 1\nCONTENT-length: 2\nAuthorization: Basic eDp5\n\
            z: \\xc3\\xa9\nStripe-Signature:t=1,v1=a \nAccept-Encoding: gzip\nX-Forwarded-For: 203.0.113.9\n\
            X-Forwarded-For: 203.0.113.8\nX-Empty:\nX-REQUEST-ID: r-1\nX-Forwarded-Proto: http\nX-Forwarded-Host: shop.example\n";
        assert_eq!(text(&passed), lines);
    }

    #[test]
    fn a_dry_run_keeps_the_clients_key_and_tells_the_verdict() {
        let (head, peer) = (parse(CAME), "192.0.2.1");
        let id = request_id(&head, peer, &[]);
        let passed = unverified_head(&head, Some(peer.parse().unwrap()), &[], &id, "signature_mismatch");
        let passed = text(&passed);
        assert!(passed.contains("\nIdempotency-Key: mine\nidempotency_key: mine\n"), "{passed}");
        assert!(!passed.contains("203.0.113"), "{passed}");
        let end = format!(
            "X-Empty:\nX-Forwarded-For: 192.0.2.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: shop.example\n\
             X-Request-Id: {}\nCountersign-Verdict: signature_mismatch\n",
            id.as_str()
        );
        assert!(passed.ends_with(&end), "{passed}");
    }
}
