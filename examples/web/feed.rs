//! What happened, for everybody who looks: the open pages of this instance, and those of all others on the same Redis.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::aio::ConnectionManager;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, RedisError};
use tokio::sync::{broadcast, mpsc};

/// How much of the past a page is told that is opened now.
const HISTORY: usize = 2000;

/// A page that is further behind is told everything anew.
const BEHIND: usize = 1000;

/// The stream on which the instances tell each other.
const STREAM: &str = "web:timeline";

/// How long one look at the stream waits for something new.
const LOOK: usize = 1000;

/// How long a server may be quiet beyond that.
const PATIENCE: Duration = Duration::from_secs(3);

/// Times that pages are told: microseconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    u64::try_from(now).unwrap_or(u64::MAX)
}

/// One message to a page: which kind of event, and its data.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) kind: &'static str,
    pub(crate) data: Arc<str>,
}

pub(crate) struct Feed {
    outgoing: mpsc::UnboundedSender<String>,
    history: Mutex<VecDeque<Message>>,
    /// `None` is the end.
    live: broadcast::Sender<Option<Message>>,
}

impl Feed {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<String>) {
        let (outgoing, published) = mpsc::unbounded_channel();
        let (live, _) = broadcast::channel(BEHIND);
        (Arc::new(Self { outgoing, history: Mutex::default(), live }), published)
    }

    /// For one process: what is published goes to its own pages.
    pub(crate) fn in_memory() -> Arc<Self> {
        let (feed, mut published) = Self::new();
        let pages = Arc::clone(&feed);
        tokio::spawn(async move {
            while let Some(data) = published.recv().await {
                pages.remember(data);
            }
        });
        feed
    }

    /// For many: what is published goes into a stream, and what comes out of the stream to the pages. All instances see all
    /// of it, in the same order.
    pub(crate) async fn on_redis(client: &redis::Client) -> Result<Arc<Self>, RedisError> {
        let writer = client.get_connection_manager().await?;
        // A connection of its own: while it waits for something new, nothing else gets through.
        let config = redis::aio::ConnectionManagerConfig::new()
            .set_response_timeout(Some(Duration::from_millis(LOOK as u64) + PATIENCE));
        let reader = client.get_connection_manager_with_config(config).await?;
        let (feed, published) = Self::new();
        tokio::spawn(write(writer, published));
        tokio::spawn(read(reader, Arc::clone(&feed)));
        Ok(feed)
    }

    /// Does not wait, so that it may be called when something is dropped.
    pub(crate) fn publish(&self, data: String) {
        if self.outgoing.send(data).is_err() {
            eprintln!("nobody publishes any more: the runtime has ended");
        }
    }

    /// Tells the pages that are open now.
    pub(crate) fn tell(&self, kind: &'static str, data: &str) {
        self.send(Some(Message { kind, data: data.into() }));
    }

    /// Whether a page is open.
    pub(crate) fn is_watched(&self) -> bool {
        self.live.receiver_count() > 0
    }

    /// What has happened, and what will.
    pub(crate) fn watch(&self) -> (Vec<Message>, broadcast::Receiver<Option<Message>>) {
        // Both under the mutex: nothing is told twice, and nothing not at all.
        let history = self.history();
        (history.iter().cloned().collect(), self.live.subscribe())
    }

    /// Sends the pages away: a service that waits for their requests to end would never end itself.
    pub(crate) fn close(&self) {
        self.send(None);
    }

    fn remember(&self, data: String) {
        let message = Message { kind: "buyer", data: data.into() };
        let mut history = self.history();
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(message.clone());
        self.send(Some(message));
    }

    fn send(&self, message: Option<Message>) {
        // An error means that no page is open.
        let _ = self.live.send(message);
    }

    fn history(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(redis: ConnectionManager, mut published: mpsc::UnboundedReceiver<String>) {
    let mut events = Vec::new();
    while published.recv_many(&mut events, 100).await > 0 {
        let mut pipe = redis::pipe();
        for event in events.drain(..) {
            pipe.cmd("XADD").arg(STREAM).arg(&["MAXLEN", "~"]).arg(HISTORY).arg("*").arg("event").arg(event).ignore();
        }
        // What is told twice does no harm; what is not told would stay on the pages for ever.
        while let Err(error) = pipe.query_async::<()>(&mut redis.clone()).await {
            eprintln!("the timeline is not written: {error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn read(mut redis: ConnectionManager, feed: Arc<Feed>) {
    let options = StreamReadOptions::default().block(LOOK).count(100);
    let mut last = "0".to_owned();
    loop {
        let reply: Result<Option<StreamReadReply>, _> = redis.xread_options(&[STREAM], &[&last], &options).await;
        match reply {
            Ok(reply) => {
                for entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids) {
                    if let Some(event) = entry.get("event") {
                        feed.remember(event);
                    }
                    last = entry.id;
                }
            }
            Err(error) => {
                eprintln!("the timeline is not read: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
