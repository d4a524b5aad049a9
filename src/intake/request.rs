//! What an intake is given: a webhook request, or where an imported event belongs. Pure data.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

use crate::endpoint::Endpoint;

/// A whole request to a webhook path.
pub struct WebhookRequest<'a, S> {
    /// The endpoint that the path belongs to.
    pub endpoint: &'a Arc<Endpoint>,
    /// All `Stripe-Signature` headers, as they came.
    pub signatures: S,
    /// The values of the path's variable segments, separated by `/`; empty if there are none.
    pub segments: &'a str,
    /// The raw query, without `?`; empty if there is none.
    pub query: &'a str,
    /// The body, byte for byte.
    pub body: Bytes,
    /// When the request's head was complete.
    pub arrived: Instant,
}

/// Where an imported event would have arrived.
#[derive(Clone, Copy)]
pub struct ImportTarget<'a> {
    /// The endpoint.
    pub endpoint: &'a Arc<Endpoint>,
    /// The values of the variable segments in the path of the URL at Stripe, separated by `/`. `None` means those of the
    /// endpoint's `url`.
    pub segments: Option<&'a str>,
    /// The raw query of the endpoint's URL at Stripe, without `?`; empty if there is none. It holds no white space. `None`
    /// means that of the endpoint's `url`, else of its last webhook.
    pub query: Option<&'a str>,
}
