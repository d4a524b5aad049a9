//! The label values that the program chooses, as enums. `Outcome` and `DeliveryMode` have modules of their own.
//! Each `ALL` is in the order of its enum, because the arrays of series are indexed by the variant.

/// The class of a passed-through request's status: the label `class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// `1xx`: the connection was upgraded (101), and is closed now.
    Informational,
    /// `2xx`: the request succeeded.
    Success,
    /// `3xx`: the client is to go elsewhere, or has the page already.
    Redirection,
    /// `4xx`: the request is invalid.
    ClientError,
    /// `5xx`: the backend failed, or was unreachable and the response is ours.
    ServerError,
    /// `aborted`: no response was finished, mostly because the client left.
    Aborted,
}

impl StatusClass {
    /// All classes, in the order of the enum.
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Aborted,
    ];

    /// Returns the class of an HTTP status. A status below 100 or above 599 is invalid, and counts as a server error.
    pub const fn from_status(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Aborted => "aborted",
        }
    }
}

/// The result of one delivery attempt: the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryResult {
    /// The backend returned a 2xx.
    Delivered,
    /// The backend returned any other status.
    Refused,
    /// There was no connection to the backend.
    Unreachable,
    /// There was no response within `response_timeout`.
    Timeout,
    /// The backend's response was not HTTP, or broke off.
    Invalid,
}

impl DeliveryResult {
    /// All results, in the order of the enum.
    pub const ALL: [Self; 5] =
        [Self::Delivered, Self::Refused, Self::Unreachable, Self::Timeout, Self::Invalid];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Invalid => "invalid",
        }
    }
}

/// A ledger call that a webhook or the worker waits for: the label `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LedgerOp {
    /// Asks whether an event may be delivered, and leases it.
    Claim,
    /// Records the result of a delivery.
    Settle,
    /// Stores an event with its payload for later delivery.
    Enqueue,
    /// Leases queued events that are due.
    ClaimDue,
}

impl LedgerOp {
    /// All operations, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Claim, Self::Settle, Self::Enqueue, Self::ClaimDue];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Settle => "settle",
            Self::Enqueue => "enqueue",
            Self::ClaimDue => "claim_due",
        }
    }
}

/// The result of one attempt to call Stripe's API: the label `outcome` of `stripe_api_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiResult {
    /// Stripe returned a 2xx.
    Ok,
    /// Stripe rejected the call with a 4xx.
    Refused,
    /// Stripe returned a 5xx, or something that is not Stripe responded.
    Failed,
    /// There was no connection to Stripe, or it broke off.
    Unreachable,
    /// There was no response within `timeout`.
    Timeout,
}

impl ApiResult {
    /// All results, in the order of the enum.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Refused, Self::Failed, Self::Unreachable, Self::Timeout];

    /// Returns the label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_all_is_in_the_order_of_its_enum() {
        assert!(StatusClass::ALL.iter().enumerate().all(|(i, c)| *c as usize == i));
        assert!(DeliveryResult::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
        assert!(ApiResult::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
        assert!(LedgerOp::ALL.iter().enumerate().all(|(i, o)| *o as usize == i));
    }

    #[test]
    fn a_status_has_the_class_of_its_first_digit() {
        for (status, label) in
            [(100, "1xx"), (101, "1xx"), (200, "2xx"), (299, "2xx"), (304, "3xx"), (404, "4xx"), (599, "5xx")]
        {
            assert_eq!(StatusClass::from_status(status).as_str(), label, "{status}");
        }
        assert_eq!(StatusClass::from_status(0), StatusClass::ServerError);
        assert_eq!(StatusClass::from_status(999), StatusClass::ServerError);
    }
}
