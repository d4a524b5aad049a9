//! The products whose way of telling a webhook is known from their public source. It holds facts only; `query` applies
//! them.

/// A product with a front controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// WooCommerce with its Stripe gateway: `/?wc-api=wc_stripe`.
    ///
    /// `WC_API` takes `wc-api` through `sanitize_key`, which lowers it and drops all but `a-z0-9_-`, and calls
    /// `add_rewrite_endpoint('wc-api', EP_ALL)`: `/any/wc-api/wc_stripe/` means the same
    /// (woocommerce/woocommerce, `includes/class-wc-api.php`). WordPress fills a query variable from a form, too
    /// (WordPress/WordPress, `wp-includes/class-wp.php`).
    WooCommerce,
    /// Gravity Forms with its Stripe add-on: `/?callback=gravityformsstripe`.
    ///
    /// `GFPaymentAddOn::is_callback_valid` compares `callback` with the add-on's slug (its
    /// `includes/addon/class-gf-payment-addon.php`).
    GravityForms,
    /// Easy Digital Downloads with Stripe: `/?edd-listener=stripe`.
    ///
    /// `edds_stripe_event_listener` runs on every path and compares `$_GET['edd-listener']` with `stripe`
    /// (awesomemotive/easy-digital-downloads, `includes/gateways/stripe/includes/webhooks.php`).
    Edd,
    /// Joomla: `/index.php?option=…&task=…`, whose pairs depend on the component.
    ///
    /// `getCmd` drops all but `A-Za-z0-9._-` (joomla-framework/filter, `src/InputFilter.php`). The router takes `option`
    /// from `/component/NAME` on every path, and otherwise from the menu item that the path, `Itemid` or the home page
    /// selects (joomla/joomla-cms, `libraries/src/Router/SiteRouter.php`).
    Joomla,
}

impl Preset {
    /// Returns the path of the product's webhook.
    pub const fn path(self) -> &'static str {
        match self {
            Self::WooCommerce | Self::GravityForms | Self::Edd => "/",
            Self::Joomla => "/index.php",
        }
    }

    /// Returns the query of the product's webhook, or `None` if the configuration has to say it.
    pub const fn query(self) -> Option<&'static str> {
        match self {
            Self::WooCommerce => Some("wc-api=wc_stripe"),
            Self::GravityForms => Some("callback=gravityformsstripe"),
            Self::Edd => Some("edd-listener=stripe"),
            Self::Joomla => None,
        }
    }
}
