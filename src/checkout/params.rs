//! The parameters that create a Checkout Session: those of the order and the buyer, and the configured ones where Stripe
//! takes them. Pure: `stripe_api` makes the call.

use super::identity::Identity;
use super::order::{LineItem, Order};
use crate::config::{CheckoutConfig, takes_param};
use crate::stripe::form::{Param, Params};
use crate::stripe::locale::nearest_locale;

/// Returns the parameters that create a session, which expires at `expires_at` (Unix seconds). The buyer's verified identity
/// overrides what the client sent. Configured parameters are added, but never replace a parameter that the order set:
/// clients may set only `locale` and metadata.
pub(super) fn session_params(
    order: Order,
    buyer: &Identity,
    config: &CheckoutConfig,
    expires_at: Option<u64>,
) -> Params {
    let mut params = Params::new();
    let mut add = |key: &str, value: Option<Param>| {
        if let Some(value) = value {
            params.push((key.to_owned(), value));
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Param::from);
    let mode = order.mode;
    add("mode", Some(mode.as_str().into()));
    add("ui_mode", config.ui_mode.as_str().map(Param::from));
    add(
        "line_items",
        (!order.items.is_empty()).then(|| Param::List(order.items.into_iter().map(line_item).collect())),
    );
    add("success_url", text(&config.success_url));
    add("cancel_url", text(&config.cancel_url));
    add("return_url", text(&config.return_url));
    add("expires_at", expires_at.map(Param::from));
    add("customer", text(&buyer.customer));
    if buyer.customer.is_none() {
        // Stripe accepts either `customer` or `customer_email`; a customer already has an address.
        add("customer_email", text(&buyer.customer_email).or_else(|| text(&order.customer_email)));
    }
    let reference = text(&buyer.client_reference_id).or_else(|| text(&order.client_reference_id));
    add("client_reference_id", reference);
    let metadata = order.metadata.into_iter().map(|(key, value)| (key, Param::Text(value))).collect();
    add("locale", text(&order.locale));
    add("metadata", Some(Param::Table(metadata)));
    let is_taken = |name: &str| takes_param(name, mode, buyer.customer.is_some());
    for (key, value) in config.params.iter().filter(|(key, _)| is_taken(key)) {
        add_missing(&mut params, key, value);
    }
    copy_metadata(&mut params, config.copy_metadata.iter().copied().filter(|name| is_taken(name)));
    // Stripe refuses a whole order for a locale that it lacks.
    for (_, value) in params.iter_mut().filter(|(key, _)| key == "locale") {
        if let Param::Text(tag) = value {
            *tag = nearest_locale(tag).to_owned();
        }
    }
    params
}

fn line_item(item: LineItem) -> Param {
    let mut params = vec![("price".to_owned(), Param::from(&*item.price))];
    params.extend(item.quantity.map(|quantity| ("quantity".to_owned(), Param::from(quantity))));
    params.extend(item.params);
    Param::Table(params)
}

/// Adds a configured parameter. In tables such as `metadata` it adds the keys that are not set yet.
fn add_missing(params: &mut Params, key: &str, value: &Param) {
    match (params.iter_mut().find(|(existing, _)| existing == key), value) {
        (None, value) => params.push((key.to_owned(), value.clone())),
        (Some((_, Param::Table(existing))), Param::Table(more)) => {
            let is_new = |(key, _): &&(String, Param)| !existing.iter().any(|(other, _)| other == key);
            let new: Params = more.iter().filter(is_new).cloned().collect();
            existing.extend(new);
        }
        (Some(_), _) => {}
    }
}

/// Copies the session's metadata into the `metadata` of each target. Keys that the configuration sets there stay.
fn copy_metadata(params: &mut Params, targets: impl Iterator<Item = &'static str>) {
    let metadata = params.iter().find(|(key, _)| key == "metadata").map(|(_, value)| value.clone());
    let Some(Param::Table(metadata)) = metadata.filter(|value| *value != Param::Table(Params::new())) else {
        return;
    };
    for target in targets {
        add_missing(params, target, &Param::Table(Params::new()));
        if let Some((_, Param::Table(table))) = params.iter_mut().find(|(key, _)| key == target) {
            add_missing(table, "metadata", &Param::Table(metadata.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout::order::OrderEncoding;
    use crate::checkout::price_ids::PriceIds;
    use crate::checkout::testing::checkout_config;
    use crate::stripe::form;

    /// Returns the encoded parameters of an order, one an element.
    fn encoded_params(checkout: &str, buyer: &Identity, body: &str) -> Vec<String> {
        let config = checkout_config(checkout);
        let order =
            Order::parse(OrderEncoding::Json, body.as_bytes(), &config, &PriceIds::default()).unwrap();
        form::encode(&session_params(order, buyer, &config, None)).split('&').map(str::to_owned).collect()
    }

    const HOSTED: &str = r#"
        success_url = "https://shop.example/thanks?session_id={CHECKOUT_SESSION_ID}"
        [[checkout.price]]
        id = "price_pro"
        name = "pro"
        max = 9
    "#;

    #[test]
    fn a_hosted_session_has_mode_line_items_and_success_url() {
        let params = encoded_params(HOSTED, &Identity::default(), r#"{"price": "pro", "quantity": 3}"#);
        assert_eq!(
            params,
            [
                "mode=payment",
                "line_items[0][price]=price_pro",
                "line_items[0][quantity]=3",
                "success_url=https%3A%2F%2Fshop.example%2Fthanks%3Fsession_id%3D%7BCHECKOUT_SESSION_ID%7D",
            ]
        );
    }

    #[test]
    fn an_embedded_session_has_ui_mode_and_return_url() {
        let config = r#"
            ui_mode = "embedded_page"
            mode = "subscription"
            return_url = "https://shop.example/back"
            [[checkout.price]]
            id = "price_1"
        "#;
        assert_eq!(
            encoded_params(config, &Identity::default(), r#"{"price": "price_1"}"#),
            [
                "mode=subscription",
                "ui_mode=embedded_page",
                "line_items[0][price]=price_1",
                "line_items[0][quantity]=1",
                "return_url=https%3A%2F%2Fshop.example%2Fback",
            ]
        );
    }

    #[test]
    fn the_verified_identity_overrides_what_the_client_sent() {
        let body = r#"{"price": "pro", "customer_email": "evil@b.example", "client_reference_id": "admin"}"#;
        let own = |text: &str| Some(text.to_owned());
        let rest = |buyer: Identity| encoded_params(HOSTED, &buyer, body)[4..].to_vec();
        for (buyer, expected) in [
            (Identity::default(), vec!["customer_email=evil%40b.example", "client_reference_id=admin"]),
            (
                Identity {
                    client_reference_id: own("42"),
                    customer_email: own("a@b.example"),
                    customer: None,
                },
                vec!["customer_email=a%40b.example", "client_reference_id=42"],
            ),
            (
                Identity {
                    customer: own("cus_1"),
                    customer_email: own("a@b.example"),
                    client_reference_id: None,
                },
                vec!["customer=cus_1", "client_reference_id=admin"],
            ),
        ] {
            assert_eq!(rest(buyer), expected);
        }
    }

    #[test]
    fn configured_parameters_are_added_and_clients_override_only_locale_and_metadata() {
        let config = format!(
            r#"metadata = ["size"]
            {HOSTED}
            [checkout.params]
            allow_promotion_codes = true
            locale = "de"
            automatic_tax = {{ enabled = true }}
            payment_method_types = ["card", "link"]
            metadata = {{ shop = "north", size = "M" }}
            "#
        );
        let tail = |body: &str| {
            let mut tail = encoded_params(&config, &Identity::default(), body)[4..].to_vec();
            tail.sort();
            tail
        };
        let common = [
            "allow_promotion_codes=true",
            "automatic_tax[enabled]=true",
            "payment_method_types[0]=card",
            "payment_method_types[1]=link",
            "metadata[shop]=north",
        ];
        for (body, own) in [
            (r#"{"price": "pro"}"#, ["locale=de", "metadata[size]=M"]),
            (
                r#"{"price": "pro", "locale": "fr", "metadata": {"size": "L"}}"#,
                ["locale=fr", "metadata[size]=L"],
            ),
        ] {
            let mut expected = [&common[..], &own].concat();
            expected.sort_unstable();
            assert_eq!(tail(body), expected, "{body}");
        }
    }

    #[test]
    fn metadata_is_copied_where_the_mode_has_a_place_for_it_and_replaces_nothing() {
        let config = format!(
            r#"copy_metadata = ["payment_intent_data", "subscription_data"]
            metadata = ["size", "shop"]
            {HOSTED}
            [[checkout.price]]
            id = "price_club"
            mode = "subscription"
            [checkout.params]
            metadata = {{ source = "site" }}
            payment_intent_data = {{ description = "a mug", metadata = {{ shop = "north" }} }}
            "#
        );
        let tail = |body: &str| {
            let mut tail = encoded_params(&config, &Identity::default(), body)[4..].to_vec();
            tail.sort();
            tail
        };
        let metadata = ["metadata[shop]=x", "metadata[size]=L", "metadata[source]=site"];
        let order =
            |price: &str| format!(r#"{{"price": "{price}", "metadata": {{"size": "L", "shop": "x"}}}}"#);
        let payment = [
            &metadata[..],
            &[
                "payment_intent_data[description]=a%20mug",
                "payment_intent_data[metadata][shop]=north",
                "payment_intent_data[metadata][size]=L",
                "payment_intent_data[metadata][source]=site",
            ],
        ];
        assert_eq!(tail(&order("pro")), payment.concat());
        let subscription = [
            &metadata[..],
            &[
                "subscription_data[metadata][shop]=x",
                "subscription_data[metadata][size]=L",
                "subscription_data[metadata][source]=site",
            ],
        ];
        assert_eq!(tail(&order("price_club")), subscription.concat());
    }
}
