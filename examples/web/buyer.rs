//! A buyer, and what the page is told of it: when it began to wait, when it was let in, when it left.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::crowd::{Crowd, Manners};
use crate::feed::{Feed, now};
use crate::sale::Sale;

/// How long paying takes whom nothing holds up.
const PAYING: Duration = Duration::from_millis(60);

/// How long the payment of a buyer takes who stalls: longer than the lease.
const STALLING: Duration = Duration::from_secs(5);

/// From now on, it waits to be let in.
pub(crate) struct Buyer {
    feed: Arc<Feed>,
    instance: Arc<str>,
    number: u64,
    id: String,
    /// With whom it came, and how many they are.
    crowd: (String, u32),
    /// The key of the lock that it waits for, if it does.
    lock: Option<String>,
    payment: Duration,
    entered: AtomicBool,
}

impl Buyer {
    pub(crate) fn arrives(sale: &Sale, crowd: &Crowd) -> Self {
        let number = sale.next_buyer();
        let lock = (crowd.manners != Manners::Unlocked).then(|| sale.key());
        let payment = match crowd.manners {
            Manners::Stalling => STALLING,
            // Some are quicker than others.
            Manners::Locked | Manners::Unlocked => PAYING + Duration::from_millis(number * 17 % 60),
        };
        let (feed, instance) = (Arc::clone(&sale.feed), Arc::clone(&sale.instance));
        // An instance that is started anew counts from the beginning again.
        let process = std::process::id();
        let id = format!("{instance}-{process}-{number}");
        let crowd = (format!("{instance}-{process}-{}", crowd.number), crowd.size);
        let buyer = Self { feed, instance, number, id, crowd, lock, payment, entered: AtomicBool::new(false) };
        buyer.tell("waiting");
        buyer
    }

    /// To be called by the body that the lock protects.
    pub(crate) fn enters(&self) -> Inside<'_> {
        self.entered.store(true, Ordering::Relaxed);
        self.tell("holding");
        Inside { buyer: self, outcome: None }
    }

    /// The card terminal takes its time.
    pub(crate) async fn pays(&self) {
        tokio::time::sleep(self.payment).await;
    }

    fn tell(&self, state: &str) {
        let event = json!({
            "id": self.id, "buyer": self.number, "instance": &*self.instance, "lock": self.lock,
            "crowd": self.crowd.0, "size": self.crowd.1,
            "state": state, "at": now(),
        });
        self.feed.publish(event.to_string());
    }
}

/// What others read about the holder of the lock.
impl fmt::Display for Buyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buyer {} of instance {}", self.number, self.instance)
    }
}

impl Drop for Buyer {
    fn drop(&mut self) {
        if !self.entered.load(Ordering::Relaxed) {
            self.tell("gave up");
        }
    }
}

/// A buyer who was let in.
///
/// It is a local of the body, and such are dropped before the lock is given back, however the body ends. So it is never
/// seen inside together with the next one; and if the lease ends before the body does, this is how it learns of that.
pub(crate) struct Inside<'a> {
    buyer: &'a Buyer,
    outcome: Option<&'static str>,
}

impl Inside<'_> {
    pub(crate) fn leaves_with_one(mut self) {
        self.outcome = Some("sold");
    }

    pub(crate) fn leaves_without(mut self) {
        self.outcome = Some("sold out");
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.buyer.tell(self.outcome.unwrap_or("lost"));
    }
}
