//! What a checkout's configuration says in vain: parameters that Stripe takes for none of its orders. None of it is an
//! error, because such a parameter is left out.

use super::param_scope::{describe_scope, takes_param};
use super::{CheckoutConfig, CheckoutMode};

impl CheckoutConfig {
    /// Returns one sentence for each parameter that no price can use.
    pub fn unusable_params(&self) -> Vec<String> {
        if self.prices.is_empty() {
            return Vec::new();
        }
        let used = |name: &str| {
            let buyers = if self.identity.customer.is_some() { &[false, true][..] } else { &[false] };
            let modes = self.order_modes();
            modes.iter().any(|mode| buyers.iter().any(|has_customer| takes_param(name, *mode, *has_customer)))
        };
        let params = self.params.iter().map(|(name, _)| ("checkout.params.", name.as_str()));
        let copies = self.copy_metadata.iter().map(|name| ("checkout.copy_metadata: ", *name));
        let mut sentences: Vec<String> = params
            .chain(copies)
            .filter(|(_, name)| !used(name))
            .map(|(key, name)| {
                format!(
                    "{key}{name} is never sent: Stripe takes it {}, and no price can use it",
                    describe_scope(name)
                )
            })
            .collect();
        for price in &self.prices {
            if !price.params.is_empty() && price.mode.unwrap_or(self.mode) == CheckoutMode::Setup {
                sentences.push(format!(
                    "checkout.price.params of \"{}\" are never sent: its mode is setup, which has no line items",
                    price.reference.as_str()
                ));
            }
        }
        sentences
    }

    /// Returns the modes that an order may have.
    fn order_modes(&self) -> Vec<CheckoutMode> {
        let mut modes: Vec<_> = self.prices.iter().map(|price| price.mode.unwrap_or(self.mode)).collect();
        if self.mode == CheckoutMode::Setup {
            // An order without a price has the mode of the checkout.
            modes.push(self.mode);
        }
        modes
    }
}
