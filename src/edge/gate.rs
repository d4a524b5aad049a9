//! How many webhooks, or orders, are being read or delivered at once. A body that dawdles must not lock Stripe out: when
//! every place is taken, the webhook that has been waiting longest for its body makes room for the one that has come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long the place of one that was sent away may take to come free.
const HANDOVER: Duration = Duration::from_millis(500);

/// The places.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    dawdlers: Mutex<VecDeque<Arc<Notify>>>,
}

/// A place at the gate, given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    /// Set while its body is being waited for.
    dawdling: Option<Arc<Notify>>,
    _place: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate with this many places.
    pub fn new(places: usize) -> Arc<Gate> {
        Arc::new(Gate { places: Arc::new(Semaphore::new(places)), dawdlers: Mutex::default() })
    }

    /// A place, if need be the longest dawdler's; `None` if all are taken by deliveries.
    pub async fn enter(self: &Arc<Gate>) -> Option<Pass> {
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let longest = self.dawdlers().pop_front()?;
                longest.notify_one();
                timeout(HANDOVER, self.places.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        Some(Pass { gate: self.clone(), dawdling: None, _place: place })
    }

    fn dawdlers(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        // Nothing panics while it holds the lock.
        self.dawdlers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Waits to be sent away. To be polled while a body has not arrived, and only then: from its first poll until
    /// [`Pass::stay`] the place can be taken.
    pub async fn sent_away(&mut self) {
        let notify = self.dawdling.get_or_insert_with(|| {
            let notify = Arc::new(Notify::new());
            self.gate.dawdlers().push_back(notify.clone());
            notify
        });
        notify.notified().await;
    }

    /// The body is here: the place is kept until the end.
    pub fn stay(&mut self) {
        if let Some(mine) = self.dawdling.take() {
            self.gate.dawdlers().retain(|other| !Arc::ptr_eq(other, &mine));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.stay();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[tokio::test]
    async fn deliveries_keep_their_places() {
        let gate = Gate::new(1);
        let mut pass = gate.enter().await.unwrap();
        pass.stay();
        assert!(gate.enter().await.is_none());
        drop(pass);
        assert!(gate.enter().await.is_some());
    }

    #[tokio::test]
    async fn the_longest_dawdler_makes_room() {
        let gate = Gate::new(2);
        let (mut first, mut second) = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(first.sent_away()).poll(&mut cx).is_pending());
        assert!(pin!(second.sent_away()).poll(&mut cx).is_pending());
        let (third, ()) = tokio::join!(gate.enter(), async {
            first.sent_away().await;
            drop(first);
        });
        assert!(third.is_some());
        assert!(pin!(second.sent_away()).poll(&mut cx).is_pending(), "the second was not sent away");
    }

    #[tokio::test]
    async fn one_whose_body_came_is_no_dawdler() {
        let gate = Gate::new(1);
        let mut pass = gate.enter().await.unwrap();
        assert!(pin!(pass.sent_away()).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        pass.stay();
        assert!(gate.enter().await.is_none());
    }
}
