//! The page where a buyer pays, and what a click on "Pay" sets off: the session is complete, its event is sent, the buyer
//! goes on to the shop. No card is asked for.

use super::errors::Error;
use super::events::{self, Happening};
use super::form::Tree;
use super::shop::Session;
use super::state::{Stripe, lock};
use super::wire::{Call, Reply};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long Stripe holds the buyer for the webhook's answer (docs.stripe.com/checkout/fulfillment).
const HOLD: Duration = Duration::from_secs(10);

/// A session that was paid.
#[derive(Debug, Clone)]
pub struct Paid {
    /// Where the buyer goes; nothing if the session says nothing of it.
    pub location: Option<String>,
    /// The event about it.
    pub event: Option<String>,
}

/// Answers a browser.
pub async fn serve(stripe: &Arc<Stripe>, call: &Call) -> Reply {
    let segments: Vec<&str> = call.path().split('/').skip(1).collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["c", "pay", id]) => show(stripe, id),
        ("POST", ["c", "pay", id]) => {
            let form = Tree::parse(&call.body).unwrap_or_default();
            match pay(stripe, id, form.text(&["email"]).unwrap_or_default()).await {
                Ok(Paid { location: Some(location), .. }) => Reply::see_other(&location),
                Ok(Paid { location: None, .. }) => {
                    page(200, "Thank you", "<p>It is paid. This page leads nowhere else.")
                }
                Err(_) => show(stripe, id),
            }
        }
        ("GET", [""]) => page(
            200,
            "A fake Stripe",
            "<p>No money moves here. Shops send their buyers to this place to pay.",
        ),
        _ => page(
            404,
            "Nothing here",
            "<p>Shops know the way: ask for a Checkout Session and follow its <code>url</code>.",
        ),
    }
}

/// Completes an open session, sends its event, and waits for the webhook as long as Stripe does.
pub async fn pay(stripe: &Arc<Stripe>, id: &str, email: &str) -> Result<Paid, Error> {
    let session = {
        let mut shop = lock(&stripe.shop);
        let session = shop.session_mut(id)?;
        if session.object["status"] != "open" {
            return Err(Error::invalid("session", "This Checkout Session is no longer open."));
        }
        complete(stripe, session, email);
        session.clone()
    };
    let location = ["success_url", "return_url"].iter().find_map(|name| session.object[*name].as_str());
    let location = location.map(|url| url.replace("{CHECKOUT_SESSION_ID}", id));
    let sending = {
        let stripe = stripe.clone();
        tokio::spawn(async move {
            let happening = Happening {
                kind: "checkout.session.completed",
                object: session.object,
                account: session.account,
                version: Some(session.version),
                request: Some(session.request),
            };
            events::happens(&stripe, happening).await
        })
    };
    // Dropping the handle lets it go on.
    let event = tokio::time::timeout(HOLD, sending).await.ok().and_then(Result::ok);
    Ok(Paid { location, event })
}

fn complete(stripe: &Stripe, session: &mut Session, email: &str) {
    let object = &mut session.object;
    let given = object["customer_email"].as_str().or(Some(email).filter(|email| !email.is_empty()));
    let email = given.unwrap_or("buyer@example.com").to_owned();
    let (payment, status) = match object["mode"].as_str() {
        Some("subscription") => ("subscription", "paid"),
        Some("setup") => ("setup_intent", "no_payment_required"),
        _ => ("payment_intent", "paid"),
    };
    let prefix = match payment {
        "subscription" => "sub_",
        "setup_intent" => "seti_",
        _ => "pi_",
    };
    object[payment] = json!(stripe.ids.next(prefix));
    let wants_customer = payment == "subscription" || object["customer_creation"] == "always";
    if object["customer"].is_null() && wants_customer {
        object["customer"] = json!(stripe.ids.next("cus_"));
    }
    object["customer_details"] = json!({
        "address": null, "business_name": null, "email": email, "individual_name": null, "name": null, "phone": null,
        "tax_exempt": "none", "tax_ids": [],
    });
    object["payment_status"] = json!(status);
    object["status"] = json!("complete");
    object["url"] = Value::Null;
}

fn show(stripe: &Stripe, id: &str) -> Reply {
    let shop = lock(&stripe.shop);
    let Some(session) = shop.session(id) else {
        return page(404, "No such session", "<p>It was never created here.");
    };
    let object = &session.object;
    if object["status"] != "open" {
        return page(
            410,
            "This session is over",
            "<p>It was paid, or it expired. Go back to the shop and start anew.",
        );
    }
    let rows: String = session
        .items
        .iter()
        .map(|(price, quantity)| {
            let every = if price.recurring { " a month" } else { "" };
            format!(
                "<tr><td>{quantity} × {}<td>{}{every}",
                escape(&price.product),
                amount(price.amount * quantity, &price.currency)
            )
        })
        .collect();
    let total = match (object["amount_total"].as_u64(), object["currency"].as_str()) {
        (Some(total), Some(currency)) => format!("<tr class=total><td>Total<td>{}", amount(total, currency)),
        _ => String::new(),
    };
    let email = match object["customer_email"].as_str() {
        Some(email) => format!("<p>Receipt goes to <b>{}</b>", escape(email)),
        None => "<p><label>E-mail <input name=email type=email required value=buyer@example.com></label>"
            .to_owned(),
    };
    let back = match object["cancel_url"].as_str() {
        Some(url) => format!("<p><a id=back href=\"{}\">Back to the shop</a>", escape(url)),
        None => String::new(),
    };
    let body = format!(
        "<table>{rows}{total}</table>\n<form method=post>{email}\n<p><button id=pay>Pay</button></form>\n{back}"
    );
    page(200, "Pay here, with nothing", &body)
}

fn amount(smallest: u64, currency: &str) -> String {
    format!("{}.{:02} {}", smallest / 100, smallest % 100, currency.to_uppercase())
}

fn page(status: u16, title: &str, body: &str) -> Reply {
    let page = format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\n\
         <title>{title}</title>\n\
         <style>body{{font:1em/1.5 system-ui;max-width:30em;margin:3em auto;padding:0 1em}}table{{width:100%}}\
         td:last-child{{text-align:right}}.total td{{border-top:1px solid;font-weight:bold}}\
         button{{font:inherit;padding:.5em 2em}}small{{color:#666}}</style>\n\
         <h1>{title}</h1>\n{body}\n<p><small>A fake Stripe for trying things out. No money moves.</small>\n"
    );
    Reply::html(status, &page)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
