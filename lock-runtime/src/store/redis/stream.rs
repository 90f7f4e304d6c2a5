//! The stream of bytes to a server: how it is made, and when what is written leaves.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis::ConnectionAddr;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::address::Address;
use super::pulse::Pulse;

/// Connects to the server at `address`. What lies on a dead connection is given up after `unheard`.
pub(super) async fn connect(address: &Address, unheard: Duration, pulse: Arc<Pulse>) -> io::Result<Gathering> {
    let bytes: Box<dyn Bytes> = match address.server() {
        ConnectionAddr::Tcp(host, port) => encrypted(address, host, connect_tcp(host, *port, unheard).await?).await?,
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "an address of an unknown kind")),
    };
    Ok(Gathering::new(bytes, pulse))
}

/// Where it is to be, and can be.
#[cfg_attr(
    not(feature = "tls"),
    allow(clippy::unused_async, reason = "it waits for the other side where there is TLS")
)]
async fn encrypted(address: &Address, host: &str, stream: TcpStream) -> io::Result<Box<dyn Bytes>> {
    #[cfg(feature = "tls")]
    if let Some(tls) = address.tls() {
        return Ok(Box::new(tls.wrap(host, stream).await?));
    }
    #[cfg(not(feature = "tls"))]
    let _ = (address, host);
    Ok(Box::new(stream))
}

async fn connect_tcp(host: &str, port: u16, unheard: Duration) -> io::Result<TcpStream> {
    let stream = first_of(lookup_host((host, port)).await?).await?;
    // The small packets of a lock must not wait for each other, an idle connection that a gateway has forgotten must be noticed,
    // and what lies on a dead link must not be delivered minutes later.
    let socket = SockRef::from(&stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(unheard))?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = unheard;
    Ok(stream)
}

/// All addresses are tried at once: a name may have one that leads nowhere.
async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut trying: Vec<_> = addresses.map(|address| Box::pin(TcpStream::connect(address))).collect();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    poll_fn(|cx| {
        let mut connected = None;
        trying.retain_mut(|trying| match trying.as_mut().poll(cx) {
            Poll::Pending => true,
            Poll::Ready(Ok(stream)) => {
                connected.get_or_insert(stream);
                false
            }
            Poll::Ready(Err(failed)) => {
                error = failed;
                false
            }
        });
        match connected {
            Some(stream) => Poll::Ready(Ok(stream)),
            None if trying.is_empty() => {
                Poll::Ready(Err(std::mem::replace(&mut error, io::Error::from(io::ErrorKind::Other))))
            }
            None => Poll::Pending,
        }
    })
    .await
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Bytes for S {}

/// A stream on which requests that come at the same moment leave together.
///
/// Whoever sends a request wakes the task that drives the connection, and a runtime runs that next: before others who are about to
/// send. So each request would be a packet and a system call of its own, here and on the server. Where several are under way,
/// the driver waits for more: until there is [`ENOUGH`] for the server to begin with, or everybody had his turn who was ready to run.
/// A request that is alone does not wait for anybody. (What TCP does about small packets, Nagle's algorithm, waits for the other
/// end: for a round trip.)
pub(super) struct Gathering {
    bytes: Box<dyn Bytes>,
    /// Knows how many requests are under way.
    pulse: Arc<Pulse>,
    rear: Arc<Rear>,
    /// Whether it waits for more.
    gathers: bool,
    /// The task that comes behind.
    behind: AbortHandle,
}

/// So many bytes are about half a dozen requests.
const ENOUGH: usize = 1024;

impl Gathering {
    fn new(bytes: Box<dyn Bytes>, pulse: Arc<Pulse>) -> Self {
        let rear = Arc::<Rear>::default();
        let behind = tokio::spawn(come_behind(rear.clone())).abort_handle();
        Self { bytes, pulse, rear, gathers: false, behind }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        self.behind.abort();
    }
}

/// Whoever comes behind all who are ready to run.
#[derive(Default)]
struct Rear {
    called: Notify,
    driver: Mutex<Option<Waker>>,
    has_come: AtomicBool,
}

async fn come_behind(rear: Arc<Rear>) {
    loop {
        rear.called.notified().await;
        let mut is_behind = false;
        // Woken in its own poll, a task goes to the end of the queue.
        poll_fn(|cx| {
            if std::mem::replace(&mut is_behind, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        rear.has_come.store(true, Ordering::Release);
        let driver = rear.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<usize>> {
        if text.len() < ENOUGH && self.pulse.asking() > 1 {
            let before = self.rear.driver.lock().unwrap_or_else(PoisonError::into_inner).replace(cx.waker().clone());
            drop(before);
            // After the waker is there: whoever comes now finds it.
            if !self.rear.has_come.swap(false, Ordering::AcqRel) {
                if !std::mem::replace(&mut self.gathers, true) {
                    self.rear.called.notify_one();
                }
                return Poll::Pending;
            }
        }
        // Before the socket says that it is full: when there is room, this begins anew.
        self.gathers = false;
        pin!(&mut self.bytes).poll_write(cx, text)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.bytes).poll_shutdown(cx)
    }
}

impl AsyncRead for Gathering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.bytes).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Promise: a request that was to leave and found the socket full leaves when there is room.
    ///
    /// Turned red by: going on to wait for others, of whom the last one has come already.
    #[tokio::test]
    async fn who_finds_the_socket_full_is_not_forgotten() {
        let (bytes, mut other) = tokio::io::duplex(8);
        let pulse = Pulse::new(Duration::from_secs(1));
        let mut stream = Gathering::new(Box::new(bytes), pulse.clone());
        let _several = [pulse.ask(), pulse.ask()];
        let written = poll_fn(|cx| pin!(&mut stream).poll_write(cx, b"12345678")).await;
        assert_eq!(written.expect("the other end is there"), 8);
        let writing = tokio::spawn(async move { poll_fn(|cx| pin!(&mut stream).poll_write(cx, b"9")).await });
        // Until it has been behind everybody, and found the socket full.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let mut first = [0; 8];
        other.read_exact(&mut first).await.expect("what was written");
        let written = tokio::time::timeout(Duration::from_secs(5), writing).await.expect("there is room");
        assert_eq!(written.expect("no panic").expect("written"), 1);
    }

    #[tokio::test]
    async fn who_asks_alone_does_not_wait_and_others_wait_for_each_other() {
        let (bytes, mut other) = tokio::io::duplex(2 * ENOUGH);
        let pulse = Pulse::new(Duration::from_secs(1));
        let _alone = pulse.ask();
        let mut stream = Gathering::new(Box::new(bytes), pulse.clone());
        let mut write = |text: &[u8]| pin!(&mut stream).poll_write(&mut Context::from_waker(Waker::noop()), text);
        assert!(matches!(write(b"alone"), Poll::Ready(Ok(5))));
        let _other = pulse.ask();
        assert!(write(b"both").is_pending() && write(b"both").is_pending());
        let enough = [b'.'; ENOUGH];
        assert!(matches!(write(&enough), Poll::Ready(Ok(ENOUGH))), "it is enough");
        assert!(write(b"both").is_pending());
        // Everybody else has his turn, and then who comes behind them.
        let ours = poll_fn(|cx| pin!(&mut stream).poll_write(cx, b"both"));
        assert_eq!(ours.await.expect("nothing is wrong"), 4);
        let mut text = [0; 5 + ENOUGH + 4];
        other.read_exact(&mut text).await.expect("what was written");
        assert!(text.starts_with(b"alone.") && text.ends_with(b".both"));
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_does_not_matter() {
        let refused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("its number");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its number");
        for addresses in [[refused, address], [address, refused]] {
            let stream = first_of(addresses.into_iter()).await.expect("one of them");
            assert_eq!(stream.peer_addr().expect("connected"), address);
        }
        let error = first_of([refused].into_iter()).await.expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(first_of([].into_iter()).await.expect_err("nowhere").kind(), io::ErrorKind::NotFound);
    }
}
