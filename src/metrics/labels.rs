//! The label values that are ours to choose, as enums; `Outcome` is the one that lives elsewhere.
//! Each `ALL` is in the order of its enum: the arrays of resolved series are laid out by it.

/// How a passed-through request ended: the `class` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// `1xx`: an upgrade (101), once it is over.
    Informational,
    /// `2xx`.
    Success,
    /// `3xx`.
    Redirection,
    /// `4xx`.
    ClientError,
    /// `5xx`, the backend's own and ours for a backend out of reach.
    ServerError,
    /// `aborted`: no answer was finished, mostly because the client left.
    Aborted,
}

impl StatusClass {
    /// Every class, in the order of the enum.
    pub const ALL: [StatusClass; 6] = [
        StatusClass::Informational,
        StatusClass::Success,
        StatusClass::Redirection,
        StatusClass::ClientError,
        StatusClass::ServerError,
        StatusClass::Aborted,
    ];

    /// The class of an HTTP status; one that is below 100 or above 599 is a server's fault.
    pub const fn from_status(status: u16) -> StatusClass {
        match status {
            100..=199 => StatusClass::Informational,
            200..=299 => StatusClass::Success,
            300..=399 => StatusClass::Redirection,
            400..=499 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        }
    }

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            StatusClass::Informational => "1xx",
            StatusClass::Success => "2xx",
            StatusClass::Redirection => "3xx",
            StatusClass::ClientError => "4xx",
            StatusClass::ServerError => "5xx",
            StatusClass::Aborted => "aborted",
        }
    }
}

/// What came of one delivery attempt: the `result` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryResult {
    /// The backend answered 2xx.
    Delivered,
    /// It answered any other status.
    Refused,
    /// No connection to it.
    Unreachable,
    /// No answer within `response_timeout`.
    Timeout,
    /// It answered something that is not HTTP, or broke off.
    Invalid,
}

impl DeliveryResult {
    /// Every result, in the order of the enum.
    pub const ALL: [DeliveryResult; 5] = [
        DeliveryResult::Delivered,
        DeliveryResult::Refused,
        DeliveryResult::Unreachable,
        DeliveryResult::Timeout,
        DeliveryResult::Invalid,
    ];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            DeliveryResult::Delivered => "delivered",
            DeliveryResult::Refused => "refused",
            DeliveryResult::Unreachable => "unreachable",
            DeliveryResult::Timeout => "timeout",
            DeliveryResult::Invalid => "invalid",
        }
    }
}

/// A call of the ledger that a webhook or the worker waits for: the `op` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LedgerOp {
    /// Asking whether an event may be delivered, and leasing it.
    Claim,
    /// Recording what came of it.
    Settle,
    /// Taking an event in with its payload.
    Enqueue,
    /// Leasing kept events that are due.
    ClaimDue,
}

impl LedgerOp {
    /// Every operation, in the order of the enum.
    pub const ALL: [LedgerOp; 4] = [LedgerOp::Claim, LedgerOp::Settle, LedgerOp::Enqueue, LedgerOp::ClaimDue];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            LedgerOp::Claim => "claim",
            LedgerOp::Settle => "settle",
            LedgerOp::Enqueue => "enqueue",
            LedgerOp::ClaimDue => "claim_due",
        }
    }
}

/// What came of one attempt at Stripe's API: the `outcome` label of `stripe_api_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiResult {
    /// A 2xx.
    Ok,
    /// Stripe said no: a 4xx.
    Refused,
    /// A 5xx, or an answer that is none of Stripe's.
    Failed,
    /// No connection, or it broke off.
    Unreachable,
    /// No answer within `timeout`.
    Timeout,
}

impl ApiResult {
    /// Every result, in the order of the enum.
    pub const ALL: [ApiResult; 5] =
        [ApiResult::Ok, ApiResult::Refused, ApiResult::Failed, ApiResult::Unreachable, ApiResult::Timeout];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            ApiResult::Ok => "ok",
            ApiResult::Refused => "refused",
            ApiResult::Failed => "failed",
            ApiResult::Unreachable => "unreachable",
            ApiResult::Timeout => "timeout",
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
