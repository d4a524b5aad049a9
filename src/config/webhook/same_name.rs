//! Sections that share a name: they are one endpoint, which is told in two ways.

use super::WebhookConfig;
use crate::config::reader::Section;
use secrecy::{ExposeSecret, SecretString};

/// Makes one endpoint of the sections that share a name. Reports the keys on which they do not agree.
pub(crate) fn merge_same_names(webhooks: Vec<WebhookConfig>, sections: &[Section]) -> Vec<WebhookConfig> {
    let mut merged: Vec<(WebhookConfig, Option<usize>)> = Vec::new();
    for (webhook, section) in webhooks.into_iter().zip(sections) {
        let Some((first, line)) = merged.iter_mut().find(|(known, _)| known.name == webhook.name) else {
            merged.push((webhook, section.line()));
            continue;
        };
        for key in different_keys(first, &webhook) {
            section.report(
                key,
                format!(
                    "another value than that of the endpoint{}",
                    line.map(|line| format!(" on line {line}")).unwrap_or_default()
                ),
                "the same value in both",
                format!(
                    "two [[webhook]] with the name \"{}\" are one endpoint: give one of them another name",
                    webhook.name
                ),
            );
        }
        first.locations.extend(webhook.locations);
        first.url = first.url.take().or(webhook.url);
    }
    merged.into_iter().map(|(webhook, _)| webhook).collect()
}

/// Returns the keys whose values differ, besides those that tell the webhook.
fn different_keys(one: &WebhookConfig, other: &WebhookConfig) -> Vec<&'static str> {
    let exposed = |secrets: &[SecretString]| -> Vec<String> {
        secrets.iter().map(|secret| secret.expose_secret().to_owned()).collect()
    };
    let keys = [
        ("allowed_queries", one.allowed_queries == other.allowed_queries),
        // Each section has a path of its own, so its URL cannot be repeated in the other one.
        ("url", one.url.is_none() || other.url.is_none() || one.url == other.url),
        ("secrets", exposed(&one.secrets) == exposed(&other.secrets)),
        ("delivery_secret", exposed(&one.delivery_secrets) == exposed(&other.delivery_secrets)),
        ("tolerance", one.tolerance == other.tolerance),
        ("max_body", one.max_body == other.max_body),
        ("body_timeout", one.body_timeout == other.body_timeout),
        ("enforce", one.enforce == other.enforce),
        ("types", one.types == other.types),
        ("livemode", one.livemode == other.livemode),
        ("accounts", one.accounts == other.accounts),
        ("delivery", one.delivery == other.delivery),
        ("deadline", one.deadline == other.deadline),
        ("retry", one.retry == other.retry),
        ("jitter", one.jitter == other.jitter),
        ("max_concurrent", one.max_concurrent == other.max_concurrent),
        ("max_inline", one.max_inline == other.max_inline),
        ("rule", one.rules == other.rules),
    ];
    keys.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}
