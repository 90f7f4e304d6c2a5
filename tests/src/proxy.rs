//! A network between a client and its server that misbehaves on command.

mod relay;

use std::collections::VecDeque;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::sometimes::{Count, Sometimes};

/// One of the two directions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

/// What a connection through a [`Proxy`] does with the messages of one [`Way`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Passes them on.
    Pass,
    /// Keeps them, in order, until the conduct changes: the server sees a silent client, the client a silent server.
    Hold,
    /// Forgets them.
    Drop,
    /// Forgets those that answer nothing, which a server sends to whoever listens to a channel; passes on the others.
    DropNotes,
    /// Passes each of them on this much later.
    Delay(Duration),
    /// Closes both sides, for good. What was held is lost.
    Cut,
    /// Passes on so many bytes of the next message, then closes both sides.
    CutAfter(usize),
    /// Closes both sides with a reset (RST) instead of an orderly end.
    Reset,
    /// Tells the receiver that nothing more will come; the other way stays open.
    HalfClose,
    /// Closes the server's side, and leaves the client in the belief that all is well.
    HalfOpen,
    /// Sends the next message twice, with this pause in between, and keeps the first answer to itself; then passes: as a
    /// proxy does that has lost its upstream's answer.
    Repeat(Duration),
}

impl Conduct {
    /// Whether it takes effect at once, and not on the next message.
    fn is_immediate(self) -> bool {
        matches!(self, Self::Cut | Self::Reset | Self::HalfClose | Self::HalfOpen)
    }
}

/// A TCP proxy on a free port of 127.0.0.1. Dropping it closes all its connections; it fails the test if a conduct that was asked
/// for never had an effect.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

/// What the proxy and its connections have in common.
#[derive(Debug, Default)]
struct Shared {
    /// In the order in which they were accepted.
    connections: Mutex<Vec<Arc<Connection>>>,
    traps: Mutex<Vec<Arc<Trap>>>,
    /// How new connections behave.
    at_first: Mutex<Option<(Way, Order)>>,
    injected: Mutex<Vec<Sometimes>>,
}

/// A conduct, and the counter of its effects.
#[derive(Debug, Clone)]
struct Order {
    conduct: Conduct,
    effects: Count,
}

type Matches = Box<dyn Fn(&[&str]) -> bool + Send + Sync>;

/// Waits for a message, and then changes the conduct of the connection on which it comes.
struct Trap {
    way: Way,
    matches: Matches,
    order: Order,
    sprung: watch::Sender<Option<Arc<Connection>>>,
}

impl fmt::Debug for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trap").field("way", &self.way).field("order", &self.order).finish_non_exhaustive()
    }
}

/// A message that was waited for with [`Proxy::next`].
#[derive(Debug)]
pub struct Caught(Arc<Trap>);

impl Caught {
    /// Waits until the message has come.
    ///
    /// # Panics
    ///
    /// When it does not come within ten seconds.
    pub async fn happened(&self) {
        self.connection().await;
    }

    /// Whether the message has come.
    #[must_use]
    pub fn has_happened(&self) -> bool {
        self.0.sprung.borrow().is_some()
    }

    /// How many messages its connection keeps on this way now, itself included.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.sprung.borrow().as_ref().map_or(0, |connection| connection.lane(self.0.way).held.load(Ordering::Acquire))
    }

    /// Lets the connection pass what it holds, and everything after it.
    ///
    /// # Panics
    ///
    /// When the message does not come within ten seconds.
    pub async fn let_go(&self) {
        self.connection().await.lane(self.0.way).order.send_replace(Order::pass());
    }

    async fn connection(&self) -> Arc<Connection> {
        let mut sprung = self.0.sprung.subscribe();
        let connection = tokio::time::timeout(Duration::from_secs(10), sprung.wait_for(Option::is_some)).await;
        // The sender lives in `self`.
        let connection = connection.ok().and_then(Result::ok).and_then(|connection| connection.clone());
        connection.unwrap_or_else(|| panic!("the message never came: {:?}", self.0))
    }
}

/// Whether the first of a message's words is this command, for [`Proxy::next`].
pub fn command(name: &str) -> impl Fn(&[&str]) -> bool + use<> {
    let name = name.to_owned();
    move |words| words.first().is_some_and(|word| word.eq_ignore_ascii_case(&name))
}

/// One connection, both ways.
#[derive(Debug)]
struct Connection {
    requests: Lane,
    replies: Lane,
    /// What the server has been asked and has not answered.
    asked: Mutex<VecDeque<Asked>>,
    /// The first word of every request that was passed on.
    passed: Mutex<Vec<String>>,
    /// An answer that was not to be passed on was there.
    swallowed: Notify,
    open: AtomicBool,
}

#[derive(Debug)]
struct Lane {
    order: watch::Sender<Order>,
    held: AtomicUsize,
}

#[derive(Debug)]
struct Asked {
    words: Vec<String>,
    /// Its answer is not to be passed on.
    swallow: bool,
}

impl Order {
    fn pass() -> Self {
        Self { conduct: Conduct::Pass, effects: Count::default() }
    }
}

impl Lane {
    fn new() -> Self {
        Self { order: watch::Sender::new(Order::pass()), held: AtomicUsize::new(0) }
    }
}

impl Connection {
    fn new() -> Self {
        Self {
            requests: Lane::new(),
            replies: Lane::new(),
            asked: Mutex::default(),
            passed: Mutex::default(),
            swallowed: Notify::new(),
            open: AtomicBool::new(true),
        }
    }

    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Requests => &self.requests,
            Way::Replies => &self.replies,
        }
    }

    fn behave(&self, way: Way, order: Order) {
        if order.conduct.is_immediate() && self.open.load(Ordering::Acquire) {
            order.effects.happened();
        }
        self.lane(way).order.send_replace(order);
    }

    /// Takes note that the server is about to be asked.
    fn ask(&self, words: &[String], swallow: bool) {
        lock(&self.passed).extend(words.first().map(|name| name.to_ascii_uppercase()));
        lock(&self.asked).push_back(Asked { words: words.to_vec(), swallow });
    }
}

impl Proxy {
    /// Starts a proxy before `port` of 127.0.0.1, on the current runtime. Every connection passes at first.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let shared = Arc::<Shared>::default();
        let accepting = tokio::spawn(relay::accept(listener, port, shared.clone())).abort_handle();
        Self { port: own, shared, accepting }
    }

    /// Where the proxy listens, as the address of a Redis server without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port on 127.0.0.1 on which the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there were so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// The commands that the connection that came as number `index` has passed to the server: `["SET", "EVALSHA"]`.
    ///
    /// # Panics
    ///
    /// When there was none.
    #[must_use]
    pub fn requests(&self, index: usize) -> Vec<String> {
        lock(&self.connection(index).passed).clone()
    }

    /// Sets how the connection that came as number `index` behaves towards requests from now on.
    ///
    /// # Panics
    ///
    /// When there was none.
    pub fn conduct(&self, index: usize, conduct: Conduct) {
        self.connection(index).behave(Way::Requests, self.order(conduct));
    }

    /// As [`conduct`](Self::conduct), towards replies.
    ///
    /// # Panics
    ///
    /// When there was none.
    pub fn conduct_replies(&self, index: usize, conduct: Conduct) {
        self.connection(index).behave(Way::Replies, self.order(conduct));
    }

    /// Sets how every connection behaves from now on, those that are yet to come included.
    pub fn conduct_all(&self, way: Way, conduct: Conduct) {
        let order = self.order(conduct);
        self.order_all(way, &order);
    }

    fn order_all(&self, way: Way, order: &Order) {
        *lock(&self.shared.at_first) = Some((way, order.clone()));
        for connection in &*lock(&self.shared.connections) {
            connection.behave(way, order.clone());
        }
    }

    /// As [`conduct_all`](Self::conduct_all), where it is no mistake if it has no effect. Counts the effects.
    #[must_use]
    pub fn try_conduct_all(&self, way: Way, conduct: Conduct) -> Count {
        let order = Order { conduct, effects: Count::default() };
        self.order_all(way, &order);
        order.effects
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        let connections = lock(&self.shared.connections);
        connections.iter().filter(|connection| connection.open.load(Ordering::Acquire)).count()
    }

    /// From the next message on that `matches`, its connection has this conduct on this way. A reply is known by the words of
    /// the request that it answers.
    pub fn next(
        &self,
        way: Way,
        matches: impl Fn(&[&str]) -> bool + Send + Sync + 'static,
        conduct: Conduct,
    ) -> Caught {
        let (sprung, _) = watch::channel(None);
        let trap = Arc::new(Trap { way, matches: Box::new(matches), order: self.order(conduct), sprung });
        lock(&self.shared.traps).push(trap.clone());
        Caught(trap)
    }

    fn connection(&self, index: usize) -> Arc<Connection> {
        lock(&self.shared.connections).get(index).cloned().expect("a connection of that number")
    }

    /// The order to behave like that, whose effects are counted.
    fn order(&self, conduct: Conduct) -> Order {
        if conduct == Conduct::Pass {
            return Order::pass();
        }
        let injected = Sometimes::new(format!("{conduct:?} of a connection"));
        let effects = injected.count();
        lock(&self.shared.injected).push(injected);
        Order { conduct, effects }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        // Here, and not where the last connection ends: this thread is the test's.
        let injected = std::mem::take(&mut *lock(&self.shared.injected));
        drop(injected);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;

    /// One word, as a command and as an answer.
    fn message(word: &str) -> Vec<u8> {
        format!("*1\r\n${}\r\n{word}\r\n", word.len()).into_bytes()
    }

    async fn send(stream: &mut TcpStream, word: &str) -> io::Result<()> {
        stream.write_all(&message(word)).await
    }

    /// Waits for the answer `word`.
    async fn receive(stream: &mut TcpStream, word: &str) -> io::Result<()> {
        let mut answer = vec![0; message(word).len()];
        stream.read_exact(&mut answer).await?;
        assert_eq!(String::from_utf8_lossy(&answer), String::from_utf8_lossy(&message(word)));
        Ok(())
    }

    async fn echoed(stream: &mut TcpStream, word: &str) -> io::Result<()> {
        send(stream, word).await?;
        receive(stream, word).await
    }

    /// Nothing comes for a while.
    async fn silent(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(Duration::from_millis(20), stream.read_u8()).await.is_err()
    }

    /// A proxy before a server that sends everything back.
    async fn proxy() -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        tokio::spawn(async move {
            let mut echoing = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                echoing.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Proxy::start(port).await
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.expect("connect");
        echoed(&mut stream, "hello").await.expect("passed");
        stream
    }

    #[tokio::test]
    async fn each_connection_behaves_as_it_is_told() {
        let proxy = proxy().await;
        let (mut first, mut second) = (connect(&proxy).await, connect(&proxy).await);
        assert_eq!(proxy.connections(), 2);

        proxy.conduct(0, Conduct::Hold);
        send(&mut first, "held").await.expect("taken");
        assert!(silent(&mut first).await);
        echoed(&mut second, "free").await.expect("passed");
        proxy.conduct(0, Conduct::Pass);
        receive(&mut first, "held").await.expect("passed now");

        // Were the first answer not kept back, it would stand before the next one.
        proxy.conduct(0, Conduct::Repeat(Duration::from_millis(1)));
        echoed(&mut first, "twice").await.expect("passed");
        echoed(&mut first, "once").await.expect("passed");
        assert_eq!(proxy.requests(0), ["HELLO", "HELD", "TWICE", "TWICE", "ONCE"]);

        proxy.conduct(0, Conduct::Drop);
        send(&mut first, "dropped").await.expect("taken");
        assert!(silent(&mut first).await);
        let delay = Duration::from_millis(30);
        proxy.conduct(0, Conduct::Delay(delay));
        let started = Instant::now();
        echoed(&mut first, "delayed").await.expect("passed");
        assert!(started.elapsed() >= delay);

        proxy.conduct(0, Conduct::Cut);
        assert!(echoed(&mut first, "cut").await.is_err());
        echoed(&mut second, "still").await.expect("passed");
    }

    #[tokio::test]
    async fn a_trap_waits_for_its_message() {
        let proxy = proxy().await;
        let mut stream = connect(&proxy).await;
        let caught = proxy.next(Way::Requests, command("set"), Conduct::Hold);
        // In one piece, so that what stands before it has to be told apart.
        let batch = [message("GET"), message("SET"), message("DEL")].concat();
        stream.write_all(&batch).await.expect("taken");
        receive(&mut stream, "GET").await.expect("passed");
        assert!(silent(&mut stream).await);
        assert_eq!((caught.has_happened(), caught.held()), (true, 2));
        caught.let_go().await;
        receive(&mut stream, "SET").await.expect("passed");
        receive(&mut stream, "DEL").await.expect("passed");

        let caught = proxy.next(Way::Replies, command("SET"), Conduct::Hold);
        stream.write_all(&batch).await.expect("taken");
        receive(&mut stream, "GET").await.expect("passed");
        assert!(silent(&mut stream).await);
        caught.let_go().await;
        receive(&mut stream, "SET").await.expect("passed");
        receive(&mut stream, "DEL").await.expect("passed");

        let length = message("SET").len();
        let caught = proxy.next(Way::Replies, command("SET"), Conduct::CutAfter(length - 1));
        stream.write_all(&batch).await.expect("taken");
        receive(&mut stream, "GET").await.expect("passed");
        let mut rest = Vec::new();
        // An end or a reset: the server's socket had more to say.
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, message("SET")[..length - 1]);
        caught.happened().await;
    }

    #[tokio::test]
    async fn connections_end_in_every_way() {
        let proxy = proxy().await;
        let mut reset = connect(&proxy).await;
        proxy.conduct(0, Conduct::Reset);
        let error = reset.read_u8().await.expect_err("no more");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let mut half_closed = connect(&proxy).await;
        proxy.conduct_replies(1, Conduct::HalfClose);
        let error = half_closed.read_u8().await.expect_err("no more");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        send(&mut half_closed, "heard").await.expect("that way is open");
        crate::eventually("it is passed on", Duration::from_secs(5), || proxy.requests(1).len() == 2).await;

        let mut half_open = connect(&proxy).await;
        proxy.conduct(2, Conduct::HalfOpen);
        send(&mut half_open, "into the void").await.expect("taken");
        assert!(silent(&mut half_open).await);
        assert_eq!(proxy.requests(2), ["HELLO"]);
    }

    #[tokio::test]
    async fn new_connections_are_told_too() {
        let proxy = proxy().await;
        let mut before = connect(&proxy).await;
        proxy.conduct_all(Way::Replies, Conduct::Drop);
        send(&mut before, "lost").await.expect("taken");
        assert!(silent(&mut before).await);
        let mut after = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.expect("connect");
        send(&mut after, "lost").await.expect("taken");
        assert!(silent(&mut after).await);
        proxy.conduct_all(Way::Replies, Conduct::Pass);
        echoed(&mut before, "passed").await.expect("passed");
        echoed(&mut after, "passed").await.expect("passed");
    }

    #[tokio::test]
    async fn what_may_have_no_effect_is_counted() {
        let proxy = proxy().await;
        let none = proxy.try_conduct_all(Way::Replies, Conduct::Drop);
        assert_eq!((none.times(), proxy.open_connections()), (0, 0));
        let _pass = proxy.try_conduct_all(Way::Replies, Conduct::Pass);

        let _streams = (connect(&proxy).await, connect(&proxy).await);
        assert_eq!(proxy.open_connections(), 2);
        let cut = proxy.try_conduct_all(Way::Requests, Conduct::Cut);
        assert_eq!(cut.times(), 2);
        crate::eventually("they are closed", Duration::from_secs(5), || proxy.open_connections() == 0).await;
    }

    #[tokio::test]
    #[should_panic(expected = "this fault never happened: Hold of a connection")]
    async fn a_trap_that_is_never_sprung_fails_the_test() {
        let proxy = proxy().await;
        let _caught = proxy.next(Way::Requests, command("SET"), Conduct::Hold);
    }
}
