//! Where Stripe takes a parameter: the one table of parameters that belong to a mode or to a kind of buyer. The source is
//! <https://docs.stripe.com/api/checkout/sessions/create>. It reads no configuration.

use super::values::CheckoutMode;

/// The sessions in which Stripe takes a parameter.
struct ParamScope {
    name: &'static str,
    modes: &'static [CheckoutMode],
    buyers: Buyers,
}

/// The buyers for whom Stripe takes a parameter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buyers {
    /// Any buyer.
    All,
    /// A buyer with a customer in Stripe.
    WithCustomer,
    /// A buyer without one.
    WithoutCustomer,
}

const ALL: &[CheckoutMode] = &[CheckoutMode::Payment, CheckoutMode::Subscription, CheckoutMode::Setup];
const PAYMENT: &[CheckoutMode] = &[CheckoutMode::Payment];
const SUBSCRIPTION: &[CheckoutMode] = &[CheckoutMode::Subscription];
const SETUP: &[CheckoutMode] = &[CheckoutMode::Setup];
const SOLD: &[CheckoutMode] = &[CheckoutMode::Payment, CheckoutMode::Subscription];

/// The parameters that Stripe does not take in every session. `submit_type` and `customer_creation` have the narrower scope
/// that every API version takes.
const SCOPES: [ParamScope; 10] = [
    ParamScope { name: "subscription_data", modes: SUBSCRIPTION, buyers: Buyers::All },
    ParamScope { name: "payment_method_collection", modes: SUBSCRIPTION, buyers: Buyers::All },
    ParamScope { name: "payment_intent_data", modes: PAYMENT, buyers: Buyers::All },
    ParamScope { name: "invoice_creation", modes: PAYMENT, buyers: Buyers::All },
    ParamScope { name: "submit_type", modes: PAYMENT, buyers: Buyers::All },
    ParamScope { name: "customer_creation", modes: PAYMENT, buyers: Buyers::WithoutCustomer },
    ParamScope { name: "setup_intent_data", modes: SETUP, buyers: Buyers::All },
    ParamScope { name: "optional_items", modes: SOLD, buyers: Buyers::All },
    ParamScope { name: "saved_payment_method_options", modes: SOLD, buyers: Buyers::All },
    ParamScope { name: "customer_update", modes: ALL, buyers: Buyers::WithCustomer },
];

/// Parameters of which Stripe takes at most one (the same page, under `discounts`).
pub(super) const EXCLUSIVE: [(&str, &str); 1] = [("allow_promotion_codes", "discounts")];

/// Returns whether Stripe takes a parameter in a session of this mode, for a buyer with or without a customer in Stripe.
pub fn takes_param(name: &str, mode: CheckoutMode, has_customer: bool) -> bool {
    SCOPES.iter().find(|scope| scope.name == name).is_none_or(|scope| {
        let buyer_fits = match scope.buyers {
            Buyers::All => true,
            Buyers::WithCustomer => has_customer,
            Buyers::WithoutCustomer => !has_customer,
        };
        buyer_fits && scope.modes.contains(&mode)
    })
}

/// Describes the sessions in which Stripe takes a parameter: "in payment mode, without a customer".
pub(super) fn describe_scope(name: &str) -> String {
    let Some(scope) = SCOPES.iter().find(|scope| scope.name == name) else { return "everywhere".to_owned() };
    let modes: Vec<_> = scope.modes.iter().map(|mode| mode.as_str()).collect();
    let buyer = match scope.buyers {
        Buyers::All => "",
        Buyers::WithCustomer => ", for a buyer whom [checkout.identity] customer names",
        Buyers::WithoutCustomer => ", for a buyer without a customer in Stripe",
    };
    format!("in {} mode{buyer}", modes.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_of_one_mode_or_buyer_is_taken_there_only() {
        use CheckoutMode::{Payment, Setup, Subscription};
        for (name, mode, has_customer, taken) in [
            ("subscription_data", Subscription, false, true),
            ("subscription_data", Payment, false, false),
            ("subscription_data", Setup, false, false),
            ("payment_intent_data", Payment, true, true),
            ("payment_intent_data", Subscription, true, false),
            ("invoice_creation", Subscription, false, false),
            ("submit_type", Payment, false, true),
            ("submit_type", Setup, false, false),
            ("customer_creation", Payment, false, true),
            ("customer_creation", Payment, true, false),
            ("customer_creation", Subscription, false, false),
            ("setup_intent_data", Setup, false, true),
            ("setup_intent_data", Payment, false, false),
            ("customer_update", Payment, true, true),
            ("customer_update", Payment, false, false),
            ("payment_method_collection", Payment, false, false),
            ("saved_payment_method_options", Setup, false, false),
            ("allow_promotion_codes", Setup, true, true),
        ] {
            assert_eq!(takes_param(name, mode, has_customer), taken, "{name} {mode:?} {has_customer}");
        }
    }
}
