//! The events that `send` can make: templates with the layout of Stripe's wire (two spaces, no final newline), of
//! a small shop of our own invention. It fills in what differs from event to event, and sends nothing.

/// A kind of event.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its `type`.
    pub name: &'static str,
    /// What happened.
    pub about: &'static str,
    template: &'static str,
}

/// Every kind, the default first.
pub(super) const KINDS: [Kind; 7] = [
    Kind {
        name: "checkout.session.completed",
        about: "a customer has paid at the checkout",
        template: include_str!("samples/checkout.session.completed.json"),
    },
    Kind {
        name: "customer.subscription.updated",
        about: "a subscription will end with its period",
        template: include_str!("samples/customer.subscription.updated.json"),
    },
    Kind {
        name: "customer.subscription.deleted",
        about: "a subscription has ended",
        template: include_str!("samples/customer.subscription.deleted.json"),
    },
    Kind {
        name: "invoice.paid",
        about: "a subscription was paid for another month",
        template: include_str!("samples/invoice.paid.json"),
    },
    Kind {
        name: "invoice.payment_failed",
        about: "a card was declined for a subscription",
        template: include_str!("samples/invoice.payment_failed.json"),
    },
    Kind {
        name: "payment_intent.succeeded",
        about: "a payment went through",
        template: include_str!("samples/payment_intent.succeeded.json"),
    },
    Kind {
        name: "charge.refunded",
        about: "a payment was returned in full",
        template: include_str!("samples/charge.refunded.json"),
    },
];

/// What differs from event to event.
pub(super) struct Details<'d> {
    /// `evt_…`.
    pub id: &'d str,
    /// Unix time in seconds.
    pub now: i64,
    pub livemode: bool,
    /// 24 letters and digits, for the ids of what the event is about.
    pub reference: &'d str,
}

const DAY: i64 = 24 * 60 * 60;

impl Kind {
    /// The payload.
    pub(super) fn build(&self, details: &Details) -> Vec<u8> {
        let Details { id, now, livemode, reference } = details;
        // In the templates, numbers and flags stand in quotes, so that those are JSON too.
        self.template
            .trim_end()
            .replace("\"{{now}}\"", &now.to_string())
            .replace("\"{{tomorrow}}\"", &(now + DAY).to_string())
            .replace("\"{{next_month}}\"", &(now + 30 * DAY).to_string())
            .replace("\"{{livemode}}\"", &livemode.to_string())
            .replace("{{mode}}", if *livemode { "live" } else { "test" })
            .replace("{{event}}", id)
            .replace("{{ref}}", reference)
            .replace("{{short}}", reference.get(..14).unwrap_or(reference))
            .into_bytes()
    }
}

/// A letter or digit for each random byte, as Stripe's ids have them.
pub(super) fn letters(random: &[u8]) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    random.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_kind_makes_an_event_of_its_type_with_nothing_left_to_fill_in() {
        for kind in &KINDS {
            for livemode in [true, false] {
                let details =
                    Details { id: "evt_1x", now: 1_800_000_000, livemode, reference: &letters(&[7; 24]) };
                let payload = kind.build(&details);
                assert!(
                    payload.starts_with(b"{\n  \"id\": \"evt_1x\",\n  \"object\": \"event\"")
                        && payload.ends_with(b"\n}")
                );
                let text = String::from_utf8(payload).unwrap();
                assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
                let event: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(event["type"], kind.name);
                assert_eq!(event["created"], 1_800_000_000);
                assert_eq!(event["livemode"], livemode);
                assert_eq!(event["data"]["object"]["livemode"], livemode);
                assert_eq!(event["data"]["object"]["customer"], "cus_T4bQ9wAdaLinden");
            }
        }
    }

    #[test]
    fn an_id_has_as_many_letters_as_random_bytes() {
        assert_eq!(letters(&[0, 61, 62, 255]), "0z07");
    }
}
