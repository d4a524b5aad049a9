//! The status of a session, asked of Stripe within the limit of status polls. `status_cache` decides whether it is asked.

use super::disposition::{OrderDisposition, OrderResult};
use super::{Checkout, order_result, session};
use crate::stripe_api::ApiError;

impl Checkout {
    /// Returns the status of a session, as Stripe told it a second ago at most. The caller has checked the id with
    /// [`session::is_session_id`].
    pub async fn status(&self, id: &str) -> OrderResult {
        self.memory.statuses.get_or_ask(id, self.ask_status(id)).await
    }

    /// Asks Stripe for the status of a session.
    async fn ask_status(&self, id: &str) -> OrderResult {
        let known = self.memory.accounts.get(id);
        let mut apis: Vec<_> = self.apis.iter().collect();
        // Another process may have created the session, or this one before a restart. Then each account is asked.
        apis.sort_by_key(|(account, _)| known.as_ref().is_some_and(|known| known != account));
        let mut result = OrderResult::without_call(OrderDisposition::SessionNotFound);
        for (_, api) in apis {
            let call = api.poll(&format!("{}/{id}", session::PATH)).await;
            result = order_result(call, |body| session::parse_status(body).map(OrderDisposition::Status));
            match &result.disposition {
                OrderDisposition::Failed(ApiError::Rejected(error)) if error.status == 404 => {
                    result.disposition = OrderDisposition::SessionNotFound;
                }
                OrderDisposition::Failed(_)
                | OrderDisposition::Status(_)
                | OrderDisposition::Created(_)
                | OrderDisposition::Rejected(_)
                | OrderDisposition::SessionNotFound => return result,
            }
        }
        result
    }
}
