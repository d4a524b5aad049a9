//! The label values that are ours to choose, as enums; `Outcome` is the one that lives elsewhere.
//! Each `ALL` is in the order of its enum: the arrays of resolved series are laid out by it.

/// How a passed-through request ended: the `class` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
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

impl Class {
    /// Every class, in the order of the enum.
    pub const ALL: [Class; 6] = [
        Class::Informational,
        Class::Success,
        Class::Redirection,
        Class::ClientError,
        Class::ServerError,
        Class::Aborted,
    ];

    /// The class of an HTTP status; one that is below 100 or above 599 is a server's fault.
    pub const fn of(status: u16) -> Class {
        match status {
            100..=199 => Class::Informational,
            200..=299 => Class::Success,
            300..=399 => Class::Redirection,
            400..=499 => Class::ClientError,
            _ => Class::ServerError,
        }
    }

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Class::Informational => "1xx",
            Class::Success => "2xx",
            Class::Redirection => "3xx",
            Class::ClientError => "4xx",
            Class::ServerError => "5xx",
            Class::Aborted => "aborted",
        }
    }
}

/// Which way a delivery went: the `mode` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// While Stripe waits for the backend's own answer.
    Inline,
    /// After Stripe had its answer.
    Queued,
    /// While Stripe waits for a while, and afterwards.
    Hybrid,
    /// Because an operator asked for it.
    Redelivery,
}

impl Mode {
    /// Every mode, in the order of the enum.
    pub const ALL: [Mode; 4] = [Mode::Inline, Mode::Queued, Mode::Hybrid, Mode::Redelivery];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Mode::Inline => "inline",
            Mode::Queued => "queued",
            Mode::Hybrid => "hybrid",
            Mode::Redelivery => "redelivery",
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
    pub const fn label(self) -> &'static str {
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
    Keep,
    /// Leasing kept events that are due.
    Due,
}

impl LedgerOp {
    /// Every operation, in the order of the enum.
    pub const ALL: [LedgerOp; 4] = [LedgerOp::Claim, LedgerOp::Settle, LedgerOp::Keep, LedgerOp::Due];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            LedgerOp::Claim => "claim",
            LedgerOp::Settle => "settle",
            LedgerOp::Keep => "keep",
            LedgerOp::Due => "due",
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
    pub const fn label(self) -> &'static str {
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
        assert!(Class::ALL.iter().enumerate().all(|(i, c)| *c as usize == i));
        assert!(Mode::ALL.iter().enumerate().all(|(i, m)| *m as usize == i));
        assert!(DeliveryResult::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
        assert!(ApiResult::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
        assert!(LedgerOp::ALL.iter().enumerate().all(|(i, o)| *o as usize == i));
    }

    #[test]
    fn a_status_has_the_class_of_its_first_digit() {
        for (status, label) in
            [(100, "1xx"), (101, "1xx"), (200, "2xx"), (299, "2xx"), (304, "3xx"), (404, "4xx"), (599, "5xx")]
        {
            assert_eq!(Class::of(status).label(), label, "{status}");
        }
        assert_eq!(Class::of(0), Class::ServerError);
        assert_eq!(Class::of(999), Class::ServerError);
    }
}
