//! The HTML page on which a buyer pays for a session. The page asks for no card. `payment` does what its button sets off.

use super::call::Call;
use super::form::Tree;
use super::lock::lock;
use super::payment::{Payment, pay};
use super::response::Response;
use super::state::State;
use super::store::Session;
use std::sync::Arc;

/// Handles a request of a browser.
pub async fn handle(state: &Arc<State>, call: &Call) -> Response {
    let segments: Vec<&str> = call.path().split('/').skip(1).collect();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["c", "pay", id]) => show(state, id),
        ("POST", ["c", "pay", id]) => {
            let form = Tree::parse(&call.body).unwrap_or_default();
            match pay(state, id, form.text(&["email"]).unwrap_or_default()).await {
                Ok(Payment { location: Some(location), .. }) => Response::see_other(&location),
                Ok(Payment { location: None, .. }) => {
                    page(200, "Thank you", "<p>It is paid. This page leads nowhere else.")
                }
                // The page of a session that cannot be paid says why.
                Err(_) => show(state, id),
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

/// Returns the page of a session, or a page that says why there is none.
fn show(state: &State, id: &str) -> Response {
    let store = lock(&state.store);
    let Some(session) = store.sessions.get(id) else {
        return page(404, "No such session", "<p>It was never created here.");
    };
    if session.object["status"] != "open" {
        return page(
            410,
            "This session is over",
            "<p>It was paid, or it expired. Go back to the shop and start again.",
        );
    }
    page(200, "Pay here, with nothing", &session_form(session))
}

/// Returns the form of an open session: what is bought, the buyer's address, and the button.
fn session_form(session: &Session) -> String {
    let object = &session.object;
    let rows: String = session
        .items
        .iter()
        .map(|item| {
            let price = &item.price;
            let interval = if price.recurring { " a month" } else { "" };
            let (product, amount) = (escape(&price.product), display_amount(item.amount(), &price.currency));
            match item.quantity {
                Some(quantity) => format!("<tr><td>{quantity} × {product}<td>{amount}{interval}"),
                None => format!("<tr><td>{product}<td>by use"),
            }
        })
        .collect();
    let total = match (object["amount_total"].as_u64(), object["currency"].as_str()) {
        (Some(total), Some(currency)) => {
            format!("<tr class=total><td>Total<td>{}", display_amount(total, currency))
        }
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
    format!(
        "<table>{rows}{total}</table>\n<form method=post>{email}\n<p><button id=pay>Pay</button></form>\n{back}"
    )
}

/// Formats an amount that is given in hundredths: `24.00 EUR`.
fn display_amount(hundredths: u64, currency: &str) -> String {
    format!("{}.{:02} {}", hundredths / 100, hundredths % 100, currency.to_uppercase())
}

fn page(status: u16, title: &str, body: &str) -> Response {
    let page = format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\n\
         <title>{title}</title>\n\
         <style>body{{font:1em/1.5 system-ui;max-width:30em;margin:3em auto;padding:0 1em}}table{{width:100%}}\
         td:last-child{{text-align:right}}.total td{{border-top:1px solid;font-weight:bold}}\
         button{{font:inherit;padding:.5em 2em}}small{{color:#666}}</style>\n\
         <h1>{title}</h1>\n{body}\n<p><small>A fake Stripe for trying things out. No money moves.</small>\n"
    );
    Response::html(status, &page)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
