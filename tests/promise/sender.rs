//! Stripe, which sends an event until it gets a 2xx, at the address that the program has by then.

use crate::harness::{Address, Client, Event};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The pause between two sends of an event. Stripe's own is longer.
const RESEND_INTERVAL: Duration = Duration::from_millis(100);

/// The program's address, or `None` while it is down.
pub type CurrentAddress = watch::Receiver<Option<Address>>;

/// Sends an event until it is acknowledged, and returns how often it was sent.
pub async fn until_acknowledged(event: &Event, target: &str, mut address: CurrentAddress) -> usize {
    for sent in 1.. {
        let address = match address.wait_for(Option::is_some).await {
            Ok(address) => address.clone(),
            Err(_) => panic!("the program is gone for good"),
        };
        if let Some(address) = address
            && send_once(event, target, &address).await.is_ok_and(|status| (200..300).contains(&status))
        {
            return sent;
        }
        sleep(RESEND_INTERVAL).await;
    }
    unreachable!("it goes on until then")
}

async fn send_once(event: &Event, target: &str, address: &Address) -> std::io::Result<u16> {
    let mut client = Client::try_connect(address).await?;
    client.try_write(event.signed().target(target).bytes()).await?;
    Ok(client.try_response().await?.status)
}
