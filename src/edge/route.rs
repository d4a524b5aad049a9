//! A request's target → where it goes. Pure.

use ipnet::IpNet;
use std::sync::Arc;

use super::path::{Guard, Judgement, Reason};
use crate::endpoint::Endpoint;

/// What routing needs to know; replaced as a whole on a reload.
pub struct Routes {
    guard: Guard,
    endpoints: Vec<Arc<Endpoint>>,
    /// Peers whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Where a request goes.
pub enum Route<'a> {
    /// To the intake.
    Webhook(&'a Arc<Endpoint>),
    /// A spelling of a webhook path that is not the path.
    Ambiguous {
        /// Which rule found it.
        reason: Reason,
        /// Whether the endpoint that it would be taken for refuses.
        enforce: bool,
    },
    /// To the backend, untouched.
    Pass,
}

impl Routes {
    /// The routes to these endpoints, each with its path.
    pub fn new(endpoints: Vec<(String, Arc<Endpoint>)>, trusted_proxies: Vec<IpNet>) -> Routes {
        let guard = Guard::new(endpoints.iter().map(|(path, _)| path.as_str()));
        let endpoints = endpoints.into_iter().map(|(_, endpoint)| endpoint).collect();
        Routes { guard, endpoints, trusted_proxies }
    }

    /// Where a request with this raw target goes.
    pub fn route(&self, target: &[u8]) -> Route<'_> {
        match self.guard.judge(target) {
            Judgement::Other => Route::Pass,
            Judgement::Webhook(index) => Route::Webhook(&self.endpoints[index]),
            Judgement::Ambiguous { reason, webhook } => {
                Route::Ambiguous { reason, enforce: self.endpoints[webhook].enforce }
            }
        }
    }
}
