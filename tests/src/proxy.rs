//! A network between a client and its server that misbehaves on command.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

/// What a connection through a [`Proxy`] does with the client's bytes. What the server sends is always passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Passes them on.
    Pass,
    /// Keeps them, in order, until the conduct changes: the server sees a silent client, the client a silent server.
    Hold,
    /// Closes both sides, for good. What was held is lost.
    Cut,
    /// Sends the next bytes twice, with this pause in between, and keeps the first answer to itself; then passes: as a
    /// proxy does that has lost its upstream's answer.
    Repeat(Duration),
}

/// A TCP proxy on a free port of 127.0.0.1. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    connections: Connections,
    accepting: AbortHandle,
}

/// The conduct of each connection, in the order in which they were accepted.
type Connections = Arc<Mutex<Vec<Arc<watch::Sender<Conduct>>>>>;

impl Proxy {
    /// Starts a proxy before `port` of 127.0.0.1, on the current runtime. Every connection passes at first.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let connections = Connections::default();
        let accepting = tokio::spawn(accept(listener, port, connections.clone())).abort_handle();
        Self { port: own, connections, accepting }
    }

    /// Where the proxy listens, as the address of a Redis server without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// How many connections there were so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        lock(&self.connections).len()
    }

    /// Sets how the connection that came as number `index` behaves from now on.
    ///
    /// # Panics
    ///
    /// When there was none.
    pub fn conduct(&self, index: usize, conduct: Conduct) {
        let connection = lock(&self.connections).get(index).cloned();
        connection.expect("a connection of that number").send_replace(conduct);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves every connection in a task of its own, for as long as this one lives.
async fn accept(listener: TcpListener, port: u16, connections: Connections) {
    let mut serving = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let conduct = Arc::new(watch::Sender::new(Conduct::Pass));
        lock(&connections).push(conduct.clone());
        serving.spawn(serve(client, port, conduct));
    }
}

/// One connection, until either side closes it or it is cut. Both sockets are closed when this returns.
async fn serve(client: TcpStream, port: u16, conduct: Arc<watch::Sender<Conduct>>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let swallow = Swallow::default();
    let mut changes = conduct.subscribe();
    tokio::select! {
        ended = upwards(from_client, to_server, &conduct, &swallow) => ended,
        ended = downwards(from_server, to_client, &swallow) => ended,
        _ = changes.wait_for(|conduct| *conduct == Conduct::Cut) => Ok(()),
    }
}

/// What the two directions of a connection have to say to each other.
#[derive(Default)]
struct Swallow {
    /// The next answer is not to be passed on.
    next: AtomicBool,
    /// It was there.
    done: Notify,
}

async fn upwards(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    conduct: &watch::Sender<Conduct>,
    swallow: &Swallow,
) -> io::Result<()> {
    let mut changes = conduct.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let bytes = &buffer[..length];
        // The sender lives longer than this.
        let now = changes.wait_for(|conduct| *conduct != Conduct::Hold).await.map(|now| *now);
        match now.unwrap_or(Conduct::Cut) {
            Conduct::Cut => return Ok(()),
            Conduct::Repeat(pause) => {
                conduct.send_replace(Conduct::Pass);
                swallow.next.store(true, Ordering::Release);
                server.write_all(bytes).await?;
                swallow.done.notified().await;
                tokio::time::sleep(pause).await;
            }
            Conduct::Pass | Conduct::Hold => {}
        }
        server.write_all(bytes).await?;
    }
}

async fn downwards(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, swallow: &Swallow) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = server.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if swallow.next.swap(false, Ordering::AcqRel) {
            swallow.done.notify_one();
        } else {
            copy(&mut &buffer[..length], &mut client).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `bytes` and waits for as many.
    async fn echoed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(bytes).await?;
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn each_connection_behaves_as_it_is_told() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let echo = async move {
            let mut echoing = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                echoing.spawn(async move { copy(&mut from, &mut to).await });
            }
        };
        tokio::spawn(echo);
        let proxy = Proxy::start(port).await;
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port));

        let mut first = connect().await.expect("connect");
        assert_eq!(echoed(&mut first, b"one").await.expect("passed"), b"one");
        let mut second = connect().await.expect("connect");
        assert_eq!(echoed(&mut second, b"two").await.expect("passed"), b"two");
        assert_eq!(proxy.connections(), 2);

        proxy.conduct(0, Conduct::Hold);
        let held = tokio::time::timeout(Duration::from_millis(20), echoed(&mut first, b"held")).await;
        assert!(held.is_err());
        assert_eq!(echoed(&mut second, b"free").await.expect("passed"), b"free");
        proxy.conduct(0, Conduct::Pass);
        let mut answer = [0; 4];
        first.read_exact(&mut answer).await.expect("passed now");
        assert_eq!(&answer, b"held");

        // Were the first answer not kept back, it would stand before the next one.
        proxy.conduct(0, Conduct::Repeat(Duration::from_millis(1)));
        assert_eq!(echoed(&mut first, b"twice").await.expect("passed"), b"twice");
        assert_eq!(echoed(&mut first, b"once").await.expect("passed"), b"once");

        proxy.conduct(0, Conduct::Cut);
        assert!(echoed(&mut first, b"cut").await.is_err());
        assert_eq!(echoed(&mut second, b"still").await.expect("passed"), b"still");
    }
}
